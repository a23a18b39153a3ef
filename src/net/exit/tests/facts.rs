//! Facts about the machine that read better as examples.

use std::time::Duration;

use tokio::time::Instant;

use crate::net::exit::{Act, EndReading, Exit, Leave, Look, Pong, Protocol, Receiving};
use crate::net::timeouts::Timeouts;

const SECOND: Duration = Duration::from_secs(1);

/// A connection that was opened long ago, and a shutdown that wants it to go now.
struct Leaving {
    exit: Exit,
    limits: Timeouts,
    now: Instant,
    leave: Leave,
}

impl Leaving {
    fn new(protocol: Protocol) -> Self {
        let opened = Instant::now();
        let now = opened + 60 * SECOND;
        let mut exit = Exit::new(opened);
        exit.set_protocol(protocol);
        let leave = Leave {
            since: Some(now),
            moment: now,
            end: Some(now),
            linger: SECOND,
        };
        exit.set_leave(Some(leave), now);
        Leaving {
            exit,
            limits: Timeouts::new(),
            now,
            leave,
        }
    }

    fn look(&mut self) -> Look {
        self.exit.look(&self.limits, self.now)
    }

    fn look_after(&mut self, time: Duration) -> Look {
        self.now += time;
        self.look()
    }
}

#[test]
fn pong_has_its_bound_whatever_begins_meanwhile() {
    let mut it = Leaving::new(Protocol::Http2);
    assert_eq!(it.look(), Look::Do(Act::Ask));
    let due = it.now + SECOND;
    assert_eq!(it.look(), Look::Until(Some(due)));

    for called in 1..=3 {
        it.exit.set_streams(called, 0);
        it.exit.set_called(called);
        it.exit.begin();
        assert_eq!(it.look_after(SECOND / 4), Look::Until(Some(due)));
    }
    assert_eq!(it.look_after(SECOND / 4), Look::Do(Act::Poll));

    assert_eq!(it.exit.pong(), Pong::Overdue);
}

#[test]
fn socket_is_looked_at_again_behind_everything_that_was_read() {
    let mut it = Leaving::new(Protocol::Http1);
    it.look();

    assert_eq!(it.exit.end_reading(), EndReading::LookAgain);
    // An empty line.
    it.exit.received();
    assert_eq!(it.exit.end_reading(), EndReading::LookAgain);
    it.exit.driver_polled();
    assert_eq!(it.exit.end_reading(), EndReading::Yes);
}

#[test]
fn reading_does_not_end_before_the_driver_was_polled_whatever_wakes_the_task() {
    let mut it = Leaving::new(Protocol::Http1);
    it.look();
    assert_eq!(it.exit.end_reading(), EndReading::LookAgain);

    assert_eq!(it.exit.end_reading(), EndReading::No);
    it.exit.driver_polled();
    assert!(it.exit.take_wake());
    assert_eq!(it.exit.end_reading(), EndReading::Yes);
}

#[test]
fn shutdown_that_is_taken_back_leaves_nothing_behind() {
    let mut it = Leaving::new(Protocol::Http1);
    it.look();
    assert_eq!(it.exit.end_reading(), EndReading::LookAgain);

    it.exit.set_leave(None, it.now);

    let exit = &it.exit;
    assert!(!(exit.is_disturbed() || exit.is_ending() || exit.says_close()));
    // And the next one begins anew.
    it.exit.set_leave(Some(it.leave), it.now);
    it.look();
    assert_eq!(it.exit.end_reading(), EndReading::LookAgain);
}

#[test]
fn shutdown_that_follows_one_that_was_taken_back_has_a_moment_of_its_own() {
    let mut it = Leaving::new(Protocol::Http1);
    it.look();
    assert!(it.exit.says_close());

    let moment = it.now + SECOND;
    let next = Leave {
        moment,
        end: None,
        ..it.leave
    };
    it.exit.set_leave(Some(next), it.now);

    assert_eq!(it.look(), Look::Until(Some(moment)));
    assert!(!it.exit.says_close());
}

#[test]
fn half_a_header_block_does_not_end_a_tunnel() {
    let mut it = Leaving::new(Protocol::Http2);
    assert_eq!(it.look(), Look::Do(Act::Ask));
    it.exit.set_ponged();
    it.exit.set_streams(1, 0);
    it.exit.open_tunnel();
    it.exit.receiving(Receiving::Head);
    it.look();

    assert_eq!(it.look_after(2 * SECOND), Look::Do(Act::Poll));
    assert_eq!(it.exit.end_reading(), EndReading::No);
    it.exit.set_streams(0, 0);
    assert_eq!(it.exit.end_reading(), EndReading::LookAgain);
}

#[test]
fn discarding_nothing_is_no_sign_of_the_client() {
    let mut it = Leaving::new(Protocol::Http1);
    it.exit.shut(None, it.now);
    let due = it.now + SECOND;

    for bytes in [0, 0, 1, 0] {
        it.now += SECOND / 10;
        it.exit.discarded(bytes, &it.limits, it.now);
    }

    // The last byte came at 0.3 s.
    assert_eq!(it.look(), Look::Until(Some(due + SECOND * 3 / 10)));
}

#[test]
fn response_is_ready_from_the_end_of_its_body_until_it_has_been_sent_whole() {
    let mut exit = Exit::new(Instant::now());
    exit.set_protocol(Protocol::Http2);
    let mut seen = Vec::new();
    let mut see = |exit: &Exit| {
        let answers = exit.answers();
        seen.push((answers.ready, answers.running));
    };

    // Two heads are read, and hyper calls the service for both.
    exit.set_streams(2, 0);
    exit.set_called(2);
    see(&exit);
    exit.begin();
    exit.finish();
    see(&exit);
    // The other one is a tunnel.
    exit.begin();
    exit.open_tunnel();
    exit.finish();
    see(&exit);
    exit.set_streams(1, 0);
    see(&exit);

    assert_eq!(seen, [(0, 2), (1, 1), (1, 0), (0, 0)]);
}
