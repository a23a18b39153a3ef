//! What became of each call, as its client, its handler and the wire saw it.

use std::collections::{BTreeMap, HashSet};
use std::error::Error;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use tonic::Status;

use crate::clients::{gone_away, never_sent};
use crate::wire::Seen;

/// The numbers of calls, their connections, and who has seen them.
pub(crate) struct Book {
    wanted: u64,
    goaways: AtomicU64,
    next: AtomicU64,
    answered: AtomicU64,
    handled: Mutex<HashSet<u64>>,
    failures: Mutex<Vec<Failure>>,
    connections: Mutex<Vec<Arc<Mutex<Seen>>>>,
}

struct Failure {
    number: u64,
    status: Status,
    began: Instant,
    /// When the last GOAWAY had been read by then.
    goaway: Option<Instant>,
}

impl Book {
    /// For as many connections that get a GOAWAY.
    pub(crate) fn new(wanted: u64) -> Arc<Self> {
        Arc::new(Book {
            wanted,
            goaways: AtomicU64::new(0),
            next: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            handled: Mutex::default(),
            failures: Mutex::default(),
            connections: Mutex::default(),
        })
    }

    /// The number of the next call. `None` when there are enough.
    pub(crate) fn next(&self) -> Option<u64> {
        let enough = self.goaways.load(Ordering::SeqCst) >= self.wanted;
        (!enough).then(|| self.next.fetch_add(1, Ordering::SeqCst))
    }

    pub(crate) fn open(&self) -> Arc<Mutex<Seen>> {
        let seen = Arc::default();
        self.connections.lock().unwrap().push(Arc::clone(&seen));
        seen
    }

    pub(crate) fn goaway(&self) {
        self.goaways.fetch_add(1, Ordering::SeqCst);
    }

    /// The handler of this call has begun.
    pub(crate) fn handle(&self, number: u64) {
        self.handled.lock().unwrap().insert(number);
    }

    pub(crate) fn answer(&self) {
        self.answered.fetch_add(1, Ordering::SeqCst);
    }

    /// The call that `began` then has failed; its channel's connections have got GOAWAYs until `goaway`.
    pub(crate) fn fail(
        &self,
        number: u64,
        status: Status,
        began: Instant,
        goaway: Option<Instant>,
    ) {
        self.failures.lock().unwrap().push(Failure {
            number,
            status,
            began,
            goaway,
        });
    }

    /// When all clients are done.
    pub(crate) fn judge(&self) -> Counts {
        let handled = self.handled.lock().unwrap();
        let failures = self.failures.lock().unwrap();
        let mut counts = Counts {
            goaways: self.goaways.load(Ordering::SeqCst),
            answered: self.answered.load(Ordering::SeqCst),
            handled: handled.len() as u64,
            ..Counts::default()
        };
        for failure in failures.iter() {
            counts.failed += 1;
            counts.never_sent += u64::from(never_sent(&failure.status));
            counts.gone_away += u64::from(gone_away(&failure.status));
            counts.broken += u64::from(handled.contains(&failure.number));
            *counts.causes.entry(chain(&failure.status)).or_default() += 1;
            match failure.goaway {
                Some(goaway) if failure.began > goaway => counts.began_behind += 1,
                Some(_) => counts.began_before += 1,
                None => counts.without += 1,
            }
        }
        for connection in self.connections.lock().unwrap().iter() {
            let seen = connection.lock().unwrap();
            counts.sent += seen.sent;
            let last = seen.goaways.last().map(|it| it.1);
            counts.above_last += u64::from(last.is_some_and(|last| seen.highest > last));
            counts.in_two_steps += u64::from(seen.goaways.len() == 2);
        }
        counts
    }
}

/// The status, and what it says of its source.
fn chain(status: &Status) -> String {
    let mut text = format!("{:?}: {}", status.code(), status.message());
    let mut source = status.source();
    while let Some(error) = source {
        text += &format!(" < {error}");
        source = error.source();
    }
    text
}

/// How it went.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Connections that got at least one.
    pub(crate) goaways: u64,
    /// Connections that got both: hyper's client leaves behind the first, if nothing is open.
    pub(crate) in_two_steps: u64,
    pub(crate) answered: u64,
    /// Calls whose handler has begun.
    pub(crate) handled: u64,
    /// Heads that left a client's socket.
    pub(crate) sent: u64,
    pub(crate) failed: u64,
    /// Of those: the client says that nothing was sent.
    pub(crate) never_sent: u64,
    /// Of those: it names the GOAWAY.
    pub(crate) gone_away: u64,
    /// Of those: the handler has begun.
    pub(crate) broken: u64,
    /// Of those: begun behind the first GOAWAY was read, or before.
    pub(crate) began_behind: u64,
    pub(crate) began_before: u64,
    pub(crate) without: u64,
    /// Connections on which a stream was opened above the last GOAWAY's.
    pub(crate) above_last: u64,
    pub(crate) causes: BTreeMap<String, u64>,
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = 100.0 * self.failed as f64 / self.goaways.max(1) as f64;
        write!(
            f,
            "{} GOAWAYs ({} in two steps), {} calls answered, {} sent, {} handled; {} failed, {percent:.2} for 100 GOAWAYs: \
             {} never sent, {} named the GOAWAY, {} handled, {} begun behind the GOAWAY, {} before, {} without one; \
             {} connections with a stream above the last",
            self.goaways,
            self.in_two_steps,
            self.answered,
            self.sent,
            self.handled,
            self.failed,
            self.never_sent,
            self.gone_away,
            self.broken,
            self.began_behind,
            self.began_before,
            self.without,
            self.above_last,
        )?;
        for (cause, count) in &self.causes {
            write!(f, "\n  {count} x {cause}")?;
        }
        Ok(())
    }
}
