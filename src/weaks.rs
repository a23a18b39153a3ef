//! A list of what others own.

use std::sync::{Arc, Weak};

/// Knows what others own for as long as they do. What is gone is swept out when the list has doubled.
///
/// A `Weak` keeps the memory of what is gone, so a short list is swept soon.
pub(crate) struct Weaks<T: ?Sized> {
    all: Vec<Weak<T>>,
    sweep_at: usize,
}

const SMALL: usize = 4;

impl<T: ?Sized> Weaks<T> {
    pub(crate) fn add(&mut self, one: &Arc<T>) {
        if self.all.len() >= self.sweep_at {
            self.all.retain(|one| one.strong_count() > 0);
            self.sweep_at = (self.all.len() * 2).max(SMALL);
        }
        self.all.push(Arc::downgrade(one));
    }

    /// Those that are there. Let go of a lock on the list before they are dropped: it may be for the last time.
    pub(crate) fn all(&self) -> Vec<Arc<T>> {
        self.all.iter().filter_map(Weak::upgrade).collect()
    }
}

impl<T: ?Sized> Default for Weaks<T> {
    fn default() -> Self {
        Weaks {
            all: Vec::new(),
            sweep_at: SMALL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_swept_out_when_the_list_has_doubled() {
        let mut weaks = Weaks::default();
        let stay: Vec<_> = (0..100).map(Arc::new).collect();
        stay.iter().for_each(|one| weaks.add(one));

        for number in 100..10_000 {
            weaks.add(&Arc::new(number));
            assert!(weaks.all.len() <= 2 * stay.len());
        }

        let all: Vec<_> = weaks.all().iter().map(|one| **one).collect();
        assert_eq!(all, (0..100).collect::<Vec<_>>());
    }
}
