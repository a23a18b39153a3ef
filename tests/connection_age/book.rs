//! What became of each request, as its client and its handler saw it.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The numbers of requests, and who has seen them.
pub(crate) struct Book {
    wanted: u64,
    next: AtomicU64,
    answered: AtomicU64,
    broken: AtomicU64,
    connections: AtomicU64,
    /// By number: the handler was called.
    handled: Vec<AtomicBool>,
    unanswered: Mutex<Vec<u64>>,
}

/// How it went.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    pub(crate) answered: u64,
    /// Handled, and not answered.
    pub(crate) lost: u64,
    /// Answered in part, or wrongly.
    pub(crate) broken: u64,
    /// Neither handled nor answered: its client may send it again.
    pub(crate) turned_away: u64,
    pub(crate) connections: u64,
}

impl Book {
    pub(crate) fn new(wanted: u64) -> Arc<Self> {
        let room = 2 * wanted + 10_000;
        Arc::new(Book {
            wanted,
            next: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            broken: AtomicU64::new(0),
            connections: AtomicU64::new(0),
            handled: (0..room).map(|_| AtomicBool::new(false)).collect(),
            unanswered: Mutex::default(),
        })
    }

    /// The number of the next request. `None` when there are enough.
    pub(crate) fn next(&self) -> Option<u64> {
        let failed = self.unanswered.lock().unwrap().len() as u64;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let wanted = self.wanted + failed;
        if number < wanted {
            return Some(number);
        }
        self.next.fetch_sub(1, Ordering::Relaxed);
        None
    }

    pub(crate) fn connected(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn handle(&self, number: u64) {
        self.handled[number as usize].store(true, Ordering::SeqCst);
    }

    /// Its client got this.
    pub(crate) fn answer(&self, number: u64, body: &[u8]) {
        match body == text(number).as_bytes() {
            true => self.answered.fetch_add(1, Ordering::Relaxed),
            false => self.broken.fetch_add(1, Ordering::Relaxed),
        };
    }

    /// Its client got a part of an answer.
    pub(crate) fn broke(&self) {
        self.broken.fetch_add(1, Ordering::Relaxed);
    }

    /// Its client got nothing.
    pub(crate) fn fail(&self, number: u64) {
        self.unanswered.lock().unwrap().push(number);
    }

    /// When all clients are done.
    pub(crate) fn judge(&self) -> Counts {
        let load = |count: &AtomicU64| count.load(Ordering::SeqCst);
        let unanswered = self.unanswered.lock().unwrap();
        let handled = |number: &&u64| self.handled[**number as usize].load(Ordering::SeqCst);
        let lost = unanswered.iter().filter(handled).count() as u64;
        Counts {
            answered: load(&self.answered),
            lost,
            broken: load(&self.broken),
            turned_away: unanswered.len() as u64 - lost,
            connections: load(&self.connections),
        }
    }
}

/// The answer to a request: some are larger than a socket takes at once.
pub(crate) fn text(number: u64) -> String {
    let width = match number % 50 {
        0 => 60_000,
        1..=9 => 5_000,
        _ => 1,
    };
    format!("{number:0>width$}")
}
