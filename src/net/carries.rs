//! Whether what a connection carries is waited for.
//!
//! A connection holds Close for as long as it is there. One that carries nothing but requests that are exempt must not; but
//! their answers are not to be cut either. So Close lets such a connection go: its ticket is put back, and it goes on until
//! its answers are out, to the end of Exit at most. If a request comes on it that counts, the ticket is taken anew.

use super::connection::{Connection, Life};
use super::requests::{Framing, Place};
use crate::handle::ShutdownHandle;
use crate::in_flight::{Class, Ticket};
use crate::phase::Phase;

/// See the [module](self).
pub(super) struct Carries {
    /// `None` when it was let go, and for a connection that is not counted at all.
    ticket: Option<Ticket>,
    /// How many of the requests in flight are exempt.
    exempt: u32,
    /// Since it was last idle.
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// Nothing, or something that counts.
    Counted,
    /// Requests that are exempt, and nothing else.
    Exempt,
    /// The same, and Close waits for it no longer.
    LetGo,
}

impl Carries {
    pub(super) const fn new(ticket: Option<Ticket>) -> Self {
        Carries {
            ticket,
            exempt: 0,
            what: What::Counted,
        }
    }

    /// The connection is gone.
    pub(super) const fn take_ticket(&mut self) -> Option<Ticket> {
        self.ticket.take()
    }
}

impl Life {
    /// How many requests are in flight that count.
    pub(super) const fn in_flight(&self) -> u32 {
        self.exit.in_flight() - self.carries.exempt
    }

    /// How many messages that count are not over, though nothing is in flight for them.
    pub(super) fn unfinished(&self) -> u32 {
        match self.carries.what {
            What::Counted => self.exit.unfinished(),
            What::Exempt | What::LetGo => 0,
        }
    }

    /// Whether Close waits for it no longer. If a request on it counts whose ticket came too late, it is cut all the same.
    pub(super) fn is_let_go(&self) -> bool {
        self.carries.what == What::LetGo && self.in_flight() == 0
    }

    /// A request begins that counts.
    #[inline]
    pub(super) fn carries_counted(&mut self, handle: &ShutdownHandle) {
        if self.carries.what != What::Counted {
            self.counts_again(handle);
        }
    }

    #[cold]
    fn counts_again(&mut self, handle: &ShutdownHandle) {
        if self.carries.what == What::LetGo {
            let ticket = handle.shared.tracker().take(Class::Connection);
            if ticket.is_none() {
                // Release has begun: the request is refused.
                return;
            }
            self.carries.ticket = ticket;
        }
        self.carries.what = What::Counted;
    }

    /// Looks whether all that it carries is exempt. hyper has flushed a response before it reads the next request, unless the
    /// socket is full and the client pipelines. The response before may have counted then, and counts until it is idle.
    #[cold]
    fn carries_exempt(&mut self) {
        let exit = &self.exit;
        let others = self.in_flight() + exit.unfinished() + exit.upgraded();
        let alone = others == 0 && !exit.is_behind();
        if self.carries.what == What::Counted && self.carries.exempt > 0 && alone {
            self.carries.what = What::Exempt;
        }
    }

    /// In Close: gives what Close is not to wait for any longer. To be dropped behind the lock: it may wake the coordinator.
    #[cold]
    pub(super) fn let_go(&mut self) -> Option<Ticket> {
        self.carries_exempt();
        let exit = &self.exit;
        let is_busy = self.carries.exempt > 0 || exit.unfinished() > 0 || exit.is_lingering();
        if self.carries.what != What::Exempt || !is_busy {
            return None;
        }
        self.carries.what = What::LetGo;
        self.carries.ticket.take()
    }
}

impl Connection {
    /// Has a request that is exempt, from its beginning.
    #[cold]
    pub(crate) fn begin_exempt(&self, body: Framing) {
        self.change_exempt(|life| {
            life.exit.begin();
            life.requests.latest = body;
            life.carries.exempt += 1;
        });
    }

    /// A request that is in flight is exempt, as has turned out.
    #[cold]
    pub(crate) fn becomes_exempt(&self, place: Option<Place>) {
        self.change_exempt(|life| {
            life.carries.exempt += 1;
            place.and_then(|place| life.requests.remove(place))
        });
    }

    /// A request that is exempt is over.
    #[cold]
    pub(crate) fn finish_exempt(&self) {
        self.finish_with(None, |life| life.carries.exempt -= 1);
    }

    /// It is another protocol's from now on, of which Close waits for the end.
    #[cold]
    pub(crate) fn leaves_exempt(&self) {
        self.change(|life| life.carries_counted(&self.handle));
    }

    /// Close does not wait for it if all that it carries is exempt.
    #[cold]
    pub(crate) fn let_go(&self) {
        // Dropped behind the lock.
        let _ticket = self.change(Life::let_go);
    }

    fn change_exempt<T>(&self, change: impl FnOnce(&mut Life) -> T) {
        let closes = self.handle.phase() >= Some(Phase::Close);
        // Dropped behind the lock.
        let _dropped = self.change(|life| {
            let changed = change(life);
            life.carries_exempt();
            (changed, closes.then(|| life.let_go()))
        });
    }
}
