//! What the parts of one connection share: its IO, its service, its requests, and whoever watches it.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use atomic_waker::AtomicWaker;
use http::{Method, Request, Uri};
use tokio::time::Instant;

use super::names::RequestNames;
use crate::drain::{Generation, SERVING, Ticket};
use crate::handle::ShutdownHandle;
use crate::report::{Kind, LeftBehind};
use crate::shared::Source;

/// One connection. It is counted for as long as anybody holds this: an upgraded connection's IO does.
pub(super) struct Connection<A: ?Sized = dyn Debug + Send + Sync> {
    pub(super) handle: ShutdownHandle,
    /// The list in which the coordinator finds this connection: it lives as long as one of its connections does.
    _server: Arc<dyn Source>,
    /// Wakes the task that drives it.
    pub(super) task: AtomicWaker,
    pub(super) since: Instant,
    protocol: AtomicU8,
    /// Its moment has come: HTTP/1 responses say close.
    says_close: AtomicBool,
    /// It closes when it is idle and nothing has arrived.
    ending: AtomicBool,
    /// It is over now, whatever it is doing.
    cut: AtomicBool,
    /// Its IO belongs, or is about to belong, to another task than the one that drives it.
    upgraded: AtomicBool,
    reader: AtomicWaker,
    writer: AtomicWaker,
    in_flight: AtomicU32,
    /// A request has come on it.
    requested: AtomicBool,
    /// Bytes have arrived that no request was made of yet: half a head.
    mid_head: AtomicBool,
    /// hyper may still hold a part of the last response.
    unflushed: AtomicBool,
    /// The requests in flight. Locked by this connection, and by the report.
    requests: Mutex<Requests>,
    ticket: Option<Ticket>,
    peer: A,
}

/// What is known of a connection's protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Protocol {
    Unknown,
    Http1,
    Http2,
}

impl<A> Connection<A> {
    /// A connection without a ticket is not counted, told or refused: an admin server's.
    pub(super) fn new(
        handle: ShutdownHandle,
        server: Arc<dyn Source>,
        ticket: Option<Ticket>,
        peer: A,
    ) -> Self {
        Connection {
            handle,
            _server: server,
            task: AtomicWaker::new(),
            since: Instant::now(),
            protocol: AtomicU8::new(Protocol::Unknown as u8),
            says_close: AtomicBool::new(false),
            ending: AtomicBool::new(false),
            cut: AtomicBool::new(false),
            upgraded: AtomicBool::new(false),
            reader: AtomicWaker::new(),
            writer: AtomicWaker::new(),
            in_flight: AtomicU32::new(0),
            requested: AtomicBool::new(false),
            mid_head: AtomicBool::new(false),
            unflushed: AtomicBool::new(false),
            requests: Mutex::default(),
            ticket,
            peer,
        }
    }
}

impl<A: ?Sized> Connection<A> {
    pub(super) const fn is_counted(&self) -> bool {
        self.ticket.is_some()
    }

    pub(super) fn set_protocol(&self, protocol: Protocol) {
        self.protocol.store(protocol as u8, Ordering::Relaxed);
        if protocol == Protocol::Http2 {
            self.mid_head.store(false, Ordering::Relaxed);
        }
    }

    fn is_http2(&self) -> bool {
        self.protocol.load(Ordering::Relaxed) == Protocol::Http2 as u8
    }

    pub(super) fn says_close(&self) -> bool {
        self.says_close.load(Ordering::Relaxed)
    }

    pub(super) fn say_close(&self) {
        self.says_close.store(true, Ordering::Relaxed);
    }

    /// Whether a request has ever come on it.
    pub(super) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::Relaxed)
    }

    pub(super) fn end(&self) {
        self.ending.store(true, Ordering::Relaxed);
    }

    /// Whether to answer a dry socket with the end of the stream: asked to end, idle, the last response is out, and no head
    /// is on its way. Never on HTTP/2: what a body has handed over there may wait for the client's window, and GOAWAY ends it.
    pub(super) fn should_end(&self) -> bool {
        self.ending.load(Ordering::Relaxed)
            && !self.is_http2()
            && self.in_flight() == 0
            && !self.unflushed.load(Ordering::Relaxed)
            && !self.mid_head.load(Ordering::Relaxed)
            && !self.is_upgraded()
    }

    /// How many requests are in flight.
    pub(super) fn in_flight(&self) -> u32 {
        self.in_flight.load(Ordering::Acquire)
    }

    /// Whether the handler is done with a response that hyper has not sent yet. Not known of HTTP/2.
    pub(super) fn is_sending(&self) -> bool {
        self.in_flight() == 0
            && self.unflushed.load(Ordering::Relaxed)
            && !self.is_http2()
            && !self.is_upgraded()
    }

    pub(super) fn is_cut(&self) -> bool {
        self.cut.load(Ordering::Acquire)
    }

    /// Ends it now. Returns whether it was still alive.
    pub(super) fn cut(&self) -> bool {
        let alive = !self.cut.swap(true, Ordering::AcqRel);
        self.task.wake();
        self.reader.wake();
        self.writer.wake();
        alive
    }

    pub(super) fn is_upgraded(&self) -> bool {
        self.upgraded.load(Ordering::Acquire)
    }

    /// Set before hyper can hand the IO over, so that its next owner is seen from its first poll on.
    pub(super) fn upgrade(&self) {
        self.upgraded.store(true, Ordering::Release);
    }

    pub(super) fn reader(&self) -> &AtomicWaker {
        &self.reader
    }

    pub(super) fn writer(&self) -> &AtomicWaker {
        &self.writer
    }

    /// Bytes have come in.
    pub(super) fn received(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 && !self.is_http2() {
            self.mid_head.store(true, Ordering::Relaxed);
        }
    }

    /// hyper holds nothing that is still to be written: it flushes its IO only then.
    pub(super) fn flushed(&self) {
        if self.in_flight.load(Ordering::Relaxed) == 0 && self.unflushed.load(Ordering::Relaxed) {
            self.unflushed.store(false, Ordering::Relaxed);
            if self.ending.load(Ordering::Relaxed) {
                self.task.wake();
            }
        }
    }

    /// A request's head is complete. Returns the place under which it is named.
    pub(super) fn begin<B>(
        &self,
        request: &Request<B>,
        generation: Generation,
        names: RequestNames,
    ) -> Option<usize> {
        self.mid_head.store(false, Ordering::Relaxed);
        self.unflushed.store(true, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        if !self.requested.load(Ordering::Relaxed) {
            self.requested.store(true, Ordering::Relaxed);
            if self.says_close() {
                self.task.wake();
            }
        }
        let uri = match names {
            RequestNames::MethodAndPath => Some(request.uri().clone()),
            RequestNames::Method => None,
            RequestNames::Off => return None,
        };
        Some(self.requests().add(InFlight {
            method: request.method().clone(),
            uri,
            generation,
            since: Instant::now(),
        }))
    }

    /// A request is over.
    pub(super) fn finish(&self, place: Option<usize>) {
        if let Some(place) = place {
            let request = self.requests().remove(place);
            // Only now: its buffers may belong to the connection, and the lock is free again.
            drop(request);
        }
        self.in_flight.fetch_sub(1, Ordering::Release);
        if self.ending.load(Ordering::Relaxed) {
            self.task.wake();
        }
    }

    fn requests(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    pub(super) fn left_behind(&self, kind: Kind, latest: Generation, left: &mut Vec<LeftBehind>) {
        match kind {
            Kind::Request => {
                let requests = self.requests();
                let early = requests.iter().filter(|one| one.generation <= latest);
                left.extend(early.map(|request| LeftBehind {
                    kind,
                    name: request.name(),
                    age: request.since.elapsed(),
                }));
            }
            Kind::Connection => left.push(LeftBehind {
                kind,
                name: format!("{:?} {}", &self.peer, self.doing()),
                age: self.since.elapsed(),
            }),
            Kind::Task | Kind::Guard => {}
        }
    }

    fn doing(&self) -> String {
        let protocol = match self.protocol.load(Ordering::Relaxed) {
            1 => "HTTP/1",
            2 => "HTTP/2",
            _ => "no protocol yet",
        };
        let doing = if self.is_upgraded() {
            "upgraded".to_owned()
        } else if self.in_flight() > 0 {
            self.busy_with()
        } else if self.mid_head.load(Ordering::Relaxed) {
            "half-sent head".to_owned()
        } else if self.is_sending() {
            "sending a response".to_owned()
        } else {
            "idle".to_owned()
        };
        format!("({protocol}: {doing})")
    }

    fn busy_with(&self) -> String {
        let first = self.requests().iter().next().map(InFlight::name);
        match (first, self.in_flight()) {
            (Some(name), 0 | 1) => name,
            (Some(name), count) => format!("{name} and {} more", count - 1),
            (None, 1) => "1 request".to_owned(),
            (None, count) => format!("{count} requests"),
        }
    }
}

impl<A: ?Sized> Drop for Connection<A> {
    fn drop(&mut self) {
        let shared = &self.handle.shared;
        let cut = *self.cut.get_mut();
        if self.is_counted() && !cut && shared.tracker().stage() != SERVING {
            shared.connections.closed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// The requests in flight on one connection: one on HTTP/1, many on HTTP/2.
#[derive(Default)]
struct Requests {
    first: Option<InFlight>,
    more: Vec<Option<InFlight>>,
}

struct InFlight {
    method: Method,
    uri: Option<Uri>,
    generation: Generation,
    since: Instant,
}

impl InFlight {
    /// Method and path, without the query: tokens live there.
    fn name(&self) -> String {
        match &self.uri {
            Some(uri) => format!("{} {}", self.method, uri.path()),
            None => self.method.to_string(),
        }
    }
}

impl Requests {
    fn add(&mut self, request: InFlight) -> usize {
        if self.first.is_none() {
            self.first = Some(request);
            return 0;
        }
        let free = self.more.iter().position(Option::is_none);
        let place = free.unwrap_or_else(|| {
            self.more.push(None);
            self.more.len() - 1
        });
        self.more[place] = Some(request);
        place + 1
    }

    fn remove(&mut self, place: usize) -> Option<InFlight> {
        match place.checked_sub(1) {
            None => self.first.take(),
            Some(place) => self.more.get_mut(place).and_then(Option::take),
        }
    }

    fn iter(&self) -> impl Iterator<Item = &InFlight> {
        self.first.iter().chain(self.more.iter().flatten())
    }
}
