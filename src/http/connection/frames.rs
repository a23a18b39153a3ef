//! Following an HTTP/2 connection's frames, as far as its end needs it.
//!
//! hyper does not say which responses have left: when a body is over, h2 may hold most of it for the client's window. And a
//! server that leaves sends a first GOAWAY and a PING, and the second GOAWAY when the PING is answered (RFC 9113, section
//! 6.8). hyper waits for that answer without end, and there is no way to tell it that it will not come. So its IO answers in
//! the client's place, between two frames: then h2 does the rest as it would have.
//!
//! The client's own answer is not passed on. h2 would send the second GOAWAY as soon as it has read it, without the requests
//! behind it: clients write that answer before what they had queued when the GOAWAY came. So h2 gets the IO's answer here as
//! well, a moment later.

use tokio::io::ReadBuf;

/// A frame's length, type, flags and stream (RFC 9113, section 4.1).
const HEAD: usize = 9;
/// Where the type stands in it.
const TYPE: usize = 3;
/// What a PING carries (RFC 9113, section 6.7).
const PAYLOAD: usize = 8;

// Types (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
/// None that is registered: an unknown type is ignored (RFC 9113, section 5.5).
const IGNORED: u8 = 0xef;

// Flags.
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

/// What precedes a number of 31 bits.
const RESERVED: u32 = 1 << 31;

/// Both directions of one connection, from the first byte behind the client's preface on.
#[derive(Default)]
pub(crate) struct Frames {
    read: Border,
    written: Border,
    streams: Streams,
    /// The client is inside a frame, and it is not the body of an open stream, which may take any time.
    half: bool,
    /// A GOAWAY has been written.
    goaway: bool,
    /// What the PING behind it carries.
    ping: Option<[u8; PAYLOAD]>,
    /// The answer in the client's place, as far as it has not been given.
    answer: Vec<u8>,
}

impl Frames {
    /// Follows what the client has sent. Returns whether the end of the answer to the PING was in it: h2 will not take it for one.
    #[inline]
    pub(crate) fn read(&mut self, bytes: &mut [u8]) -> bool {
        let Frames {
            read,
            streams,
            ping,
            ..
        } = self;
        let mut behind_pong = None;
        read.follow(bytes, |frame, left| match frame.kind() {
            HEADERS => streams.begin(frame),
            CONTINUATION => streams.go_on(frame),
            DATA if frame.has(END_STREAM) => streams.ended(frame.stream()),
            RST_STREAM => streams.reset(frame.stream()),
            PING if frame.has(ACK) && Some(frame.payload) == *ping => behind_pong = Some(left),
            _ => {}
        });
        self.find_half();
        if let Some(behind) = behind_pong {
            let end = bytes.len() - behind;
            spoil_answer(&mut bytes[..end]);
        }
        behind_pong.is_some()
    }

    #[inline]
    fn find_half(&mut self) {
        self.half = !self.read.is_between_frames() && !self.is_in_body();
    }

    /// Whether what is half read is the body of an open stream.
    fn is_in_body(&self) -> bool {
        let frame = self.read.known();
        frame.is_some_and(|frame| frame.kind() == DATA && self.streams.is_open(frame.stream()))
    }

    /// Follows what has been sent to the client.
    pub(crate) fn written(&mut self, bytes: &[u8]) {
        let Frames {
            written,
            streams,
            goaway,
            ping,
            ..
        } = self;
        written.follow(bytes, |frame, _| match frame.kind() {
            DATA | HEADERS if frame.has(END_STREAM) => streams.answered(frame.stream()),
            RST_STREAM => streams.reset(frame.stream()),
            GOAWAY => {
                *goaway = true;
                streams.end_above(frame.number());
            }
            // h2 sends it right behind the first GOAWAY, and pings of its own keep-alive stop there.
            PING if *goaway && !frame.has(ACK) && ping.is_none() => *ping = Some(frame.payload),
            _ => {}
        });
        // It may have ended the stream.
        self.find_half();
    }

    /// What has been seen of the streams.
    #[inline]
    pub(crate) fn seen(&self) -> Seen {
        Seen {
            unanswered: self.streams.unanswered,
            uploads: self.streams.open.len() as u32 - self.streams.unanswered,
            in_head: self.streams.in_head_block || self.half,
        }
    }

    /// Answers the PING, if this is a place for it: the PING has been sent, no frame is half read, and no header block, within
    /// which nothing else may come (RFC 9113, section 6.10). Then the answer is [given](Frames::give) before anything else is
    /// read.
    pub(crate) fn answer(&mut self) -> bool {
        let is_place = self.read.is_between_frames() && !self.streams.in_head_block;
        let Some(ping) = self.ping.filter(|_| is_place) else {
            return false;
        };
        self.answer = [&[0, 0, PAYLOAD as u8, PING, ACK, 0, 0, 0, 0], &ping[..]].concat();
        true
    }

    /// Whether something is left of the answer.
    #[inline]
    pub(crate) fn is_answering(&self) -> bool {
        !self.answer.is_empty()
    }

    /// Gives what is left of the answer. `false` when there is nothing.
    pub(crate) fn give(&mut self, buf: &mut ReadBuf<'_>) -> bool {
        let giving = self.answer.len().min(buf.remaining());
        buf.put_slice(&self.answer[..giving]);
        self.answer.drain(..giving);
        giving > 0
    }
}

/// Changes the answer, with which `bytes` end, so that h2 does not know it: its type, or the end of what it carries if h2 has
/// the type already. h2 ignores an answer to a PING that it has not sent.
#[cold]
fn spoil_answer(bytes: &mut [u8]) {
    let last = bytes.len() - 1;
    match bytes.len().checked_sub(HEAD + PAYLOAD - TYPE) {
        Some(kind) => bytes[kind] = IGNORED,
        None => bytes[last] ^= u8::MAX,
    }
}

/// What has been seen of a connection's streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    /// How many have a whole head, and have not got the end of their response.
    pub(crate) unanswered: u32,
    /// How many have got it, and have not ended their request.
    pub(crate) uploads: u32,
    /// The client is in a header block, of a request's head or of its trailers, or in a frame that is not the body of an open
    /// stream.
    pub(crate) in_head: bool,
}

/// The streams that the client has opened.
#[derive(Default)]
struct Streams {
    /// Those of which one side has not ended. As many as the server allows at once, at most.
    open: Vec<Stream>,
    /// How many of them have not got the end of their response.
    unanswered: u32,
    highest: u32,
    /// The head of `highest` goes on in another frame; whether its request has no body.
    in_head: Option<bool>,
    in_head_block: bool,
    /// The second GOAWAY has been sent: a stream above this is none.
    last: Option<u32>,
}

struct Stream {
    id: u32,
    /// Its request has ended.
    ended: bool,
    /// Its response has been sent whole.
    answered: bool,
}

impl Streams {
    fn begin(&mut self, frame: &Frame) {
        let stream = frame.stream();
        let ended = frame.has(END_STREAM);
        if stream > self.highest {
            self.highest = stream;
            self.in_head = Some(ended);
        } else if ended {
            // Trailers.
            self.ended(stream);
        }
        self.go_on(frame);
    }

    fn go_on(&mut self, frame: &Frame) {
        self.in_head_block = !frame.has(END_HEADERS);
        if self.in_head_block {
            return;
        }
        if let Some(ended) = self.in_head.take() {
            if self.last.is_none_or(|last| self.highest <= last) {
                self.unanswered += 1;
                self.open.push(Stream {
                    id: self.highest,
                    ended,
                    answered: false,
                });
            }
        }
    }

    /// The client has ended its side of a stream.
    fn ended(&mut self, stream: u32) {
        if let Some(open) = self.find(stream) {
            open.ended = true;
            self.open.retain(|it| !(it.id == stream && it.answered));
        }
    }

    /// We have ended our side of a stream.
    fn answered(&mut self, stream: u32) {
        if let Some(open) = self.find(stream).filter(|open| !open.answered) {
            open.answered = true;
            self.unanswered -= 1;
            self.open.retain(|it| !(it.id == stream && it.ended));
        }
    }

    fn is_open(&self, stream: u32) -> bool {
        self.open.iter().any(|open| open.id == stream)
    }

    fn find(&mut self, stream: u32) -> Option<&mut Stream> {
        self.open.iter_mut().find(|open| open.id == stream)
    }

    fn reset(&mut self, stream: u32) {
        self.retain(|open| open.id != stream);
    }

    fn end_above(&mut self, last: u32) {
        self.last = Some(last);
        self.retain(|open| open.id <= last);
    }

    fn retain(&mut self, stays: impl Fn(&Stream) -> bool) {
        self.open.retain(stays);
        self.unanswered = self.open.iter().filter(|open| !open.answered).count() as u32;
    }
}

/// Where one direction is in its frames.
#[derive(Default)]
struct Border {
    frame: Frame,
    /// How much of the head is there.
    head: usize,
    /// How much of the payload is still to come.
    left: usize,
    /// How much of the payload is there, as far as it is kept.
    kept: usize,
}

#[derive(Clone, Copy, Default)]
struct Frame {
    head: [u8; HEAD],
    /// The first bytes of it, if they are [kept](Frame::keeps_payload).
    payload: [u8; PAYLOAD],
}

impl Frame {
    const fn kind(&self) -> u8 {
        self.head[TYPE]
    }

    const fn keeps_payload(&self) -> bool {
        matches!(self.kind(), PING | GOAWAY)
    }

    const fn has(&self, flag: u8) -> bool {
        self.head[4] & flag != 0
    }

    fn stream(&self) -> u32 {
        let [.., a, b, c, d] = self.head;
        u32::from_be_bytes([a, b, c, d]) & !RESERVED
    }

    /// The number at the begin of the payload: a GOAWAY's last stream.
    fn number(&self) -> u32 {
        let [a, b, c, d, ..] = self.payload;
        u32::from_be_bytes([a, b, c, d]) & !RESERVED
    }

    fn length(&self) -> usize {
        let [a, b, c, ..] = self.head;
        usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c)
    }
}

impl Border {
    const fn is_between_frames(&self) -> bool {
        self.head == 0
    }

    /// The frame that is half read, if its head is there.
    fn known(&self) -> Option<&Frame> {
        (self.head == HEAD).then_some(&self.frame)
    }

    /// Calls `seen` with each frame that is complete, and with how many bytes are behind it.
    fn follow(&mut self, mut bytes: &[u8], mut seen: impl FnMut(&Frame, usize)) {
        while !bytes.is_empty() {
            if self.head < HEAD {
                bytes = self.follow_head(bytes);
                if self.head < HEAD {
                    return;
                }
                self.left = self.frame.length();
                self.kept = 0;
            }
            let taken = bytes.len().min(self.left);
            if self.frame.keeps_payload() {
                self.keep(&bytes[..taken]);
            }
            self.left -= taken;
            bytes = &bytes[taken..];
            if self.left == 0 {
                seen(&self.frame, bytes.len());
                self.head = 0;
            }
        }
    }

    /// Returns what follows the head, or as much of it as is there.
    #[inline]
    fn follow_head<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        match bytes.split_first_chunk() {
            // Nearly always.
            Some((whole, rest)) if self.head == 0 => {
                self.frame.head = *whole;
                self.head = HEAD;
                rest
            }
            _ => {
                let (part, rest) = bytes.split_at(bytes.len().min(HEAD - self.head));
                self.frame.head[self.head..][..part.len()].copy_from_slice(part);
                self.head += part.len();
                rest
            }
        }
    }

    #[cold]
    fn keep(&mut self, payload: &[u8]) {
        let keep = payload.len().min(PAYLOAD - self.kept);
        self.frame.payload[self.kept..][..keep].copy_from_slice(&payload[..keep]);
        self.kept += keep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases;
    use proptest::prelude::*;

    /// GOAWAY(2^31-1), a DATA frame, PING.
    const LEAVING: &[u8] = b"\0\0\x08\x07\0\0\0\0\0\x7f\xff\xff\xff\0\0\0\0\
        \0\0\x0a\0\0\0\0\0\x010123456789\
        \0\0\x08\x06\0\0\0\0\0pingpong";
    const ANSWER: &[u8] = b"\0\0\x08\x06\x01\0\0\0\0pingpong";
    const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";

    fn read(frames: &mut Frames, bytes: &[u8]) -> bool {
        frames.read(&mut bytes.to_vec())
    }

    fn answered(frames: &mut Frames) -> Option<Vec<u8>> {
        if !frames.answer() {
            return None;
        }
        let mut answer = Vec::new();
        loop {
            let mut part = [0; 5];
            let mut buf = ReadBuf::new(&mut part);
            if !frames.give(&mut buf) {
                return Some(answer);
            }
            answer.extend_from_slice(buf.filled());
        }
    }

    #[test]
    fn ping_is_found_behind_the_goaway_however_the_bytes_are_cut() {
        for cut in 0..LEAVING.len() {
            let mut frames = Frames::default();

            frames.written(SETTINGS);
            frames.written(&LEAVING[..cut]);
            let early = answered(&mut frames);
            frames.written(&LEAVING[cut..]);

            assert_eq!(early, None, "cut at {cut}");
            assert_eq!(answered(&mut frames).unwrap(), ANSWER, "cut at {cut}");
        }
    }

    #[test]
    fn ping_before_the_goaway_is_another_one() {
        let mut frames = Frames::default();

        frames.written(b"\0\0\x08\x06\0\0\0\0\0keepalve");

        assert_eq!(answered(&mut frames), None);
    }

    #[test]
    fn nothing_is_answered_inside_a_frame() {
        let mut frames = Frames::default();
        frames.written(LEAVING);

        for byte in &SETTINGS[..8] {
            read(&mut frames, &[*byte]);
            assert_eq!(answered(&mut frames), None);
        }
        read(&mut frames, &SETTINGS[8..]);

        assert!(frames.answer());
    }

    #[test]
    fn clients_answer_is_taken_from_h2_however_the_bytes_are_cut() {
        for cut in 0..ANSWER.len() {
            let mut frames = Frames::default();
            frames.written(LEAVING);
            let (mut first, mut rest) = (ANSWER[..cut].to_vec(), ANSWER[cut..].to_vec());

            read(&mut frames, SETTINGS);
            let early = frames.read(&mut first);
            let taken = frames.read(&mut rest);

            assert_eq!((early, taken), (false, true), "cut at {cut}");
            let passed_on = [first, rest].concat();
            let ping_ack = (passed_on[TYPE], &passed_on[HEAD..]);
            assert_ne!(ping_ack, (PING, &ANSWER[HEAD..]), "cut at {cut}");
            assert_eq!(passed_on[..TYPE], ANSWER[..TYPE], "its length stays");
        }
    }

    #[test]
    fn half_a_frame_is_a_head_unless_it_is_the_body_of_an_open_stream() {
        let half = |frame: &[u8]| {
            let mut frames = Frames::default();
            read(&mut frames, &empty(HEADERS, END_HEADERS, 1));
            read(&mut frames, frame);
            frames.seen().in_head
        };
        let data = |stream| [&[0, 0, 9][..], &[DATA, 0, 0, 0, 0, stream, b'x']].concat();

        assert!(half(&[0, 0, 0]));
        assert!(half(&ANSWER[..12]));
        assert!(half(b"\0\0\x09\x01\x05\0\0\0\x03\x82"));
        assert!(!half(&data(1)));
        assert!(half(&data(3)));
        assert!(!half(SETTINGS));
    }

    #[test]
    fn half_a_body_is_a_head_when_its_stream_has_been_reset() {
        let mut frames = Frames::default();
        read(&mut frames, &empty(HEADERS, END_HEADERS, 1));
        read(&mut frames, b"\0\0\x09\0\0\0\0\0\x01half");
        let before = frames.seen().in_head;

        frames.written(&empty(DATA, END_STREAM, 1));
        frames.written(&empty(RST_STREAM, 0, 1));

        assert_eq!((before, frames.seen().in_head), (false, true));
    }

    #[test]
    fn clients_answer_is_ignored_where_it_stands_and_nothing_else_is_changed() {
        let mut frames = Frames::default();
        frames.written(LEAVING);
        let mut bytes = [&empty(HEADERS, END_HEADERS, 1)[..], ANSWER, SETTINGS].concat();

        let seen = frames.read(&mut bytes);

        let ignored = [&[0, 0, 8, IGNORED], &ANSWER[4..]].concat();
        let expected = [&empty(HEADERS, END_HEADERS, 1)[..], &ignored, SETTINGS].concat();
        assert_eq!((seen, bytes), (true, expected));
    }

    #[test]
    fn another_pings_answer_is_not_taken_for_it() {
        let mut frames = Frames::default();
        frames.written(LEAVING);

        let seen = read(&mut frames, b"\0\0\x08\x06\x01\0\0\0\0keepalve");

        assert!(!seen);
    }

    /// A frame without a payload.
    fn empty(kind: u8, flags: u8, stream: u8) -> [u8; HEAD] {
        [0, 0, 0, kind, flags, 0, 0, 0, stream]
    }

    #[test]
    fn stream_is_unanswered_from_the_end_of_its_head_to_the_end_of_its_response() {
        let mut frames = Frames::default();
        let mut seen = Vec::new();

        read(&mut frames, &empty(HEADERS, 0, 1));
        seen.push(frames.seen().unanswered);
        read(&mut frames, &empty(CONTINUATION, END_HEADERS, 1));
        read(&mut frames, &empty(HEADERS, END_HEADERS | END_STREAM, 3));
        seen.push(frames.seen().unanswered);
        frames.written(&empty(HEADERS, END_HEADERS, 1));
        frames.written(&empty(DATA, 0, 1));
        seen.push(frames.seen().unanswered);
        frames.written(&empty(DATA, END_STREAM, 1));
        // h2 asks a client that still uploads to stop.
        frames.written(&empty(RST_STREAM, 0, 1));
        // Trailers open nothing.
        read(&mut frames, &empty(HEADERS, END_HEADERS | END_STREAM, 1));
        seen.push(frames.seen().unanswered);
        read(&mut frames, &empty(RST_STREAM, 0, 3));
        seen.push(frames.seen().unanswered);

        assert_eq!(seen, [0, 2, 2, 1, 0]);
    }

    #[test]
    fn stream_above_the_last_goaway_is_none() {
        let mut frames = Frames::default();
        frames.written(LEAVING);

        read(&mut frames, &empty(HEADERS, END_HEADERS, 1));
        read(&mut frames, &empty(HEADERS, END_HEADERS, 3));
        let before = frames.seen().unanswered;
        frames.written(b"\0\0\x08\x07\0\0\0\0\0\0\0\0\x01\0\0\0\0");
        read(&mut frames, &empty(HEADERS, END_HEADERS, 5));

        assert_eq!((before, frames.seen().unanswered), (2, 1));
    }

    /// What the client sends (or is sent), in frames that may mean something, the last of them perhaps not whole.
    fn direction() -> impl Strategy<Value = Vec<u8>> {
        let frame = (0..11_u8, any::<u8>(), 0..9_u8, 0..20_u8).prop_flat_map(
            |(kind, flags, stream, length)| {
                prop::collection::vec(prop_oneof![Just(0), any::<u8>()], usize::from(length))
                    .prop_map(move |payload| {
                        let head = [0, 0, length, kind, flags, 0, 0, 0, stream];
                        [&head[..], &payload].concat()
                    })
            },
        );
        let frames = prop::collection::vec(frame, 0..8).prop_map(|frames| frames.concat());
        let torn = (frames, 0..9_usize).prop_map(|(mut bytes, short)| {
            bytes.truncate(bytes.len().saturating_sub(short));
            bytes
        });
        prop_oneof![4 => torn, 1 => prop::collection::vec(any::<u8>(), 0..40)]
    }

    /// Everything that can be seen of a connection after these bytes.
    fn seen(turns: &[(bool, Vec<u8>)], places: &[usize]) -> (bool, Seen, Option<Vec<u8>>) {
        let mut frames = Frames::default();
        let mut pong = false;
        for (is_read, bytes) in turns {
            for part in cases::cut(bytes, places) {
                if *is_read {
                    pong |= read(&mut frames, part);
                } else {
                    frames.written(part);
                }
            }
        }
        let seen = frames.seen();
        (pong, seen, answered(&mut frames))
    }

    #[test]
    fn any_bytes_mean_the_same_however_they_are_cut() {
        let turns = prop::collection::vec((any::<bool>(), direction()), 0..6);
        // So that there is a PING to be answered now and then.
        let turns = (any::<bool>(), turns).prop_map(|(leaving, mut turns)| {
            if leaving {
                turns.insert(turns.len() / 2, (false, LEAVING.to_vec()));
                turns.push((true, ANSWER.to_vec()));
            }
            turns
        });
        let places = prop::collection::vec(any::<usize>(), 0..6);
        cases::check(300, (turns, places), |(turns, places)| {
            let bytewise = [1; 4096];

            let whole = seen(&turns, &[]);

            assert_eq!(seen(&turns, &places), whole);
            assert_eq!(seen(&turns, &bytewise), whole);
        });
    }
}
