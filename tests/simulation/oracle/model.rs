//! The model: who is there, as the trace tells it, and what a phase therefore still waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use lameduck::Phase;
use lameduck::report::Kind;

use super::Specs;
use super::registry::Registry;
use crate::scenario::{GuardKind, Id};
use crate::trace::{Actor, Counted, Event, Stage, What};

#[derive(Default)]
pub(super) struct Model {
    /// Everything that is counted.
    pub(super) held: BTreeMap<Id, Held>,
    pub(super) listeners: BTreeSet<Id>,
    /// The hooks that were accepted and are not over.
    hooks: BTreeMap<Id, Phase>,
    /// Those that have begun.
    begun: BTreeSet<Id>,
    /// Whether somebody said that requests are served here,
    serving: bool,
    /// whether it did once while nobody said that it is not ready,
    was_ready: bool,
    /// and who said that the service is not ready.
    not_ready: BTreeSet<Id>,
    /// At T0: whether there was something to wait for in LameDuck.
    routed: Option<bool>,
    /// Since when nothing of what stood before Close is left.
    early_gone: Option<Duration>,
}

pub(super) struct Held {
    pub(super) class: Class,
    /// Whether it began before the phase that waits for its class.
    pub(super) early: bool,
    pub(super) since: Duration,
    pub(super) named: Option<Named>,
}

#[derive(Clone)]
pub(super) struct Named {
    pub(super) kind: Kind,
    pub(super) name: String,
    /// Clones have one name together.
    pub(super) root: Id,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Requests, tasks, guards: Drain waits for them.
    Work,
    /// Close waits for them.
    Long,
    Connection,
}

impl Class {
    fn is_early(self, stage: Stage) -> bool {
        match self {
            Class::Work => !stage.begun(Phase::Drain),
            Class::Long | Class::Connection => !stage.begun(Phase::Close),
        }
    }
}

impl Model {
    pub(super) fn apply(&mut self, event: &Event, specs: &Specs<'_>, registry: &Registry<'_>) {
        if event.stage != Stage::Serving {
            // The event itself comes after the trigger, or is the trigger.
            self.trigger();
        }
        match &event.what {
            What::Layered => self.serve(),
            What::Listening(id) => {
                self.serve();
                self.listeners.insert(*id);
            }
            What::ListenerClosed(id) => _ = self.listeners.remove(id),
            What::NotReady(id) => _ = self.not_ready.insert(*id),
            What::Ready(id) => {
                self.not_ready.remove(id);
                self.was_ready |= self.serving && self.not_ready.is_empty();
            }
            What::HookRegistered(id, Ok(())) => {
                self.hooks.insert(*id, specs.hooks[id].phase);
            }
            What::Began(Actor::Hook(id)) => {
                self.begun.insert(*id);
            }
            What::Returned(Actor::Hook(id), _) => {
                self.hooks.remove(id);
            }
            // What never began is dropped because its phase ends, or because somebody removed it.
            What::Dropped(Actor::Hook(id))
                if self.begun.contains(id) || registry.is_removed(*id) =>
            {
                self.hooks.remove(id);
            }
            What::TaskStarted(id, Ok(())) => {
                let named = self.named(Kind::Task, &specs.tasks[id].name, *id);
                self.hold(*id, Class::Work, event, named);
            }
            What::Returned(Actor::Task(id), _) | What::Dropped(Actor::Task(id)) => {
                self.held.remove(id);
            }
            What::GuardTaken {
                id,
                kind,
                taken: true,
            } => {
                let class = match kind {
                    GuardKind::Plain | GuardKind::Named => Class::Work,
                    GuardKind::Long => Class::Long,
                };
                let named = match kind {
                    GuardKind::Plain => None,
                    GuardKind::Named | GuardKind::Long => {
                        self.named(Kind::Guard, &format!("g{id}"), *id)
                    }
                };
                self.hold(*id, class, event, named);
            }
            What::GuardCloned { id, of } => {
                let of = &self.held[of];
                let clone = Held {
                    named: of.named.clone(),
                    ..*of
                };
                self.held.insert(*id, clone);
            }
            What::GuardReleased(id) | What::RequestOver(id) => _ = self.held.remove(id),
            What::Requested { id, served: true } => self.hold(*id, Class::Work, event, None),
            What::Connected { id, counted: true } => {
                let name = format!("{id} (not HTTP: open)");
                let named = Some(Named {
                    kind: Kind::Connection,
                    name,
                    root: *id,
                });
                self.hold(*id, Class::Connection, event, named);
            }
            What::Heard(Actor::Connection(id), crate::scenario::Awaited::Moment) => {
                if let Some(named) = self.held.get_mut(id).and_then(|it| it.named.as_mut()) {
                    named.name = format!("{id} (not HTTP: open, told to end)");
                }
            }
            What::ConnectionOver { id, .. } => _ = self.held.remove(id),
            _ => {}
        }
    }

    /// T0, the first time that it is called.
    pub(super) fn trigger(&mut self) {
        self.routed.get_or_insert(self.was_ready);
    }

    fn serve(&mut self) {
        self.serving = true;
        self.was_ready |= self.not_ready.is_empty();
    }

    fn named(&self, kind: Kind, name: &str, root: Id) -> Option<Named> {
        Some(Named {
            kind,
            name: name.to_owned(),
            root,
        })
    }

    fn hold(&mut self, id: Id, class: Class, event: &Event, named: Option<Named>) {
        let held = Held {
            class,
            early: class.is_early(event.stage),
            since: event.at,
            named,
        };
        self.held.insert(id, held);
    }

    pub(super) fn count(&self, class: Class) -> u64 {
        self.held.values().filter(|it| it.class == class).count() as u64
    }

    /// What a handle should count.
    pub(super) fn counted(&self) -> Counted {
        let long = self.count(Class::Long);
        Counted {
            in_flight: self.count(Class::Work) + long,
            long,
            connections: self.count(Class::Connection),
        }
    }

    /// Looks around in Close, where the order of things matters.
    pub(super) fn look(&mut self, phase: Phase, now: Duration) {
        if phase == Phase::Close && self.held.values().all(|it| !it.early) {
            self.early_gone.get_or_insert(now);
        }
    }

    /// The end of a phase is the end of its hooks, but LameDuck's may go on into Drain.
    pub(super) fn leave(&mut self, phase: Phase) {
        if phase != Phase::LameDuck {
            self.hooks.retain(|_, hook| *hook > phase);
        }
    }

    /// When the listeners should be told to close: when what stood before Close is gone, but not later than `latest`.
    pub(super) fn listeners_told(&self, latest: Duration) -> Duration {
        self.early_gone.map_or(latest, |gone| gone.min(latest))
    }

    /// Whether a phase has nothing to wait for any more.
    pub(super) fn is_settled(&self, phase: Phase, now: Duration, due: &Due) -> bool {
        let hooks_over = self.hooks.values().all(|hook| *hook > phase);
        let condition = match phase {
            Phase::LameDuck => self.routed == Some(false) || now >= due.lame_duck,
            Phase::Drain => !self
                .held
                .values()
                .any(|it| it.class == Class::Work && it.early),
            Phase::Close => {
                now >= self.listeners_told(due.listeners)
                    && self.listeners.is_empty()
                    && self.held.is_empty()
            }
            _ => true,
        };
        hooks_over && condition
    }
}

/// What comes by the clock.
pub(super) struct Due {
    /// LameDuck's time is up.
    pub(super) lame_duck: Duration,
    /// The listeners are told to close, whoever is left.
    pub(super) listeners: Duration,
}
