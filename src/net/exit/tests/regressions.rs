//! Sequences that once broke a rule. A failing run prints the line to add.

use super::drawn::Kind::{Http1, Http2};
use super::drawn::Pace::{Never, Slowly};
use super::drawn::Step::*;
use super::drawn::{Aging, Setup, Step};

#[rustfmt::skip]
pub(super) const SEQUENCES: &[(Setup, &[Step])] = &[
    // Close was taken back, and the next shutdown had it already.
    (Setup { kind: Http1, handshake: true, goaway: true, tells: true, half_close: false, discards: 0, age: None }, &[Close { quarters: 1 }, Turn, TakeBack, Leave { moment: 3000, linger: 100 }]),
    // It kept the end of an unused one.
    (Setup { kind: Http2, handshake: false, goaway: false, tells: false, half_close: false, discards: 0, age: None }, &[Head { body: false }, Close { quarters: 0 }]),
    // A request put the bound of PONG off.
    (Setup { kind: Http2, handshake: false, goaway: true, tells: true, half_close: false, discards: 0, age: None }, &[Head { body: true }, Leave { moment: 1000, linger: 2000 }, Wait(1500), Begins, Head { body: false }, Wait(9999)]),
    // A request put the bound of half a header block off.
    (Setup { kind: Http2, handshake: false, goaway: true, tells: true, half_close: true, discards: 0, age: None }, &[Leave { moment: 1000, linger: 5000 }, Head { body: true }, Half, Wait(2000), Settle, Begins, Wait(2001), Settle]),
    // Half a header block was waited for too long, then it was whole.
    (Setup { kind: Http2, handshake: false, goaway: true, tells: false, half_close: false, discards: 0, age: None }, &[Head { body: true }, Leave { moment: 500, linger: 2000 }, Wait(10001), Begins, Half, Wait(30000), Answers { bytes: 100, keeps: true }, Head { body: false }]),
    // And it ended a tunnel.
    (Setup { kind: Http2, handshake: false, goaway: true, tells: true, half_close: false, discards: 0, age: None }, &[Head { body: false }, Half, Close { quarters: 2 }, Wait(10000), Begins, Switches]),
    // The driver's own looks counted as the client's activity.
    (Setup { kind: Http1, handshake: false, goaway: false, tells: true, half_close: false, discards: 0, age: None }, &[Head { body: true }, Settle, Answers { bytes: 400, keeps: false }, Wait(500), Leave { moment: 3000, linger: 1000 }, Wait(999), Settle]),
    // Something was read, and the look before that counted.
    (Setup { kind: Http1, handshake: true, goaway: true, tells: false, half_close: false, discards: 0, age: None }, &[Shakes, Wait(60000), Half, Close { quarters: 4 }]),
    // A shutdown was taken back, and a look in it counted.
    (Setup { kind: Http1, handshake: false, goaway: true, tells: true, half_close: false, discards: 0, age: None }, &[Wait(1001), Close { quarters: 0 }, Turn, Head { body: true }, TakeBack, Wait(5), BodyEnd, Answers { bytes: 400, keeps: true }]),
    // And what was given up by its bound stayed so.
    (Setup { kind: Http1, handshake: false, goaway: false, tells: true, half_close: false, discards: 0, age: None }, &[Leave { moment: 1000, linger: 2000 }, Wait(1001), Wait(999), Turn, TakeBack]),
    // PING left when its bound had passed, and nobody looked for its answer.
    (Setup { kind: Http2, handshake: false, goaway: true, tells: true, half_close: true, discards: 0, age: None }, &[Head { body: false }, Close { quarters: 3 }, Reads(Never), Settle, Begins, Answers { bytes: 3000, keeps: false }, Wait(5000), Reads(Slowly), Wait(100), Settle]),
    // Something was read between the look and the driver's poll, and nobody looked again.
    (Setup { kind: Http2, handshake: false, goaway: true, tells: false, half_close: false, discards: 0, age: None }, &[Head { body: false }, Leave { moment: 3000, linger: 1000 }, Half, Wait(30000), Begins, Answers { bytes: 400, keeps: false }, Half, Turn]),
    // An age was over, the connection was to end at once, and nobody polled it again.
    (Setup { kind: Http1, handshake: false, goaway: true, tells: true, half_close: false, discards: 0, age: Some(Aging { at: 5000, linger: 1000, kept: 0, grace: Some(1) }) }, &[Wait(60000)]),
];
