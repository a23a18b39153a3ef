//! Which hooks were registered, which of them somebody removed, and which hook is meant by a name.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Specs;
use crate::scenario::{HookSpec, Id};
use crate::trace::{Actor, Event, Stage, What};

/// A hook that was accepted.
pub(super) struct Registered<'a> {
    pub(super) spec: &'a HookSpec,
    pub(super) at: Duration,
    pub(super) stage: Stage,
    /// Those that it comes after.
    pub(super) after: Vec<Id>,
    /// When somebody began to remove it, and did.
    pub(super) removed: Option<&'a Event>,
}

#[derive(Default)]
pub(super) struct Registry<'a> {
    /// In the order in which they were registered.
    pub(super) hooks: Vec<Registered<'a>>,
    /// What was known when each hook was offered, accepted or not.
    pub(super) offers: BTreeMap<Id, Offer>,
    /// Each attempt to remove a hook.
    pub(super) removals: Vec<Removal<'a>>,
}

pub(super) struct Offer {
    pub(super) stage: Stage,
    /// Another hook had the name.
    pub(super) taken: bool,
    /// One that it should come after was not there,
    pub(super) unknown: bool,
    /// or belongs to another phase.
    pub(super) elsewhere: bool,
    after: Vec<Id>,
}

pub(super) struct Removal<'a> {
    pub(super) event: &'a Event,
    /// Who had the name, and whether its work had begun.
    pub(super) hook: Option<(&'a HookSpec, bool)>,
    pub(super) removed: bool,
}

impl<'a> Registry<'a> {
    pub(super) fn of(trace: &'a [Event], specs: &Specs<'a>) -> Self {
        let mut registry = Registry::default();
        let results: BTreeMap<Id, bool> = trace
            .iter()
            .filter_map(|event| match event.what {
                What::Removed(id, removed) => Some((id, removed)),
                _ => None,
            })
            .collect();
        let mut begun = BTreeSet::new();
        for event in trace {
            match &event.what {
                What::Offers(Actor::Hook(id)) => {
                    let offer = registry.offer(specs.hooks[id], event.stage);
                    registry.offers.insert(*id, offer);
                }
                What::HookRegistered(id, Ok(())) => registry.hooks.push(Registered {
                    spec: specs.hooks[id],
                    at: event.at,
                    stage: event.stage,
                    after: registry.offers[id].after.clone(),
                    removed: None,
                }),
                What::Began(Actor::Hook(id)) => _ = begun.insert(*id),
                What::Removes(id, name) => {
                    let removed = results.get(id) == Some(&true);
                    let hook = registry.holder_mut(name);
                    let spec = hook.as_ref().map(|hook| hook.spec);
                    if let Some(hook) = hook.filter(|_| removed) {
                        hook.removed = Some(event);
                    }
                    registry.removals.push(Removal {
                        event,
                        hook: spec.map(|spec| (spec, begun.contains(&spec.id))),
                        removed,
                    });
                }
                _ => {}
            }
        }
        registry
    }

    fn offer(&self, spec: &HookSpec, stage: Stage) -> Offer {
        let after = spec.after.iter().map(|name| self.holder(name));
        let after: Vec<Option<&Registered<'_>>> = after.collect();
        let others = || after.iter().flatten();
        Offer {
            stage,
            taken: self.holder(&spec.name).is_some(),
            unknown: after.iter().any(Option::is_none),
            elsewhere: others().any(|other| other.spec.phase != spec.phase),
            after: others().map(|other| other.spec.id).collect(),
        }
    }

    /// Who has the name.
    fn holder(&self, name: &str) -> Option<&Registered<'a>> {
        let mut hooks = self.hooks.iter();
        hooks.find(|hook| hook.spec.name == name && hook.removed.is_none())
    }

    fn holder_mut(&mut self, name: &str) -> Option<&mut Registered<'a>> {
        let mut hooks = self.hooks.iter_mut();
        hooks.find(|hook| hook.spec.name == name && hook.removed.is_none())
    }

    pub(super) fn is_removed(&self, id: Id) -> bool {
        let mut hooks = self.hooks.iter();
        hooks.any(|hook| hook.spec.id == id && hook.removed.is_some())
    }
}
