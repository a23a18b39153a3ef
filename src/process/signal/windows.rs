//! Ctrl-C on Windows, through tokio.

use std::io;
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::windows::ctrl_c;
use tokio::sync::oneshot;

use super::Receiver;
use crate::reason::Signal;

/// Starts the thread that waits for Ctrl-C, whatever is listened to elsewhere; it ends with what is returned.
pub(super) fn listen(
    mut receiver: Receiver,
    _listened: &[Signal],
) -> io::Result<oneshot::Sender<()>> {
    let (keep, mut closed) = oneshot::channel();
    // A runtime of its own: the application's may be wedged, or not there yet.
    let runtime = Builder::new_current_thread().build()?;
    let mut interrupts = {
        let _inside = runtime.enter();
        ctrl_c()?
    };
    thread::Builder::new()
        .name("lameduck-signals".to_owned())
        .spawn(move || {
            runtime.block_on(async {
                loop {
                    tokio::select! {
                        Some(()) = interrupts.recv() => {
                            receiver.receive(Signal::Interrupt);
                        }
                        _ = &mut closed => return,
                    }
                }
            });
        })?;
    Ok(keep)
}
