//! A connection's exit: what it still carries, whether it may end, and when to look at it again.
//!
//! [`Exit`] is one pure machine for each connection: it has no socket, no clock and no waker. Its inputs are what the parts of
//! the connection see: bytes, requests, frames, the client's end, and somebody's wish that it leaves. It says what to do:
//! to ask the client to leave, to end reading, to linger, to give the client up; and at which instant to look again. Nobody
//! else keeps any of this.
//!
//! Two rules decide where something is not known. What is guessed may delay an end, and never cause one. And what has been
//! written into the kernel has not been sent: it has when the client has acknowledged it.
//!
//! - `told` are its inputs, `looks` says what to do, `asked` answers whoever wants to know of it.
//! - `linger` is the wait for the client behind our end. `interface` are the words that all of them use.

mod asked;
mod interface;
mod linger;
mod looks;
mod told;

use std::time::Duration;

use tokio::time::Instant;

use self::linger::Linger;

pub(crate) use interface::{
    Act, Age, Answers, Awaits, EndReading, Leave, Look, Pong, Protocol, Receiving,
};

/// How long a GOAWAY waits for an instant without streams.
///
/// A connection that was opened a moment ago is about to be used. A GOAWAY that comes before its first request would send
/// the client away with nothing, to open the next connection, which gets the same. And hyper's client leaves an idle connection
/// at once, but on one with an open stream it fails the next request that it is given: its dispatcher does not hear of a GOAWAY
/// before. So the GOAWAY comes when the requests have been answered.
const FRESH: Duration = Duration::from_secs(1);

/// How long the second GOAWAY is kept back behind the answer to the PING. Clients write that answer before the requests that they
/// had queued, h2's in the same flight, and fail each that is above the second GOAWAY's last stream. RFC 9113, section 6.8 asks for one
/// round trip at least, which is over by then.
const QUEUED: Duration = Duration::from_millis(50);

/// How often the socket has been found dry, since it was last idle or something was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dry {
    Unseen,
    /// Once; the runtime's driver is waited for.
    Seen,
    /// Once, and the driver has been polled: if it is dry still, it is.
    Driven,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Exit {
    opened: Instant,
    protocol: Protocol,
    /// Whether HTTP/2 gets its GOAWAY at its moment, or only in Close.
    goaway: bool,

    receiving: Receiving,
    /// How many requests hyper has called the service for, as far as that has been told.
    called: u32,
    /// How many have begun.
    requested: u64,
    in_flight: u32,
    /// HTTP/1: hyper may still hold a part of the last response.
    unflushed: bool,
    /// HTTP/1: that was so when the latest request began.
    behind: bool,
    /// HTTP/2: streams without the end of their response.
    unanswered: u32,
    /// HTTP/2: streams whose response has ended, and whose request has not.
    uploads: u32,
    /// How many of `unanswered` are tunnels, whose end is the application's affair. At most: which of them end is not seen.
    tunnels: u32,
    upgraded: bool,

    /// On the heap: most have none.
    age: Option<Box<Age>>,
    leave: Option<Leave>,
    /// Its moment has come: HTTP/1 responses say close.
    asked: bool,
    /// Somebody else's connection has been asked.
    told: bool,
    pong: Pong,
    /// Connections are to end, and a response that could not ask is, or was, on its way.
    busy: bool,
    /// When it ends, if it is idle by then.
    ends_at: Option<Instant>,
    /// It ends when it is idle and nothing has arrived.
    ending: bool,
    /// Its client has been waited for long enough: half a head does not hold it any more.
    given_up: bool,
    /// Somebody else's connection has been ended.
    ended: bool,
    dry: Dry,
    wait: Option<Wait>,
    closing: Closing,
    /// The driver is to look.
    wake: bool,
}

/// Since when the client has been waited for.
#[derive(Clone, Copy, Debug)]
struct Wait {
    awaits: Awaits,
    /// For how many requests hyper had called the service.
    called: u32,
    since: Instant,
    /// The time was up. What comes of it takes its course.
    over: bool,
}

impl Wait {
    /// Whether it is still the same wait. What began like a preface may turn out to be a head.
    fn goes_on(&self, awaits: Awaits, called: u32) -> bool {
        let head = |awaits| matches!(awaits, Awaits::Preface | Awaits::Head);
        match head(awaits) {
            // The next request's head is another wait. On HTTP/2 others begin meanwhile.
            true => self.called == called && head(self.awaits),
            false => self.awaits == awaits,
        }
    }
}

/// How far the end of the connection has come.
#[derive(Clone, Copy, Debug)]
enum Closing {
    Open,
    /// We ended it when it was idle, or the client ended its side.
    Ended,
    /// Our side is closed, and what we sent may not have arrived.
    Lingering(Linger),
    Over,
}

impl Exit {
    pub(crate) fn new(opened: Instant) -> Self {
        Exit {
            opened,
            protocol: Protocol::Unseen,
            goaway: true,
            receiving: Receiving::Nothing,
            called: 0,
            requested: 0,
            in_flight: 0,
            unflushed: false,
            behind: false,
            unanswered: 0,
            uploads: 0,
            tunnels: 0,
            upgraded: false,
            age: None,
            leave: None,
            asked: false,
            told: false,
            pong: Pong::NotAsked,
            busy: false,
            ends_at: None,
            ending: false,
            given_up: false,
            ended: false,
            dry: Dry::Unseen,
            wait: None,
            closing: Closing::Open,
            wake: false,
        }
    }

    /// Limits for how long it is used in normal service.
    pub(crate) fn with_age(mut self, age: Option<Age>) -> Self {
        self.age = age.map(Box::new);
        self
    }
}

#[cfg(test)]
mod tests;
