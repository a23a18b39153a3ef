//! The registered hooks, by number and by name, and which of them wait for which.
//!
//! Whose turn has come and whether a phase has hooks left is asked at each end of a hook. The answers are kept up to date here:
//! a scan of all hooks would make many hooks cost their number squared.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::Instant;

use super::work::Work;
use crate::phase::Phase;
use crate::report::Outcome;

/// A hook's number. They rise in the order in which hooks are registered.
pub(crate) type HookId = u64;

#[derive(Default)]
pub(super) struct Entries {
    all: BTreeMap<HookId, Entry>,
    names: HashMap<Arc<str>, HookId>,
    phases: [Unfinished; Phase::EACH.len()],
    next: HookId,
}

pub(super) struct Entry {
    pub(super) name: Arc<str>,
    pub(super) phase: Phase,
    pub(super) timeout: Option<Duration>,
    /// There until the hook begins or is over.
    pub(super) work: Option<Work>,
    pub(super) state: State,
    /// There while its work is: also when it has overrun and goes on.
    pub(super) alive: Weak<()>,
    /// The hooks that it comes after and that are not over.
    waits_for: BTreeSet<HookId>,
    /// The hooks that wait for it. Empty when it is over.
    followers: BTreeSet<HookId>,
}

pub(super) enum State {
    Waiting,
    /// Its turn has come, and it has not begun: its task, or its thread, has not run yet.
    Due,
    Running {
        since: Instant,
        /// It is polled for the first time.
        first_turn: bool,
    },
    Over(Ended),
}

#[derive(Clone)]
pub(super) struct Ended {
    pub(super) since: Option<Instant>,
    pub(super) took: Duration,
    pub(super) outcome: Outcome,
}

/// The hooks of one phase that are not over.
#[derive(Default)]
struct Unfinished {
    all: BTreeSet<HookId>,
    /// Those that wait for no other hook, and are not due yet.
    ready: BTreeSet<HookId>,
    /// How many are due and have not had their first turn.
    await_a_turn: usize,
}

impl Entries {
    /// Enters a hook that comes after the hooks `after`, which are of its phase.
    pub(super) fn insert(
        &mut self,
        name: String,
        phase: Phase,
        after: impl IntoIterator<Item = HookId>,
        timeout: Option<Duration>,
        work: Option<Work>,
    ) {
        let id = self.next;
        self.next += 1;
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name), id);
        let mut waits_for = BTreeSet::new();
        for other in after {
            if let Some(entry) = self.all.get_mut(&other).filter(|entry| !entry.is_over()) {
                entry.followers.insert(id);
                waits_for.insert(other);
            }
        }
        let entry = Entry {
            name,
            phase,
            timeout,
            work,
            state: State::Waiting,
            alive: Weak::new(),
            waits_for,
            followers: BTreeSet::new(),
        };
        self.phases[phase.index()].add(id, &entry);
        self.all.insert(id, entry);
    }

    /// Forgets a hook. Those that come after it no longer wait for it.
    pub(super) fn remove(&mut self, id: HookId) -> Option<Entry> {
        let entry = self.all.remove(&id)?;
        self.names.remove(&entry.name);
        self.phases[entry.phase.index()].remove(id, &entry);
        for other in &entry.waits_for {
            if let Some(other) = self.all.get_mut(other) {
                other.followers.remove(&id);
            }
        }
        self.release(id, &entry.followers);
        Some(entry)
    }

    /// Changes a hook. When it is over thereby, those that come after it no longer wait for it.
    pub(super) fn update<T>(
        &mut self,
        id: HookId,
        change: impl FnOnce(&mut Entry) -> T,
    ) -> Option<T> {
        let entry = self.all.get_mut(&id)?;
        let unfinished = &mut self.phases[entry.phase.index()];
        unfinished.remove(id, entry);
        let changed = change(entry);
        unfinished.add(id, entry);
        if entry.is_over() {
            let followers = std::mem::take(&mut entry.followers);
            self.release(id, &followers);
        }
        Some(changed)
    }

    fn release(&mut self, id: HookId, followers: &BTreeSet<HookId>) {
        for &follower in followers {
            self.update(follower, |entry| entry.waits_for.remove(&id));
        }
    }

    pub(super) fn find(&self, name: &str) -> Option<(HookId, &Entry)> {
        let &id = self.names.get(name)?;
        Some((id, self.all.get(&id)?))
    }

    /// All hooks, in the order in which they were registered.
    pub(super) fn iter(&self) -> impl Iterator<Item = (HookId, &Entry)> {
        self.all.iter().map(|(&id, entry)| (id, entry))
    }

    /// The hooks of `phase` that are not over, in the order in which they were registered, each with those that it waits for.
    pub(super) fn unfinished_of(
        &self,
        phase: Phase,
    ) -> impl Iterator<Item = (HookId, &Entry, &BTreeSet<HookId>)> {
        let all = self.phases[phase.index()].all.iter();
        all.filter_map(|&id| {
            let entry = self.all.get(&id)?;
            Some((id, entry, &entry.waits_for))
        })
    }

    /// The hooks of `phase`, or of one before it, that are not over, in the order in which they were registered.
    pub(super) fn unfinished(&self, phase: Phase) -> Vec<HookId> {
        self.collect(phase, |unfinished| &unfinished.all)
    }

    pub(super) fn has_unfinished(&self, phase: Phase) -> bool {
        self.up_to(phase).any(|it| !it.all.is_empty())
    }

    /// The hooks of `phase`, or of one before it, whose turn has come and that are not due yet, in the order in which they were
    /// registered.
    pub(super) fn ready(&self, phase: Phase) -> Vec<HookId> {
        self.collect(phase, |unfinished| &unfinished.ready)
    }

    pub(super) fn awaits_a_turn(&self, phase: Phase) -> bool {
        self.up_to(phase).any(|it| it.await_a_turn > 0)
    }

    fn collect(&self, phase: Phase, which: fn(&Unfinished) -> &BTreeSet<HookId>) -> Vec<HookId> {
        let mut ids: Vec<HookId> = self.up_to(phase).flat_map(which).copied().collect();
        ids.sort_unstable();
        ids
    }

    fn up_to(&self, phase: Phase) -> impl Iterator<Item = &Unfinished> {
        self.phases[..=phase.index()].iter()
    }
}

impl Unfinished {
    fn add(&mut self, id: HookId, entry: &Entry) {
        if entry.is_over() {
            return;
        }
        self.all.insert(id);
        if entry.is_ready() {
            self.ready.insert(id);
        }
        self.await_a_turn += usize::from(entry.awaits_a_turn());
    }

    /// Undoes `add`, so `entry` is as it was then.
    fn remove(&mut self, id: HookId, entry: &Entry) {
        self.all.remove(&id);
        self.ready.remove(&id);
        self.await_a_turn -= usize::from(entry.awaits_a_turn());
    }
}

impl Entry {
    pub(super) const fn is_over(&self) -> bool {
        matches!(self.state, State::Over(_))
    }

    fn is_ready(&self) -> bool {
        matches!(self.state, State::Waiting) && self.waits_for.is_empty()
    }

    /// Whether it is due and has not had its first turn.
    const fn awaits_a_turn(&self) -> bool {
        match self.state {
            State::Due => true,
            State::Running { first_turn, .. } => first_turn,
            State::Waiting | State::Over(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cases;

    #[derive(Clone, Debug)]
    enum Step {
        Insert { phase: usize, after: Vec<u8> },
        Remove(u8),
        Due(usize),
        Run { which: u8, first_turn: bool },
        End(u8),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let phases = Phase::EACH.len();
        let run = |(which, first_turn)| Step::Run { which, first_turn };
        let insert = |(phase, after)| Step::Insert { phase, after };
        let after = prop::collection::vec(any::<u8>(), 0..4);
        let step = prop_oneof![
            3 => (0..phases, after).prop_map(insert),
            1 => any::<u8>().prop_map(Step::Remove),
            1 => (0..phases).prop_map(Step::Due),
            2 => any::<(u8, bool)>().prop_map(run),
            2 => any::<u8>().prop_map(Step::End),
        ];
        prop::collection::vec(step, 0..60)
    }

    /// The entries, and what each hook was said to come after.
    #[derive(Default)]
    struct World {
        entries: Entries,
        after: BTreeMap<HookId, Vec<HookId>>,
    }

    impl World {
        fn play(&mut self, step: Step) {
            match step {
                Step::Insert { phase, after } => self.insert(Phase::EACH[phase], after),
                Step::Remove(which) => {
                    self.pick(which).map(|id| self.entries.remove(id));
                }
                Step::Due(phase) => {
                    for id in self.entries.ready(Phase::EACH[phase]) {
                        self.entries.update(id, |entry| entry.state = State::Due);
                    }
                }
                Step::Run { which, first_turn } => {
                    self.set(which, |since| State::Running { since, first_turn })
                }
                Step::End(which) => self.set(which, |since| {
                    State::Over(Ended {
                        since: Some(since),
                        took: Duration::ZERO,
                        outcome: Outcome::Done,
                    })
                }),
            }
        }

        fn insert(&mut self, phase: Phase, after: Vec<u8>) {
            let of_phase = self.ids(|entry| entry.phase == phase);
            let pick = |which: u8| of_phase.get(usize::from(which) % of_phase.len().max(1));
            let after: Vec<HookId> = after.into_iter().filter_map(pick).copied().collect();
            let id = self.entries.next;
            self.entries
                .insert(id.to_string(), phase, after.iter().copied(), None, None);
            self.after.insert(id, after);
        }

        fn set(&mut self, which: u8, state: impl FnOnce(Instant) -> State) {
            let Some(id) = self.pick(which) else { return };
            self.entries.update(id, |entry| {
                // What is over stays so.
                if !entry.is_over() {
                    entry.state = state(Instant::now());
                }
            });
        }

        fn pick(&self, which: u8) -> Option<HookId> {
            let all = self.ids(|_| true);
            all.get(usize::from(which) % all.len().max(1)).copied()
        }

        /// Looks at all of them.
        fn ids(&self, which: impl Fn(&Entry) -> bool) -> Vec<HookId> {
            let all = self.entries.all.iter();
            all.filter(|(_, entry)| which(entry))
                .map(|(&id, _)| id)
                .collect()
        }

        fn check(&self) {
            let over = |id: &HookId| self.entries.all.get(id).is_none_or(Entry::is_over);
            for phase in Phase::EACH {
                let unfinished = self.ids(|it| it.phase <= phase && !it.is_over());
                let ready = unfinished.iter().copied().filter(|id| {
                    let waiting = matches!(self.entries.all[id].state, State::Waiting);
                    waiting && self.after[id].iter().all(over)
                });
                let awaiting = self.ids(|it| it.phase <= phase && it.awaits_a_turn());

                assert_eq!(self.entries.ready(phase), ready.collect::<Vec<_>>());
                assert_eq!(self.entries.has_unfinished(phase), !unfinished.is_empty());
                assert_eq!(self.entries.unfinished(phase), unfinished);
                assert_eq!(self.entries.awaits_a_turn(phase), !awaiting.is_empty());
            }
            for (id, entry) in self.entries.iter() {
                assert_eq!(self.entries.find(&entry.name).unwrap().0, id);
                assert!(!entry.is_over() || entry.followers.is_empty());
            }
            assert_eq!(self.entries.names.len(), self.entries.all.len());
        }
    }

    #[test]
    fn what_is_kept_is_what_a_look_at_all_hooks_finds() {
        cases::check(300, steps(), |steps| {
            let mut world = World::default();
            for step in steps {
                world.play(step);
                world.check();
            }
        });
    }

    #[test]
    fn hook_that_was_removed_leaves_nothing_with_those_that_it_came_after() {
        let mut entries = Entries::default();
        entries.insert("first".to_owned(), Phase::Release, [], None, None);
        let (first, _) = entries.find("first").unwrap();

        entries.insert("tenant".to_owned(), Phase::Release, [first], None, None);
        let (tenant, _) = entries.find("tenant").unwrap();
        entries.remove(tenant);

        assert!(entries.all[&first].followers.is_empty());
        assert!(entries.find("tenant").is_none());
    }
}
