//! The gauge under a model checker: every interleaving of a few threads, at a bounded number of preemptions.
//!
//! `RUSTFLAGS="--cfg lameduck_loom" cargo test --release --lib --no-default-features in_flight::model::`

use std::sync::Arc as StdArc;
use std::sync::atomic::{AtomicUsize as StdAtomicUsize, Ordering as StdOrdering};

use loom::future::block_on;
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use loom::thread;

use super::gauge::GaugeOwner;
use super::shard::{Class, Count, Generation};

const EARLY: Count = (Class::Work, Generation::Early);
const LATE: Count = (Class::Work, Generation::Late);

fn model(check: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

/// Two takers on two shards against the one who closes and waits: whoever was counted is waited for, whoever was not is
/// in the next generation, and what was done under a ticket is seen after the zero.
#[test]
fn every_ticket_is_counted_or_refused() {
    static REFUSED: StdAtomicUsize = StdAtomicUsize::new(0);
    static COUNTED: StdAtomicUsize = StdAtomicUsize::new(0);

    model(|| {
        let owner = Arc::new(GaugeOwner::new());
        let tracker = owner.tracker();
        let working = Arc::new(AtomicUsize::new(0));
        let takers: Vec<_> = (0..2)
            .map(|shard| {
                let working = Arc::clone(&working);
                thread::spawn(move || {
                    let taken = tracker.take_on(shard, Class::Work);
                    if let Some((ticket, Generation::Early)) = taken {
                        COUNTED.fetch_add(1, StdOrdering::Relaxed);
                        working.fetch_add(1, Ordering::Relaxed);
                        // Relaxed throughout: only the ticket orders this for the one who waits.
                        working.fetch_sub(1, Ordering::Relaxed);
                        drop(ticket);
                    } else {
                        REFUSED.fetch_add(1, StdOrdering::Relaxed);
                    }
                })
            })
            .collect();

        owner.close(EARLY);
        block_on(owner.empty(&[EARLY]));

        assert_eq!(
            working.load(Ordering::Relaxed),
            0,
            "zero was believed too early"
        );
        for taker in takers {
            taker.join().unwrap();
        }
    });
    assert!(
        REFUSED.load(StdOrdering::Relaxed) > 0,
        "no execution refused"
    );
    assert!(
        COUNTED.load(StdOrdering::Relaxed) > 0,
        "no execution counted"
    );
}

/// A ticket and its clone leave from different threads.
#[test]
fn clone_is_waited_for_too() {
    model(|| {
        let owner = Arc::new(GaugeOwner::new());
        let tracker = owner.tracker();
        let done = Arc::new(AtomicBool::new(false));
        let (ticket, _) = tracker.take_on(0, Class::Work).unwrap();
        let worker = thread::spawn({
            let done = Arc::clone(&done);
            move || {
                let clone = ticket.clone();
                drop(ticket);
                done.store(true, Ordering::Relaxed);
                drop(clone);
            }
        });

        owner.close(EARLY);
        block_on(owner.empty(&[EARLY]));

        assert!(done.load(Ordering::Relaxed), "the clone was not waited for");
        worker.join().unwrap();
    });
}

/// While the counts are open, the zero is only a hint: after closing them one has to look again, and then it is true.
#[test]
fn hint_of_zero_is_made_true_by_closing() {
    model(|| {
        let owner = Arc::new(GaugeOwner::new());
        let tracker = owner.tracker();
        let working = Arc::new(AtomicUsize::new(0));
        owner.close(EARLY);
        let taker = thread::spawn({
            let working = Arc::clone(&working);
            move || {
                if let Some((ticket, generation)) = tracker.take_on(1, Class::Work) {
                    assert_eq!(generation, Generation::Late);
                    working.fetch_add(1, Ordering::Relaxed);
                    working.fetch_sub(1, Ordering::Relaxed);
                    drop(ticket);
                }
            }
        });

        block_on(owner.empty(&[EARLY, LATE]));
        owner.close(LATE);
        block_on(owner.empty(&[EARLY, LATE]));

        assert_eq!(working.load(Ordering::Relaxed), 0);
        assert!(tracker.take_on(0, Class::Work).is_none());
        taker.join().unwrap();
    });
}

/// Work that turns out to last moves to another count while the first is waited for: whoever believes the first zero finds it
/// in the other.
#[test]
fn work_that_moves_is_counted_at_any_time() {
    const LONG: Count = (Class::Long, Generation::Early);

    model(|| {
        let owner = Arc::new(GaugeOwner::new());
        let tracker = owner.tracker();
        let done = Arc::new(AtomicBool::new(false));
        let (short, _) = tracker.take_on(0, Class::Work).unwrap();
        let mover = thread::spawn({
            let done = Arc::clone(&done);
            move || {
                let (long, _) = tracker.take_on(1, Class::Long).unwrap();
                drop(short);
                done.store(true, Ordering::Relaxed);
                drop(long);
            }
        });

        owner.close(EARLY);
        block_on(owner.empty(&[EARLY]));
        owner.close(LONG);
        block_on(owner.empty(&[LONG]));

        assert!(done.load(Ordering::Relaxed), "it was lost on the way");
        mover.join().unwrap();
    });
}

/// Whoever is refused sees what the owner did before it closed; whoever sees the stage, what it did before it moved it.
#[test]
fn who_is_refused_or_asks_sees_what_was_done_before() {
    static REFUSED: StdAtomicUsize = StdAtomicUsize::new(0);
    static MOVED: StdAtomicUsize = StdAtomicUsize::new(0);

    model(|| {
        let owner = GaugeOwner::new();
        let tracker = owner.tracker();
        let before = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
        let taker = thread::spawn({
            let before = Arc::clone(&before);
            move || {
                if tracker.take_on(0, Class::Work).is_none() {
                    REFUSED.fetch_add(1, StdOrdering::Relaxed);
                    assert!(
                        before[0].load(Ordering::Relaxed),
                        "it was refused for nothing"
                    );
                }
            }
        });
        let asker = thread::spawn({
            let before = Arc::clone(&before);
            move || {
                if !tracker.is_serving() {
                    MOVED.fetch_add(1, StdOrdering::Relaxed);
                    assert!(before[1].load(Ordering::Relaxed), "it moved for nothing");
                }
            }
        });

        // Relaxed: only the gauge orders these for the others.
        before[0].store(true, Ordering::Relaxed);
        owner.close(EARLY);
        owner.close(LATE);
        before[1].store(true, Ordering::Relaxed);
        owner.stage_writer().set(1);

        taker.join().unwrap();
        asker.join().unwrap();
    });
    assert!(
        REFUSED.load(StdOrdering::Relaxed) > 0,
        "no execution refused"
    );
    assert!(
        MOVED.load(StdOrdering::Relaxed) > 0,
        "no execution saw it move"
    );
}

/// A gauge goes from one owner to the next while a tracker of the first still takes: that one is never counted with the next.
#[test]
fn tracker_of_the_last_owner_is_not_counted_with_the_next() {
    static RECYCLED: StdAtomicUsize = StdAtomicUsize::new(0);

    model(|| {
        let owner = GaugeOwner::new();
        let last = owner.tracker();
        let taker = thread::spawn(move || drop(last.take_on(0, Class::Work)));

        if let Some(next) = owner.hand_on() {
            RECYCLED.fetch_add(1, StdOrdering::Relaxed);
            assert!(last.take_on(0, Class::Work).is_none());
            assert_eq!((next.count(EARLY), next.count(LATE)), (0, 0));
            let ticket = next.tracker().take_on(0, Class::Work);
            assert!(matches!(ticket, Some((_, Generation::Early))));
            assert_eq!(next.count(EARLY), 1);
            drop(ticket);
        }
        taker.join().unwrap();
    });
    assert!(
        RECYCLED.load(StdOrdering::Relaxed) > 0,
        "no execution recycled"
    );
}

/// A tracker of a coordinator that is gone is refused, and a ticket that outlives it counts down in peace.
#[test]
fn tracker_that_outlives_its_owner_is_refused() {
    model(|| {
        let owner = GaugeOwner::new();
        let tracker = owner.tracker();
        let taker = thread::spawn(move || {
            let taken = StdArc::new(tracker.take_on(0, Class::Work));
            drop(taken);
        });

        drop(owner);

        assert!(tracker.take_on(1, Class::Work).is_none());
        taker.join().unwrap();
    });
}
