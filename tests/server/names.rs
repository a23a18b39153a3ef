//! Names that clients choose: they are short and plain in the report and in the log.

use lameduck::report::Kind;
use lameduck::{Phase, Plan, Report};
use tokio::io::DuplexStream;

use crate::frames::*;
use crate::logged;
use crate::pipes::*;
use crate::support::*;

/// A name, the peer beside it, and how long it has been there.
const LONGEST: usize = 200 + 60;

/// The overrides and marks of direction (UAX #9), and the other sequences of control characters that terminals know.
fn is_odd(it: char) -> bool {
    matches!(
        it,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    ) || it.is_control()
}

/// As many as are named, and more, with requests that hang.
async fn hanging(door: &Door, gate: &Gate, request: &str) -> Vec<Client<DuplexStream>> {
    let mut clients = Vec::new();
    for _ in 0..25 {
        let mut client = door.connect();
        client.send(request).await;
        gate.entered().await;
        clients.push(client);
    }
    clients
}

fn names(report: &Report) -> Vec<&str> {
    let phases = [Phase::Drain, Phase::Close].map(|phase| report.phase(phase).unwrap());
    let left = phases.iter().flat_map(|phase| &phase.left_behind);
    left.map(|left| &*left.name).collect()
}

#[tokio::test(start_paused = true)]
async fn long_paths_are_cut_in_the_report_and_in_the_log() {
    logged::capture();
    let gate = Gate::new();
    let (shutdown, handle) = exact(Plan::immediate());
    let (door, listener) = pipes();
    lameduck::serve(listener, gated(&gate), &handle);
    let path = "a".repeat(60_000);
    let request = format!("GET /upload/{path} HTTP/1.1\r\nHost: test\r\n\r\n");
    let _clients = hanging(&door, &gate, &request).await;

    let report = soon(begin(shutdown)).await.unwrap();
    let log = logged::lines();

    let names = names(&report);
    assert_eq!(names.len(), 40);
    for name in names {
        assert!(name.contains("GET /upload/aaa"), "{name}");
        assert!(name.chars().count() <= LONGEST, "{}", name.len());
    }
    let size: usize = log.iter().map(String::len).sum();
    assert!(size < 30_000, "{size} bytes of log");
}

#[tokio::test(start_paused = true)]
async fn methods_are_cut_as_well() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(Plan::immediate());
    let (door, listener) = pipes();
    lameduck::serve(listener, gated(&gate), &handle);
    let request = format!("{} / HTTP/1.1\r\nHost: test\r\n\r\n", "M".repeat(10_000));
    let _clients = hanging(&door, &gate, &request).await;

    let report = soon(begin(shutdown)).await.unwrap();

    for name in names(&report) {
        assert!(name.contains("MMM"), "{name}");
        assert!(name.chars().count() <= LONGEST, "{}", name.len());
    }
}

// Right-to-left overrides and isolates, marks, and a C1 control that begins a terminal's sequence.
#[tokio::test(start_paused = true)]
async fn characters_that_turn_text_or_move_a_cursor_are_replaced() {
    logged::capture();
    let gate = Gate::new();
    let (shutdown, handle) = exact(Plan::immediate());
    let (door, listener) = pipes();
    lameduck::serve(listener, gated(&gate), &handle);
    let odd = "\u{202e}a\u{202a}b\u{2066}c\u{2069}d\u{200e}e\u{200f}f\u{61c}g\u{9b}2J";
    let request = format!("GET /{odd} HTTP/1.1\r\nHost: test\r\n\r\n");
    let _clients = hanging(&door, &gate, &request).await;

    let report = soon(begin(shutdown)).await.unwrap();
    let log = logged::lines();

    for name in names(&report) {
        assert!(!name.contains(is_odd), "{name:?}");
        assert!(name.contains("GET /"), "{name:?}");
    }
    for line in log
        .iter()
        .map(String::as_str)
        .chain(report.to_string().lines())
    {
        assert!(!line.contains(is_odd), "{line:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn over_http2_long_paths_are_cut_as_well() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(Plan::immediate());
    let (door, listener) = pipes();
    lameduck::serve(listener, gated(&gate), &handle);
    let mut client = door.http2().await;
    // `GET http://test/` with a path of 240 bytes in HPACK, whose length takes two bytes.
    let path = [b"/".to_vec(), vec![b'a'; 239]].concat();
    let block = [b"\x82\x86\x04\x7f\x71", &*path, b"\x41\x04test"].concat();
    client.0.send(frame(HEADERS, 5, 1, &block)).await;
    gate.entered().await;

    let report = soon(begin(shutdown)).await.unwrap();

    let close = report.phase(Phase::Close).unwrap();
    assert_eq!(close.left_behind[0].kind, Kind::Connection);
    for name in names(&report) {
        assert!(name.contains("GET /aaa"), "{name}");
        assert!(!name.contains(&"a".repeat(200)), "{name}");
    }
}
