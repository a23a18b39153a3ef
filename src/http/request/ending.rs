//! Ending a body that lasts, at its moment.

use std::any::Any;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};
use http::{HeaderMap, HeaderName, HeaderValue};
use http_body::Frame;

use crate::long_lived::Moment;
use crate::long_lived::Told;
use crate::reason::Reason;

/// How what lasts is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    /// By its handler, or at Close's deadline.
    NotByUs,
    /// Where it is.
    Plain,
    /// Between two events, with a farewell.
    Events,
    /// With trailers.
    Grpc,
}

/// How a response's body ends.
#[derive(Debug)]
pub enum Fate {
    /// As it will.
    Whole,
    /// At its moment.
    Ended(Box<Ending>),
    /// At once: the head says all there is to say.
    Over,
}

/// How a body that lasts is ended.
pub struct Ending {
    moment: Moment,
    how: How,
    /// An event stream's last bytes.
    tail: Tail,
    /// Until it has been sent.
    farewell: Option<Farewell>,
}

enum Farewell {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Ending {
    pub(super) fn new(moment: Moment, how: How) -> Self {
        Ending {
            moment,
            how,
            tail: Tail::default(),
            farewell: None,
        }
    }

    /// The head is about to be sent.
    pub(super) fn begin(mut self, head: &mut HeaderMap) -> Fate {
        let late = self.how == How::Grpc && self.is_leaving() && {
            let nobody = &mut Context::from_waker(Waker::noop());
            self.poll_due(nobody).is_ready()
        };
        match self.farewell {
            Some(Farewell::Trailers(trailers)) if late => {
                // A response of trailers alone, which gRPC's clients may take for none.
                head.extend(trailers);
                Fate::Over
            }
            _ => Fate::Ended(Box::new(self)),
        }
    }

    /// Whether its moment may have come.
    pub(super) fn is_leaving(&self) -> bool {
        self.moment.may_have_come()
    }

    /// Whether it is time to end it, and what it has sent so far can be ended there.
    pub(super) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Poll::Ready(told) = Pin::new(&mut self.moment).poll(cx) else {
            return Poll::Pending;
        };
        match self.how {
            How::Events if !self.tail.is_between_events() => return Poll::Pending,
            How::Events => {
                let text = self.moment.shared().event_streams().farewell();
                self.farewell = (!text.is_empty()).then(|| Farewell::Data(text.into()));
            }
            How::Grpc => self.farewell = Some(Farewell::Trailers(unavailable(&told))),
            How::Plain | How::NotByUs => {}
        }
        Poll::Ready(())
    }

    /// A frame of the body passes.
    pub(super) fn passed<D: Buf>(&mut self, frame: &Frame<D>) {
        if let (How::Events, Some(data)) = (self.how, frame.data_ref()) {
            self.tail.passed(data);
        }
    }

    /// What is still to be sent, once.
    pub(super) fn last_frame<D: 'static>(&mut self) -> Option<Frame<D>> {
        match self.farewell.take()? {
            // A body whose data is of another type ends without.
            Farewell::Data(bytes) => same_type(bytes).map(Frame::data),
            Farewell::Trailers(trailers) => Some(Frame::trailers(trailers)),
        }
    }
}

impl fmt::Debug for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ending")
            .field("how", &self.how)
            .finish_non_exhaustive()
    }
}

/// gRPC's UNAVAILABLE, and when to try again (gRFC A6).
fn unavailable(told: &Told) -> HeaderMap {
    let pushback = told.retry_after().as_millis() as u64;
    HeaderMap::from_iter([
        (
            HeaderName::from_static("grpc-status"),
            HeaderValue::from_static("14"),
        ),
        (
            HeaderName::from_static("grpc-message"),
            HeaderValue::from_static(match told.reason() {
                Reason::ConnectionAge => "the connection is too old",
                _ => "the server is shutting down",
            }),
        ),
        (
            HeaderName::from_static("grpc-retry-pushback-ms"),
            HeaderValue::from(pushback),
        ),
    ])
}

/// The value, if the two types are the same.
fn same_type<T: 'static, U: 'static>(value: T) -> Option<U> {
    let mut value = Some(value);
    let value: &mut dyn Any = &mut value;
    value.downcast_mut::<Option<U>>()?.take()
}

/// The last bytes of an event stream: an empty line ends an event (HTML, section 9.2.5).
#[derive(Debug, Default)]
struct Tail {
    bytes: [u8; 3],
    length: usize,
}

impl Tail {
    fn passed(&mut self, data: &impl Buf) {
        let chunk = data.chunk();
        if chunk.len() < data.remaining() {
            // In pieces: where it ends cannot be seen. Whoever writes events that way writes whole ones.
            *self = Tail::default();
            return;
        }
        for &byte in &chunk[chunk.len().saturating_sub(self.bytes.len())..] {
            self.bytes.rotate_left(1);
            self.bytes[2] = byte;
            self.length = (self.length + 1).min(self.bytes.len());
        }
    }

    fn is_between_events(&self) -> bool {
        let bytes = &self.bytes[self.bytes.len() - self.length..];
        // Three things end a line, and a stream may mix them. Without its end, the last line is empty if another one's end
        // comes before it.
        let ends = [&b"\r\n"[..], b"\n", b"\r"];
        let last = ends.iter().find_map(|end| bytes.strip_suffix(*end));
        bytes.is_empty() || last.is_some_and(|rest| rest.ends_with(b"\n") || rest.ends_with(b"\r"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cases;

    #[test]
    fn an_empty_line_ends_an_event() {
        let between = |parts: &[&'static str]| {
            let mut tail = Tail::default();
            for part in parts {
                tail.passed(&Bytes::from_static(part.as_bytes()));
            }
            tail.is_between_events()
        };

        assert!(between(&[]));
        assert!(between(&["data: 1\n\n"]));
        assert!(between(&["data: 1\n", "\n"]));
        assert!(between(&["data: 1\r\n", "\r", "\n"]));
        assert!(between(&["data: 1\r\r"]));
        assert!(between(&[":\n\n"]));
        assert!(!between(&["data: 1\n"]));
        assert!(!between(&["data: 1\n\ndata: 2"]));
        assert!(!between(&["data: 1\r\n"]));
        assert!(!between(&["\n"]));
    }

    #[test]
    fn data_of_another_type_is_not_made_up() {
        assert_eq!(same_type::<Bytes, Bytes>("a".into()), Some("a".into()));
        assert_eq!(same_type::<Bytes, &'static [u8]>("a".into()), None);
    }

    /// One byte as it may stand in an event stream: often the end of a line.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'x')];
        prop::collection::vec(byte, 0..16)
    }

    /// Whether what follows begins a new event: nothing came yet, or the last line was empty and is over.
    fn is_over(stream: &[u8]) -> bool {
        let text = std::str::from_utf8(stream).unwrap();
        let text = text.replace("\r\n", "\n").replace('\r', "\n");
        // An empty line that nothing precedes ends no event.
        text.is_empty() || (text.ends_with("\n\n"))
    }

    #[test]
    fn empty_line_is_seen_however_the_stream_is_cut() {
        let places = prop::collection::vec(0..16_usize, 0..6);
        cases::check(1_000, (bytes(), places), |(stream, places)| {
            let mut tail = Tail::default();

            for part in cases::cut(&stream, &places) {
                tail.passed(&Bytes::copy_from_slice(part));
            }

            assert_eq!(tail.is_between_events(), is_over(&stream), "{stream:?}");
        });
    }
}
