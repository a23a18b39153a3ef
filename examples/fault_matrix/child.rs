//! What the application does wrong.

use std::io::BufRead;
use std::thread;
use std::time::Duration;

use lameduck::{HookError, Phase, ShutdownCoordinator};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::abuse::{Abuse, Ending, Now};

/// More than there are workers: each of them gets one.
const TASKS: usize = 8;
const HOOKS: usize = 500;

/// What the parent says on standard input: a line begins the fault, and its end is the service's end.
#[derive(Debug)]
pub(crate) struct Orders(watch::Receiver<bool>);

impl Orders {
    /// Listens, on a thread of its own: the runtime may be held up.
    pub(crate) fn take(abuse: &'static Abuse, runtime: Handle) -> Self {
        let (begin, begun) = watch::channel(false);
        thread::spawn(move || {
            for _ in std::io::stdin().lock().lines().map_while(Result::ok) {
                abuse.now().for_each(|now| suffer(now, &runtime));
                begin.send_replace(true);
            }
            // However the parent ended: nothing of this process holds it up.
            signal_hook::low_level::exit(1);
        });
        Orders(begun)
    }

    pub(crate) async fn begun(mut self) {
        // The sender lives as long as the process.
        let _ = self.0.wait_for(|begun| *begun).await;
    }
}

fn suffer(now: Now, runtime: &Handle) {
    match now {
        Now::BlockWorkers => (0..TASKS).for_each(|_| drop(runtime.spawn(async { block() }))),
        Now::SpinWorkers => (0..TASKS).for_each(|_| drop(runtime.spawn(async { spin() }))),
        // Both hang in the middle of a write, with the lock held.
        Now::FillErrors => fill(|text| eprintln!("{text}")),
        Now::FillOutput => fill(|text| println!("{text}")),
        Now::GoOn => {}
    }
}

fn fill(print: fn(&str)) {
    thread::spawn(move || {
        let text = "x".repeat(4096);
        loop {
            print(&text);
        }
    });
}

/// Registers a hook that ends like this.
pub(crate) fn hook(
    shutdown: &ShutdownCoordinator,
    phase: Phase,
    name: &str,
    ending: Ending,
) -> Result<(), HookError> {
    match ending {
        Ending::Hangs => shutdown.hook(phase, name, async || std::future::pending().await),
        Ending::Spins => shutdown.hook(phase, name, async || spin()),
        Ending::Panics => shutdown.hook(phase, name, async || panic!("on purpose")),
        Ending::Fails => shutdown.try_hook(phase, name, async || Err("on purpose")),
        Ending::Blocks => shutdown.blocking_hook(phase, name, block),
        Ending::BlocksInDrop => shutdown.hook(phase, name, async || {
            let _blocks = BlocksInDrop;
            std::future::pending().await
        }),
    }
}

/// In all phases. Some hang, some panic, some fail; the others are done soon.
pub(crate) fn many_hooks(shutdown: &ShutdownCoordinator) -> Result<(), HookError> {
    // Not a multiple of five: those that go wrong are in every phase.
    const EVERY: usize = 99;
    (0..HOOKS).try_for_each(|at| {
        let phase = Phase::ALL[at % Phase::ALL.len()];
        let name = format!("hook {at}");
        match at % EVERY {
            7 => hook(shutdown, phase, &name, Ending::Hangs),
            8 => hook(shutdown, phase, &name, Ending::Panics),
            9 => hook(shutdown, phase, &name, Ending::Fails),
            _ => {
                let pause = Duration::from_millis(at as u64 % 10);
                shutdown.hook(phase, name, async move || sleep(pause).await)
            }
        }
    })
}

struct BlocksInDrop;

impl Drop for BlocksInDrop {
    fn drop(&mut self) {
        block();
    }
}

pub(crate) fn block() {
    loop {
        thread::park();
    }
}

fn spin() {
    loop {
        std::hint::spin_loop();
    }
}
