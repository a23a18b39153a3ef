//! Scripts: what a hook, a task or a connection does, and how that ends.

use std::fmt;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use lameduck::{Moment, Phase, TaskContext};
use tokio::time::sleep;

use super::acts::Held;
use super::{World, lock};
use crate::scenario::{Awaited, End, Script, Step, ms};
use crate::trace::{Actor, What};

type Playing = Pin<Box<dyn Future<Output = Result<(), Drawn>> + Send>>;

/// Plays a script, and notes how that ended, also when nobody lets it end.
pub(super) struct Watch<T: Send + Sync + 'static> {
    world: Arc<World>,
    actor: Actor,
    spec: Arc<T>,
    script: fn(&T) -> &Script,
    /// A panic follows its end.
    bomb_behind: bool,
    pub(super) over: bool,
}

impl<T: Send + Sync + 'static> Watch<T> {
    pub(super) fn new(
        world: &Arc<World>,
        actor: Actor,
        spec: &Arc<T>,
        script: fn(&T) -> &Script,
    ) -> Self {
        Watch {
            world: Arc::clone(world),
            actor,
            spec: Arc::clone(spec),
            script,
            bomb_behind: false,
            over: false,
        }
    }

    pub(super) fn begin(&mut self) {
        self.world.note(What::Began(self.actor));
        if (self.script)(&self.spec).stillborn {
            self.end(End::Panicked);
            panic!("drawn");
        }
    }

    fn end(&mut self, end: End) {
        self.over = true;
        self.world.note(What::Returned(self.actor, end));
    }

    // Boxed: scripts register hooks that play scripts.
    pub(super) fn play(mut self, mut moment: Option<Moment>, task: Option<TaskContext>) -> Playing {
        Box::pin(async move {
            let spec = Arc::clone(&self.spec);
            let script = (self.script)(&spec);
            let mut kept = Vec::new();
            for step in &script.steps {
                match step {
                    Step::Sleep(time) => sleep(ms(*time)).await,
                    Step::Yield => yield_once().await,
                    Step::Act(act) => self.world.perform(act, &mut kept),
                    Step::Await(what) => self.wait(*what, &mut moment, task.as_ref()).await,
                    Step::Forever => pending().await,
                }
            }
            self.finish(script.end, kept)
        })
    }

    /// The same, as a future with a `Drop` of its own.
    pub(super) fn play_in_shell(mut self, task: Option<TaskContext>) -> Shell {
        self.bomb_behind = (self.script)(&self.spec).bomb_behind;
        Shell {
            world: Arc::clone(&self.world),
            bomb: self.bomb_behind,
            over: false,
            work: self.play(None, task),
        }
    }

    /// The same on a thread for blocking work.
    pub(super) fn block(mut self) -> Result<(), Drawn> {
        let spec = Arc::clone(&self.spec);
        let script = (self.script)(&spec);
        let mut kept = Vec::new();
        for step in &script.steps {
            match step {
                Step::Sleep(time) => std::thread::sleep(ms(*time)),
                Step::Yield => std::thread::yield_now(),
                // Nobody has waited for it, if the play is over.
                Step::Act(_) if self.world.is_quiet() => {}
                Step::Act(act) => self.world.perform(act, &mut kept),
                Step::Await(_) | Step::Forever => unreachable!("what blocks waits for nobody"),
            }
        }
        self.finish(script.end, kept)
    }

    fn finish(&mut self, end: End, kept: Vec<Held>) -> Result<(), Drawn> {
        let dropped = catch_unwind(AssertUnwindSafe(|| drop(kept)));
        let end = dropped.map_or(End::Panicked, |()| end);
        self.end(match self.bomb_behind {
            true => End::Panicked,
            false => end,
        });
        match end {
            End::Done => Ok(()),
            End::Failed => Err(Drawn { printable: true }),
            End::Unprintable => Err(Drawn { printable: false }),
            End::Panicked => panic!("drawn"),
        }
    }

    async fn wait(&self, what: Awaited, moment: &mut Option<Moment>, task: Option<&TaskContext>) {
        let handle = &self.world.handle;
        self.world.note(What::Waits(self.actor, what));
        match what {
            Awaited::Stop => match task {
                Some(task) => task.stop_requested().await,
                None => handle.reached(Phase::LameDuck).await,
            },
            Awaited::Phase(phase) => handle.reached(phase).await,
            Awaited::Token(phase) => handle.token(phase).cancelled().await,
            Awaited::Moment => {
                // Of one's own each time: one that was heard is not counted again.
                let moment = moment.take().unwrap_or_else(|| handle.moment());
                moment.await;
            }
            Awaited::Report => {
                let report = handle.finished().await;
                lock(&self.world.reports).push(report);
            }
        }
        self.world.note(What::Heard(self.actor, what));
    }
}

impl<T: Send + Sync + 'static> Drop for Watch<T> {
    fn drop(&mut self) {
        if self.over {
            return;
        }
        self.world.note(What::Dropped(self.actor));
        if self.world.is_quiet() {
            return;
        }
        let script = (self.script)(&self.spec);
        if let Some(act) = &script.on_drop {
            self.world.perform(act, &mut Vec::new());
        }
        if script.bomb && !std::thread::panicking() {
            panic!("drawn");
        }
    }
}

/// A script that is played, in a future that may panic when it is dropped behind its end.
pub(super) struct Shell {
    world: Arc<World>,
    bomb: bool,
    over: bool,
    work: Playing,
}

impl Future for Shell {
    type Output = Result<(), Drawn>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let polled = self.work.as_mut().poll(cx);
        self.over = polled.is_ready();
        polled
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if self.bomb && self.over && !self.world.is_quiet() && !std::thread::panicking() {
            panic!("drawn");
        }
    }
}

/// How a script fails.
pub(super) struct Drawn {
    printable: bool,
}

impl fmt::Display for Drawn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.printable {
            panic!("drawn");
        }
        f.write_str("drawn")
    }
}

impl Drop for Drawn {
    fn drop(&mut self) {
        if !self.printable && !std::thread::panicking() {
            panic!("drawn");
        }
    }
}

async fn yield_once() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
