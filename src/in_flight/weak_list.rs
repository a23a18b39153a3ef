//! A list of what others own.

use std::sync::{Arc, Weak};

/// Knows what others own for as long as they do, in no order.
///
/// A `Weak` keeps the memory of what is gone, so each addition looks at a few entries, in turn, and removes those that are
/// gone. So the list has at most about as many of them as of the others, and what a spike has left is given back by the
/// additions that follow.
pub(crate) struct WeakList<T: ?Sized> {
    all: Vec<Weak<T>>,
    /// Which is looked at next.
    next: usize,
}

/// How many entries that are there an addition passes. With one, the list could grow as fast as it is looked through.
const LOOKS: usize = 2;

/// How many entries an addition removes at most: it happens under a lock, and whoever is accepted waits for it.
const REMOVALS: usize = 256;

/// A list that is shorter than this part of its room gives half of it back.
const SPARSE: usize = 4;

impl<T: ?Sized> WeakList<T> {
    pub(crate) fn add(&mut self, one: &Arc<T>) {
        self.sweep();
        self.all.push(Arc::downgrade(one));
    }

    /// Looks at some entries, and removes those that are gone.
    fn sweep(&mut self) {
        let mut looks = LOOKS;
        let mut removals = REMOVALS;
        while looks > 0 && removals > 0 {
            match self.all.get(self.next) {
                Some(one) if one.strong_count() > 0 => {
                    self.next += 1;
                    looks -= 1;
                }
                Some(_) => {
                    self.all.swap_remove(self.next);
                    removals -= 1;
                    // Where one is gone, more may be.
                    looks += 1;
                }
                None => {
                    self.next = 0;
                    looks -= 1;
                }
            }
        }
        if self.all.len() < self.all.capacity() / SPARSE {
            self.all.shrink_to(self.all.capacity() / 2);
        }
    }

    /// Those that are there. Let go of a lock on the list before they are dropped: it may be for the last time.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.all.iter().filter_map(Weak::upgrade).collect()
    }
}

impl<T: ?Sized> Default for WeakList<T> {
    fn default() -> Self {
        WeakList {
            all: Vec::new(),
            next: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cases;

    fn sorted(list: &WeakList<u32>) -> Vec<u32> {
        let mut all: Vec<_> = list.all().iter().map(|one| **one).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn what_is_gone_is_removed_while_others_come() {
        let mut list = WeakList::default();
        let stay: Vec<_> = (0..100).map(Arc::new).collect();
        stay.iter().for_each(|one| list.add(one));

        for number in 100..10_000 {
            list.add(&Arc::new(number));
            assert!(list.all.len() <= 2 * stay.len());
        }

        assert_eq!(sorted(&list), (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn what_a_spike_has_left_is_given_back_by_those_that_come_later() {
        let mut list = WeakList::default();
        let spike: Vec<_> = (0..20_000).map(Arc::new).collect();
        spike.iter().for_each(|one| list.add(one));
        let at_peak = list.all.capacity();
        drop(spike);

        let stay: Vec<_> = (0..100).map(Arc::new).collect();
        stay.iter().for_each(|one| list.add(one));

        assert!(at_peak >= 20_000);
        assert!(list.all.len() <= 2 * stay.len(), "{}", list.all.len());
        let room = list.all.capacity();
        assert!(room <= 2 * SPARSE * stay.len(), "{room}");
        assert_eq!(sorted(&list), (0..100).collect::<Vec<_>>());
    }

    // Whoever comes and goes: those that are there are known, each once, and the others do not pile up.
    #[test]
    fn those_that_are_there_are_known_whoever_comes_and_goes() {
        let steps = prop::collection::vec((any::<bool>(), any::<u16>()), 0..500);
        cases::check(300, steps, |steps| {
            let mut list = WeakList::default();
            let mut there: Vec<Arc<u32>> = Vec::new();
            let mut most = 0;
            for (number, (comes, which)) in (0..).zip(steps) {
                if comes || there.is_empty() {
                    there.push(Arc::new(number));
                    list.add(there.last().unwrap());
                } else {
                    there.swap_remove(usize::from(which) % there.len());
                }
                most = most.max(there.len());

                let mut expected: Vec<_> = there.iter().map(|one| **one).collect();
                expected.sort_unstable();
                assert_eq!(sorted(&list), expected);
                assert!(list.all.len() <= 2 * most + 1);
            }
        });
    }
}
