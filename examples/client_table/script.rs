//! The numbers of the actions, which are the same in both versions of HTTP.

use std::time::Duration;

use crate::moment::Moment;
use crate::shape::Shape;
use crate::story::Demand;

/// How many seconds a client reads that reads slowly: from the phase before the one that catches it until long after that has
/// begun,
pub(crate) const READING: usize = 6;
/// and one that reads until its idle connection would have ended in Close.
pub(crate) const READING_ON: usize = 10;
/// A client is in the middle of reading when so many bytes have come.
pub(crate) const BEGINNING: usize = 32 << 10;
/// What a client reads at 20 kB/s is not much longer than that.
pub(crate) const SLOW_BEGINNING: usize = 4 << 10;

/// The response that a client stops to read in the middle of: 2 MB.
pub(crate) const LARGE: usize = 2_000_000;
/// What is read too slowly for the time that there is: 20 s.
pub(crate) const TOO_LARGE: usize = 400_000;
pub(crate) const TOO_SLOW: usize = 20;
pub(crate) const SMALL: usize = 1000;
/// In pieces; 5 s.
pub(crate) const DRIP: usize = 21;

/// An upload that trickles.
pub(crate) const TRICKLE: usize = 10;
pub(crate) const BETWEEN_TRICKLES: Duration = Duration::from_millis(100);

/// A chunk, or a DATA frame, and its first half.
pub(crate) const CHUNK: usize = 1000;
pub(crate) const HALF: usize = CHUNK / 2;

/// Half a head has 2 s, by lameduck's default. So who sends one in LameDuck, for Drain to come before the rest, connects in the last
/// second of it.
pub(crate) fn before_half_a_head(moment: Moment) -> Duration {
    const LAST: Duration = Duration::from_secs(1);
    match moment {
        Moment::Drain => moment.lame_duck().saturating_sub(LAST),
        _ => Duration::ZERO,
    }
}

/// What a client does when the phase has begun, it does so long after that.
pub(crate) mod after {
    use std::time::Duration;

    pub(crate) const REST: Duration = Duration::from_millis(400);
    /// After GOAWAY. Longer than a server waits for the answer to the PING that comes with it.
    pub(crate) const REST_OF_BLOCK: Duration = Duration::from_millis(1500);
    /// After Close. Longer than an idle connection lingers there.
    pub(crate) const NEXT_HEAD: Duration = Duration::from_millis(1500);
    /// Longer than half a head is waited for, and shorter than LameDuck.
    pub(crate) const NEXT_REQUEST: Duration = Duration::from_millis(2300);
    pub(crate) const READING_STOPPED: Duration = Duration::from_secs(3);
    /// Longer than that, too.
    pub(crate) const TRICKLING: Duration = Duration::from_secs(3);
    pub(crate) const RESET: Duration = Duration::from_millis(200);
}

/// How much a client reads at `rate` kB/s in so many seconds.
pub(crate) const fn readable(rate: usize, seconds: usize) -> usize {
    rate * 1000 * seconds
}

/// What has to become of a request that was sent before the phase began.
pub(crate) fn demand(shape: Shape) -> Demand {
    match shape {
        Shape::NeverReads(_)
        | Shape::TooSlow
        | Shape::BodyNever
        | Shape::TrickleNever
        | Shape::BehindNever => Demand::Named,
        Shape::HeadNever => Demand::Unbegun,
        Shape::Reset => Demand::Anything,
        _ => Demand::Whole,
    }
}

/// And of one that was sent, or completed, after that, on a connection that may have been told to end.
pub(crate) fn later(moment: Moment) -> Demand {
    match moment {
        Moment::Normal => Demand::Whole,
        _ => Demand::WholeOrUnbegun,
    }
}

/// And of one on an HTTP/1 connection that was told nothing.
pub(crate) fn next(moment: Moment) -> Demand {
    match moment.serves_on() {
        true => Demand::Whole,
        false => Demand::WholeOrUnbegun,
    }
}
