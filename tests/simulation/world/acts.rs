//! What somebody does, and what is noted of it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use axum::http::{Request, Response, StatusCode};
use lameduck::server::ConnectionGroup;
use lameduck::{DrainGuard, Phase, Reason};
use tokio::time::sleep;
use tower::Service;

use super::layer::{is_refusal, layered};
use super::script::Watch;
use super::{World, lock};
use crate::scenario::{
    Act, ConnectionSpec, GuardKind, GuardSpec, Hold, HookSpec, Id, RequestSpec, TaskSpec, Why, ms,
};
use crate::trace::{Actor, What};

impl World {
    /// `kept`: what whoever does this keeps as long as it lives.
    pub(super) fn perform(self: &Arc<Self>, act: &Act, kept: &mut Vec<Held>) {
        match act {
            Act::Shutdown(id, why) => self.shutdown(*id, *why),
            Act::ShutdownOutside(id, why) => {
                let (world, id, why) = (Arc::clone(self), *id, *why);
                let outside = std::thread::spawn(move || world.shutdown(id, why));
                lock(&self.outside).push(outside);
            }
            Act::CancelParent => {
                self.parent.cancel();
                self.note(What::ParentCancelled);
            }
            Act::Hook(hook) => self.register(hook),
            Act::Remove(id, name) => {
                self.note(What::Removes(*id, name.clone()));
                if let Some(removed) = self.shielded(|| self.handle.remove_hook(name)) {
                    self.note(What::Removed(*id, removed));
                }
            }
            Act::Task(task) => self.start(task),
            Act::Guard(guard) => self.take(guard, kept),
            Act::Listen { id, closes_after } => self.listen(*id, *closes_after),
            Act::Connect(connection) => self.connect(connection),
            Act::Layer => {
                let layered = layered(&self.handle);
                *lock(&self.layer) = Some(layered);
                self.note(What::Layered);
            }
            Act::Request(request) => self.request(*request),
            Act::StaleRequest => {
                let mut stale = self.stale.clone();
                let response = stale.call(Request::new(1));
                let served = !is_refusal(response);
                self.note(What::StaleRequest { served });
            }
            Act::Hog(time) => {
                let time = ms(*time);
                // Dropped with the runtime if no thread was free before.
                drop(
                    self.runtime
                        .spawn_blocking(move || std::thread::sleep(time)),
                );
            }
            Act::NotReady { id, hold } => {
                let token = self.handle.not_ready("drawn");
                self.note(What::NotReady(*id));
                let (world, id, hold) = (Arc::clone(self), *id, *hold);
                self.spawn(async move {
                    sleep(ms(hold)).await;
                    drop(token);
                    world.note(What::Ready(id));
                });
            }
        }
    }

    fn shutdown(&self, id: Id, why: Why) {
        let reason = Reason::from(why);
        let why = reason.to_string();
        self.note(What::Tries(id));
        let first = self.handle.shutdown(reason);
        self.note(What::Triggered { id, why, first });
    }

    fn register(self: &Arc<Self>, hook: &Arc<HookSpec>) {
        let mut when = lameduck::When::from(hook.phase);
        for name in &hook.after {
            when = when.after(name.clone());
        }
        if let Some(limit) = hook.timeout {
            when = when.timeout(ms(limit));
        }
        let mut watch = Watch::new(self, Actor::Hook(hook.id), hook, |hook| &hook.script);
        self.note(What::Offers(Actor::Hook(hook.id)));
        let name = hook.name.clone();
        let result = self.shielded(|| {
            if hook.blocking {
                self.handle.try_blocking_hook(when, name, move || {
                    watch.begin();
                    watch.block()
                })
            } else {
                self.handle.try_hook(when, name, move || {
                    watch.begin();
                    watch.play_in_shell(None)
                })
            }
        });
        if let Some(result) = result {
            self.note(What::HookRegistered(hook.id, result));
        }
    }

    fn start(self: &Arc<Self>, task: &Arc<TaskSpec>) {
        let mut watch = Watch::new(self, Actor::Task(task.id), task, |task| &task.script);
        self.note(What::Offers(Actor::Task(task.id)));
        let result = self.shielded(|| {
            self.handle.try_task(task.name.clone(), move |cx| {
                watch.begin();
                watch.play_in_shell(Some(cx))
            })
        });
        if let Some(result) = result {
            self.note(What::TaskStarted(task.id, result));
        }
    }

    /// Calls the library, which drops what it refuses or removes. A panic in that should not come back.
    pub(super) fn shielded<T>(&self, call: impl FnOnce() -> T) -> Option<T> {
        let result = catch_unwind(AssertUnwindSafe(call)).ok();
        if result.is_none() {
            self.note(What::PanicEscaped);
        }
        result
    }

    fn take(self: &Arc<Self>, spec: &Arc<GuardSpec>, kept: &mut Vec<Held>) {
        let name = || format!("g{}", spec.id);
        self.note(What::Tries(spec.id));
        let guard = match spec.kind {
            GuardKind::Plain => self.handle.guard(),
            GuardKind::Named => self.handle.named_guard(name()),
            GuardKind::Long => self.handle.long_guard(name()),
        };
        self.note(What::GuardTaken {
            id: spec.id,
            kind: spec.kind,
            taken: guard.is_some(),
        });
        let Some(guard) = guard else {
            return;
        };
        let held = self.hold(spec.id, guard, spec.bomb);
        match spec.hold {
            Hold::For(time) => {
                let (world, spec) = (Arc::clone(self), Arc::clone(spec));
                self.spawn(async move {
                    for (after, id, hold) in &spec.clones {
                        sleep(ms(*after)).await;
                        world.share(&held, *id, *hold, &mut Vec::new());
                    }
                    sleep(ms(time)).await;
                    drop(held);
                });
            }
            Hold::Owned | Hold::Forever => {
                for (_, id, hold) in &spec.clones {
                    self.share(&held, *id, *hold, kept);
                }
                self.keep(held, spec.hold, kept);
            }
        }
    }

    fn share(self: &Arc<Self>, held: &Held, id: Id, hold: Hold, kept: &mut Vec<Held>) {
        self.note(What::Tries(id));
        let clone = self.hold(id, held.guard.clone().expect("held"), false);
        self.note(What::GuardCloned { id, of: held.id });
        self.keep(clone, hold, kept);
    }

    fn keep(self: &Arc<Self>, held: Held, hold: Hold, kept: &mut Vec<Held>) {
        match hold {
            Hold::For(time) => self.spawn(async move {
                sleep(ms(time)).await;
                drop(held);
            }),
            Hold::Owned => kept.push(held),
            Hold::Forever => self.shelve(held),
        }
    }

    fn hold(self: &Arc<Self>, id: Id, guard: DrainGuard, bomb: bool) -> Held {
        Held {
            id,
            guard: Some(guard),
            bomb,
            world: Arc::clone(self),
        }
    }

    /// Holds it to the end.
    pub(super) fn shelve(&self, mut held: Held) {
        // Whoever clears the shelf is not part of the play.
        held.bomb = false;
        lock(&self.shelf).push(held);
    }

    fn listen(self: &Arc<Self>, id: Id, closes_after: Option<u64>) {
        // Nobody waits for a listener that was opened when the others had been closed.
        if self.stage().begun(Phase::Close) {
            return;
        }
        let group = ConnectionGroup::new(&self.handle);
        let closing = group.closing();
        lock(&self.groups).push((id, Arc::new(group)));
        self.note(What::Listening(id));
        let world = Arc::clone(self);
        self.spawn(async move {
            tokio::select! {
                biased;
                () = closing => {}
                _ = world.handle.finished() => return,
            }
            world.note(What::ToldToClose(id));
            let Some(after) = closes_after else {
                return;
            };
            sleep(ms(after)).await;
            let mut groups = lock(&world.groups);
            let at = groups.iter().position(|(other, _)| *other == id);
            let group = at.map(|at| groups.remove(at));
            drop(groups);
            if group.is_some() {
                drop(group);
                world.note(What::ListenerClosed(id));
            }
        });
    }

    fn connect(self: &Arc<Self>, spec: &Arc<ConnectionSpec>) {
        let id = spec.id;
        let mut watch = Watch::new(self, Actor::Connection(id), spec, |spec| &spec.script);
        let Some(group) = self.group(spec.group) else {
            // Nobody accepts it.
            watch.over = true;
            return;
        };
        self.note(What::Tries(id));
        let connection = group.watch_raw(id, move |moment| {
            watch.begin();
            async move { watch.play(Some(moment), None).await }
        });
        self.note(What::Connected {
            id,
            counted: connection.is_some(),
        });
        let Some(connection) = connection else {
            return;
        };
        let world = Arc::clone(self);
        self.spawn(async move {
            let cut = connection.await.is_none();
            world.note(What::ConnectionOver { id, cut });
        });
    }

    fn group(&self, id: Id) -> Option<Arc<ConnectionGroup>> {
        let groups = lock(&self.groups);
        let group = groups.iter().find(|(other, _)| *other == id)?;
        Some(Arc::clone(&group.1))
    }

    fn request(self: &Arc<Self>, spec: RequestSpec) {
        let RequestSpec { id, handler, body } = spec;
        let Some(mut layered) = lock(&self.layer).clone() else {
            return;
        };
        self.note(What::Tries(id));
        let mut response = Box::pin(layered.call(Request::new(handler)));
        // A refusal is ready at once, and a handler has not begun before it is polled.
        let early = response
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
        let early = match early {
            Poll::Ready(response) => Some(response.expect("it cannot fail")),
            Poll::Pending => None,
        };
        let refused = |response: &Response<_>| response.status() == StatusCode::SERVICE_UNAVAILABLE;
        let served = !early.as_ref().is_some_and(refused);
        self.note(What::Requested { id, served });
        let world = Arc::clone(self);
        self.spawn(async move {
            let response = match early {
                Some(response) => response,
                None => response.await.expect("it cannot fail"),
            };
            if served {
                sleep(ms(body)).await;
            }
            if served {
                world.note(What::LetsGo(id));
            }
            drop(response);
            if served {
                world.note(What::RequestOver(id));
            }
        });
    }
}

/// A guard, and a note when it is dropped.
pub(super) struct Held {
    id: Id,
    guard: Option<DrainGuard>,
    /// Panics then.
    bomb: bool,
    world: Arc<World>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.world.note(What::LetsGo(self.id));
        drop(self.guard.take());
        self.world.note(What::GuardReleased(self.id));
        if self.bomb && !self.world.is_quiet() && !std::thread::panicking() {
            panic!("drawn");
        }
    }
}
