//! Following an HTTP/1 client's messages, as far as the connection's end needs it.
//!
//! hyper does not say where in a request the client is: whether half of the next head has arrived, or a body that nobody
//! reads is still on its way. So the IO follows what arrives: heads to their empty line, bodies by their length or their chunks
//! (RFC 9112, sections 6 and 7).

use crate::net::exit::Receiving;
use crate::net::requests::Framing;

/// As much of a header's line as is looked at: the longest that matters is `transfer-encoding: gzip, chunked`, or so.
const LINE: usize = 48;

/// Where a client is in what it sends.
#[derive(Debug, Default)]
pub(crate) struct Messages {
    place: Place,
    /// The last head was taken for one without a body, unseen. Then hyper knows whether it has one.
    assumed: bool,
}

/// Whether a head that begins here has no body, as nearly all that begin like this: GET, HEAD, OPTIONS.
#[inline]
const fn is_bodiless(bytes: &[u8]) -> bool {
    matches!(bytes, [b'G' | b'H' | b'O', ..])
}

/// Whether these bytes end like a head.
#[inline]
pub(crate) fn ends_head(bytes: &[u8]) -> bool {
    bytes.ends_with(b"\r\n\r\n")
}

#[derive(Debug, Default)]
enum Place {
    /// Between two messages.
    #[default]
    Between,
    Head(Head),
    Body {
        left: u64,
    },
    Chunk(Chunk),
}

#[derive(Debug)]
struct Head {
    line: [u8; LINE],
    /// How much of the line is there; more than [`LINE`] is not kept.
    length: usize,
    framing: Framing,
}

impl Default for Head {
    fn default() -> Self {
        Head {
            line: [0; LINE],
            length: 0,
            framing: Framing::Empty,
        }
    }
}

/// Where it is in a chunked body.
#[derive(Debug)]
enum Chunk {
    /// In the line that says how long the chunk is. What follows a digit that is none is an extension.
    Size { size: u64, extension: bool },
    /// In the chunk, or the line's end behind it.
    Data { left: u64 },
    /// Behind the last chunk: in trailers, whose last line is empty.
    Trailer { empty: bool },
}

impl Messages {
    #[inline]
    pub(crate) fn receiving(&self) -> Receiving {
        match self.place {
            Place::Between => Receiving::Nothing,
            Place::Head(_) => Receiving::Head,
            Place::Body { .. } | Place::Chunk(_) => Receiving::Body,
        }
    }

    /// Follows what the client has sent. `latest` is how the latest request that hyper has read is framed, `has_body` whether it
    /// has a body at all. Returns whether the client is elsewhere now.
    #[inline]
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        has_body: bool,
        latest: impl FnOnce() -> Framing,
    ) -> bool {
        if let (Place::Between, false) = (&self.place, self.assumed && has_body) {
            // A whole head, and nothing else.
            if is_bodiless(bytes) && ends_head(bytes) {
                self.assumed = true;
                return false;
            }
        }
        self.read_otherwise(bytes, latest)
    }

    /// Follows the first bytes that come behind those that told the version.
    pub(crate) fn read_first(&mut self, sniffed: &[u8], bytes: &[u8]) {
        if is_bodiless(sniffed) && ends_head(bytes) {
            self.assumed = true;
            return;
        }
        self.read_otherwise(sniffed, Framing::default);
        self.read_otherwise(bytes, Framing::default);
    }

    #[inline(never)]
    fn read_otherwise(&mut self, bytes: &[u8], latest: impl FnOnce() -> Framing) -> bool {
        let before = self.receiving();
        if std::mem::take(&mut self.assumed) {
            self.place = Place::behind_head(latest());
            if matches!(self.place, Place::Between) && is_bodiless(bytes) && ends_head(bytes) {
                self.assumed = true;
                return false;
            }
        }
        let mut left = bytes;
        while !left.is_empty() {
            left = self.place.follow(left);
        }
        self.receiving() != before
    }
}

impl Place {
    fn behind_head(framing: Framing) -> Self {
        match framing {
            Framing::Empty | Framing::Length(0) => Place::Between,
            Framing::Length(left) => Place::Body { left },
            Framing::Chunked => Place::Chunk(Chunk::SIZE),
        }
    }

    /// Follows the part of `bytes` that belongs together, and returns the rest.
    fn follow<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match self {
            Place::Between => {
                // Empty lines before a request are none of it (RFC 9112, section 2.2).
                let begins = |byte: &u8| !matches!(byte, b'\r' | b'\n');
                let Some(begin) = bytes.iter().position(begins) else {
                    return &[];
                };
                *self = Place::Head(Head::default());
                &bytes[begin..]
            }
            Place::Head(head) => {
                let (framing, rest) = head.follow(bytes);
                if let Some(framing) = framing {
                    *self = Place::behind_head(framing);
                }
                rest
            }
            Place::Body { left } => {
                let (taken, rest) = split(bytes, *left);
                *left -= taken;
                if *left == 0 {
                    *self = Place::Between;
                }
                rest
            }
            Place::Chunk(chunk) => {
                let (over, rest) = chunk.follow(bytes);
                if over {
                    *self = Place::Between;
                }
                rest
            }
        }
    }
}

impl Head {
    /// Follows one line, or what is there of it. With the empty one the head is over, and the body's framing known.
    fn follow<'a>(&mut self, bytes: &'a [u8]) -> (Option<Framing>, &'a [u8]) {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (part, rest) = bytes.split_at(end.unwrap_or(bytes.len()));
        let kept = self.length.min(LINE);
        let keep = part.len().min(LINE - kept);
        self.line[kept..][..keep].copy_from_slice(&part[..keep]);
        self.length += part.len();
        if end.is_none() {
            return (None, rest);
        }
        let line = &self.line[..self.length.min(LINE)];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let over = line.is_empty().then_some(self.framing);
        if let (Framing::Empty | Framing::Length(_), Some(framing)) = (self.framing, framing(line))
        {
            self.framing = framing;
        }
        self.length = 0;
        (over, &rest[1..])
    }
}

/// What a header's line says of the framing, if anything. `Transfer-Encoding` decides when both are there (RFC 9112, section
/// 6.3): hyper ends the connection then, if it does not refuse the request.
fn framing(line: &[u8]) -> Option<Framing> {
    if !matches!(line.first(), Some(b'C' | b'c' | b'T' | b't')) {
        return None;
    }
    let line = std::str::from_utf8(line).ok()?;
    let (name, value) = line.split_once(':')?;
    if name.eq_ignore_ascii_case("content-length") {
        return Some(Framing::Length(value.trim().parse().ok()?));
    }
    name.eq_ignore_ascii_case("transfer-encoding")
        .then_some(Framing::Chunked)
}

impl Chunk {
    const SIZE: Chunk = Chunk::Size {
        size: 0,
        extension: false,
    };

    /// Returns whether the body is over, and the rest.
    fn follow<'a>(&mut self, bytes: &'a [u8]) -> (bool, &'a [u8]) {
        let [byte, rest @ ..] = bytes else {
            return (false, bytes);
        };
        match self {
            Chunk::Size { size, extension } => {
                match (char::from(*byte).to_digit(16), *byte) {
                    (_, b'\n') => {
                        *self = match *size {
                            0 => Chunk::Trailer { empty: true },
                            // And the line's end behind it.
                            size => Chunk::Data {
                                left: size.saturating_add(2),
                            },
                        };
                    }
                    (Some(digit), _) if !*extension => {
                        *size = size.saturating_mul(16).saturating_add(digit.into());
                    }
                    _ => *extension = true,
                }
                (false, rest)
            }
            Chunk::Data { left } => {
                let (taken, rest) = split(bytes, *left);
                *left -= taken;
                if *left == 0 {
                    *self = Chunk::SIZE;
                }
                (false, rest)
            }
            Chunk::Trailer { empty } => match byte {
                b'\n' if *empty => (true, rest),
                b'\n' => {
                    *empty = true;
                    (false, rest)
                }
                b'\r' => (false, rest),
                _ => {
                    *empty = false;
                    (false, rest)
                }
            },
        }
    }
}

/// How many bytes of `left` are there, and what follows them.
fn split(bytes: &[u8], left: u64) -> (u64, &[u8]) {
    let taken = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
    (taken as u64, &bytes[taken..])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cases;

    /// A request as it is sent, behind so many empty lines.
    #[derive(Clone, Debug)]
    struct Sent {
        blank: usize,
        head: String,
        body: Vec<u8>,
    }

    /// What looks like a line's end now and then.
    fn content() -> impl Strategy<Value = Vec<u8>> {
        let byte = prop_oneof![Just(b'\r'), Just(b'\n'), Just(b'0'), any::<u8>()];
        prop::collection::vec(byte, 0..40)
    }

    fn chunked() -> impl Strategy<Value = Vec<u8>> {
        let chunks = prop::collection::vec(content(), 0..4);
        let extension = prop_oneof![3 => Just(""), 1 => Just(";name=\"0a\"")];
        let trailers =
            prop_oneof![3 => Just(""), 1 => Just("a: b\r\n"), 1 => Just("a: b\r\nc: d\r\n")];
        (chunks, extension, trailers).prop_map(|(chunks, extension, trailers)| {
            let mut body = Vec::new();
            for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                body.extend(format!("{:X}{extension}\r\n", chunk.len()).bytes());
                body.extend(chunk);
                body.extend(b"\r\n");
            }
            body.extend(format!("0{extension}\r\n{trailers}\r\n").bytes());
            body
        })
    }

    fn request() -> impl Strategy<Value = Sent> {
        let body = prop_oneof![
            2 => Just((Vec::new(), Framing::Empty)),
            1 => content().prop_map(|body| {
                let length = body.len() as u64;
                (body, Framing::Length(length))
            }),
            1 => chunked().prop_map(|body| (body, Framing::Chunked)),
        ];
        let method = prop_oneof![Just("POST"), Just("PUT"), Just("DELETE"), Just("PATCH")];
        let end = prop_oneof![3 => Just("\r\n"), 1 => Just("\n")];
        let header = prop_oneof![
            2 => Just("Host: test"),
            1 => Just("Cookie: a=b"),
            1 => Just("Content-Type: text/plain"),
            1 => Just("Te: trailers"),
        ];
        let parts = (body, method, end, header, any::<bool>(), 0..3_usize);
        parts.prop_map(|((body, framing), method, end, header, lower, blank)| {
            let method = match framing {
                Framing::Empty if lower => "GET",
                _ => method,
            };
            let mut of_body = match framing {
                Framing::Empty => String::new(),
                Framing::Length(length) => format!("Content-Length: {length}{end}"),
                Framing::Chunked => format!("Transfer-Encoding: gzip, chunked{end}"),
            };
            if lower {
                of_body.make_ascii_lowercase();
            }
            Sent {
                blank,
                head: format!("{method} /a HTTP/1.1{end}{header}{end}{of_body}X: y{end}{end}"),
                body,
            }
        })
    }

    /// All bytes, and where the client is behind each of them.
    fn sent(requests: &[Sent]) -> (Vec<u8>, Vec<Receiving>) {
        let (mut bytes, mut places) = (Vec::new(), Vec::new());
        for sent in requests {
            let parts = [
                (vec![b'\n'; sent.blank], Receiving::Nothing),
                (sent.head.clone().into_bytes(), Receiving::Head),
                (sent.body.clone(), Receiving::Body),
            ];
            for (part, place) in parts {
                places.extend(vec![place; part.len()]);
                bytes.extend(part);
                // Behind a head comes the body, or nothing.
                match (place, places.last_mut(), sent.body.is_empty()) {
                    (Receiving::Head, Some(last), false) => *last = Receiving::Body,
                    (Receiving::Head | Receiving::Body, Some(last), _) => {
                        *last = Receiving::Nothing
                    }
                    _ => {}
                }
            }
        }
        (bytes, places)
    }

    #[test]
    fn client_is_found_where_it_is_however_the_bytes_are_cut() {
        let requests = prop::collection::vec(request(), 1..5);
        let cuts = prop::collection::vec(0..60_usize, 0..12);
        cases::check(2_000, (requests, cuts), |(requests, cuts)| {
            let (bytes, places) = sent(&requests);
            for cuts in [cuts, vec![1; bytes.len()], Vec::new()] {
                let mut messages = Messages::default();
                let mut before = Receiving::Nothing;
                let mut read = 0;
                for part in cases::cut(&bytes, &cuts) {
                    if part.is_empty() {
                        continue;
                    }
                    let moved = messages.read(part, false, || Framing::Empty);
                    read += part.len();
                    let place = places[read - 1];

                    assert_eq!(messages.receiving(), place, "behind {read} bytes");
                    assert_eq!(moved, place != before, "behind {read} bytes");
                    before = place;
                }
            }
        });
    }

    #[test]
    fn body_of_a_get_is_known_from_hyper() {
        let head = b"GET / HTTP/1.1\r\nContent-Length: 5\r\n\r\n";
        let mut messages = Messages::default();

        messages.read(head, false, || Framing::Empty);
        messages.read(b"hel", true, || Framing::Length(5));
        let half = messages.receiving();
        messages.read(b"lo", true, || Framing::Length(5));
        let whole = messages.receiving();
        messages.read(b"GET / H", true, || Framing::Length(5));

        let seen = [half, whole, messages.receiving()];
        assert_eq!(seen, [Receiving::Body, Receiving::Nothing, Receiving::Head]);
    }

    #[test]
    fn any_bytes_mean_the_same_however_they_are_cut() {
        let byte =
            prop_oneof![1 => Just(b'\r'), 3 => Just(b'\n'), 2 => Just(b'0'), 1 => any::<u8>()];
        let bytes = prop::collection::vec(byte, 0..60);
        let cuts = prop::collection::vec(0..60_usize, 0..8);
        cases::check(1_000, (bytes, cuts), |(bytes, cuts)| {
            let bytes = [&b"POST / HTTP/1.1\r\n"[..], &bytes].concat();
            let seen = |cuts: &[usize]| {
                let mut messages = Messages::default();
                for part in cases::cut(&bytes, cuts) {
                    messages.read(part, false, || Framing::Empty);
                }
                messages.receiving()
            };

            let bytewise = vec![1; bytes.len()];

            let whole = seen(&[]);

            assert_eq!(seen(&cuts), whole);
            assert_eq!(seen(&bytewise), whole);
        });
    }
}
