//! What the service manager is told: that the service is ready, that it is stopping and for how long, where it is, and that its
//! runtime runs.
//!
//! - `follow` is a task of the runtime: it sees what changes, and beats for the watchdog.
//! - `speaker` is a thread of its own: it says all that to the service manager, and may be held up by that.

mod follow;
mod speaker;

use std::env;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::runtime::Handle;

use self::follow::Follower;
use self::speaker::Speaker;
use crate::handle::ShutdownHandle;

const SOCKET: &str = "NOTIFY_SOCKET";

/// Tells the service manager how the service is doing (`Type=notify`, sd_notify(3)). Without a `NOTIFY_SOCKET` it does nothing, so
/// the same program runs anywhere.
///
/// | when | what it says |
/// |---|---|
/// | [`run`](crate::ShutdownCoordinator::run) is polled, and nobody holds a [`NotReady`](crate::NotReady) | `READY=1` |
/// | the shutdown is triggered | `STOPPING=1`, with `EXTEND_TIMEOUT_USEC` to the end of the plan's [budget](crate::Plan::budget) |
/// | each second from then on, and when a phase begins | the same `EXTEND_TIMEOUT_USEC`, and the phase with its counts as `STATUS` |
/// | what keeps the service from being ready changes | `STATUS` |
/// | at half of `WATCHDOG_USEC` until the trigger, if the unit has `WatchdogSec=` | `WATCHDOG=1` |
///
/// Call it early in `main`, before servers are made, beside [`signal::listen`](crate::signal::listen).
///
/// **The stop timeout** (`TimeoutStopSec=`) begins when systemd stops the service, and also at `STOPPING=1` of a service that
/// stops by itself. A plan that takes longer extends it to its own end, once and then each second, so that one message that is lost
/// changes nothing. systemd never reduces it.
///
/// **The watchdog** is told by a task of the runtime. When all its workers are blocked it is told no more, and systemd ends the
/// service. From the trigger on the plan's own watchdog takes its place, and `STOPPING` and its extension do not depend on the runtime.
///
/// All of it is sent by a thread of its own (`lameduck-systemd`), so a service manager that does not read holds up nothing else. A
/// message that cannot be sent is dropped, and the log says so at `debug`, once.
///
/// # Errors
///
/// `NOTIFY_SOCKET` is malformed ([`InvalidInput`](ErrorKind::InvalidInput)), or nobody listens there; a coordinator of this process
/// tells the service manager already ([`AlreadyExists`](ErrorKind::AlreadyExists)); the coordinator was dropped, or its shutdown is over;
/// it is called outside a tokio runtime; or the operating system gives no thread.
pub fn notify(handle: &ShutdownHandle) -> io::Result<()> {
    let Some(socket) = env::var_os(SOCKET) else {
        return Ok(());
    };
    check(&socket)?;
    let progress = &handle.shared.progress;
    if progress.report().is_some() || progress.is_abandoned() {
        return Err(io::Error::other(
            "the coordinator was dropped, or its shutdown is over: there is nothing to tell the service manager",
        ));
    }
    let runtime = Handle::try_current()
        .map_err(|_| io::Error::other("`systemd::notify` needs a tokio runtime"))?;
    let claim = Claim::take()?;

    let follower = Follower::new(handle, sd_notify::watchdog_enabled());
    let speaker = Speaker::new(Arc::downgrade(&handle.shared), claim);
    let speaks = speaker.start(Path::new(&socket)).map_err(|error| {
        let said = format!("{SOCKET} is {socket:?}: {error}");
        io::Error::new(error.kind(), said)
    })?;
    handle.shared.on_trigger({
        let speaks = speaks.clone();
        move |t0| speaks.triggered(t0)
    });
    runtime.spawn(follower.run(speaks));
    Ok(())
}

/// A path, as systemd gives it. sd-notify knows no abstract names (`@`) and no addresses of virtual machines.
fn check(socket: &OsStr) -> io::Result<()> {
    match socket.as_bytes() {
        [b'/', _, ..] => Ok(()),
        _ => Err(io::Error::new(
            ErrorKind::InvalidInput,
            format!("{SOCKET} is {socket:?}: not an absolute path"),
        )),
    }
}

static CLAIMED: AtomicBool = AtomicBool::new(false);

/// Held by the one coordinator that tells the service manager.
struct Claim;

impl Claim {
    fn take() -> io::Result<Self> {
        if CLAIMED.swap(true, Ordering::AcqRel) {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "a coordinator of this process tells the service manager already",
            ));
        }
        Ok(Claim)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        CLAIMED.store(false, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn socket_is_an_absolute_path() {
        check(OsStr::new("/run/systemd/notify")).unwrap();
        for bad in ["", "/", "@notify", "run/systemd/notify", "vsock:2:1234"] {
            let error = check(OsStr::new(bad)).unwrap_err();

            assert_eq!(error.kind(), ErrorKind::InvalidInput);
            assert_eq!(
                error.to_string(),
                format!("NOTIFY_SOCKET is {bad:?}: not an absolute path")
            );
        }
    }
}
