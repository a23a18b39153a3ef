//! What our IO answers in the client's place never comes between the frames of a header block (RFC 9113, section 6.10).

use axum::Router;
use axum::body::Body;
use http_body_util::BodyExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::sleep;

use crate::frames::*;
use crate::pipes::*;
use crate::support::*;

/// `GET http://test/`, in HPACK.
const GET_BLOCK: &[u8] = b"\x82\x86\x84\x41\x04test";
/// `POST http://test/`.
const POST_BLOCK: &[u8] = b"\x83\x86\x84\x41\x04test";
/// `a: b`.
const TRAILERS: &[u8] = b"\0\x01a\x01b";

const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CONTINUATION: u8 = 9;

/// A header block that ends its stream, in frames of these parts of it.
fn block(stream: u8, parts: &[&[u8]]) -> Vec<Vec<u8>> {
    let last = parts.len() - 1;
    let frames = parts.iter().enumerate().map(|(index, part)| {
        let (kind, mut flags) = match index {
            0 => (HEADERS, END_STREAM),
            _ => (CONTINUATION, 0),
        };
        if index == last {
            flags |= END_HEADERS;
        }
        frame(kind, flags, stream, part)
    });
    frames.collect()
}

/// Sends each part, and keeps silent for longer than a PONG is waited for after all but the last.
async fn send_slowly<S>(client: &mut Raw<S>, parts: &[Vec<u8>])
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let (last, first) = parts.split_last().unwrap();
    for part in first {
        if client.0.try_send(part).await.is_err() {
            return;
        }
        sleep(millis(1_500)).await;
    }
    // If the connection has been ended over it, that is what the responses will say.
    let _ = client.0.try_send(last).await;
}

/// The streams that were answered whole, and what with.
async fn answers<S>(client: &mut Raw<S>) -> Vec<(u32, Vec<u8>)>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let rest = client.0.end().await.unwrap();
    let mut answers: Vec<_> = frames(&rest)
        .into_iter()
        .filter(|frame| frame.kind == DATA)
        .map(|frame| (frame.stream, frame.payload))
        .collect();
    answers.sort();
    answers
}

fn both() -> Vec<(u32, Vec<u8>)> {
    vec![(1, b"hello".to_vec()), (3, b"hello".to_vec())]
}

#[tokio::test(start_paused = true)]
async fn a_head_in_several_frames_is_served_when_pong_is_overdue_in_the_middle() {
    let cuts: [&[usize]; 5] = [&[0], &[3], &[8], &[3, 5], &[0, 0, 9]];
    for cuts in cuts {
        let gate = Gate::new();
        let (shutdown, handle) = exact(cluster());
        let (door, listener) = pipes();
        lameduck::serve(listener, gated(&gate), &handle);
        let mut client = door.http2().await;
        client.0.send(GET).await;
        gate.entered().await;

        let run = begin(shutdown);
        client.frame_of(PING).await;
        send_slowly(&mut client, &block(3, &cut(GET_BLOCK, cuts))).await;
        settle().await;
        gate.open();
        gate.open();
        let answers = answers(&mut client).await;

        assert_eq!(answers, both(), "cut at {cuts:?}");
        drop(client);
        let report = soon(run).await.unwrap();
        assert!(report.is_clean());
        assert_eq!(report.connections.cut, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_head_in_several_frames_is_served_when_pong_is_overdue_in_the_middle_over_tcp() {
    let gate = Gate::new();
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(gated(&gate), &handle).await;
    let mut client = Raw::connect(address).await;
    client.0.send(GET).await;
    gate.entered().await;

    let run = begin(shutdown);
    client.frame_of(PING).await;
    send_slowly(&mut client, &block(3, &cut(GET_BLOCK, &[3]))).await;
    settle().await;
    gate.open();
    gate.open();
    let answers = answers(&mut client).await;

    assert_eq!(answers, both());
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

// A frame of the block is itself in two pieces: neither place will do.
#[tokio::test(start_paused = true)]
async fn a_head_whose_continuation_is_half_sent_is_served_when_pong_is_overdue() {
    let gate = Gate::new();
    let (shutdown, handle) = exact(cluster());
    let (door, listener) = pipes();
    lameduck::serve(listener, gated(&gate), &handle);
    let mut client = door.http2().await;
    client.0.send(GET).await;
    gate.entered().await;

    let run = begin(shutdown);
    client.frame_of(PING).await;
    let whole = block(3, &cut(GET_BLOCK, &[3])).concat();
    let (first, rest) = whole.split_at(9 + 3 + 4);
    send_slowly(&mut client, &[first.to_vec(), rest.to_vec()]).await;
    settle().await;
    gate.open();
    gate.open();
    let answers = answers(&mut client).await;

    assert_eq!(answers, both());
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

/// Answers with how much came, and which trailers.
fn reading() -> Router {
    Router::new().fallback(async |body: Body| match body.collect().await {
        Ok(all) => {
            let trailers = all.trailers().map_or(0, |trailers| trailers.len());
            let length = all.to_bytes().len();
            format!("{length} bytes, {trailers} trailers")
        }
        Err(error) => error.to_string(),
    })
}

/// A head and a body that trailers are to follow. In one write: the kernel would hold a second one back until the first is
/// acknowledged, and what follows would be late.
fn upload() -> Vec<u8> {
    let head = frame(HEADERS, END_HEADERS, 1, POST_BLOCK);
    [head, frame(DATA, 0, 1, b"hi")].concat()
}

#[tokio::test(start_paused = true)]
async fn trailers_in_several_frames_are_read_when_pong_is_overdue_in_the_middle() {
    let cuts: [&[usize]; 3] = [&[0], &[2], &[1, 4]];
    for cuts in cuts {
        let (shutdown, handle) = exact(cluster());
        let (door, listener) = pipes();
        lameduck::serve(listener, reading(), &handle);
        let mut client = door.http2().await;
        client.0.send(upload()).await;
        settle().await;

        let run = begin(shutdown);
        client.frame_of(PING).await;
        send_slowly(&mut client, &block(1, &cut(TRAILERS, cuts))).await;
        let answers = answers(&mut client).await;

        let expected = vec![(1, b"2 bytes, 1 trailers".to_vec())];
        assert_eq!(answers, expected, "cut at {cuts:?}");
        drop(client);
        assert!(soon(run).await.unwrap().is_clean());
    }
}

#[tokio::test(start_paused = true)]
async fn trailers_in_several_frames_are_read_when_pong_is_overdue_in_the_middle_over_tcp() {
    let (shutdown, handle) = coordinator(cluster());
    let (address, _) = start(reading(), &handle).await;
    let mut client = Raw::connect(address).await;
    client.0.send(upload()).await;
    settle().await;

    let run = begin(shutdown);
    client.frame_of(PING).await;
    send_slowly(&mut client, &block(1, &cut(TRAILERS, &[2]))).await;
    let answers = answers(&mut client).await;

    assert_eq!(answers, vec![(1, b"2 bytes, 1 trailers".to_vec())]);
    drop(client);
    assert!(soon(run).await.unwrap().is_clean());
}

/// A header block, cut at these places.
fn cut<'a>(block: &'a [u8], places: &[usize]) -> Vec<&'a [u8]> {
    let mut parts = Vec::new();
    let mut from = 0;
    for &place in places {
        parts.push(&block[from..place]);
        from = place;
    }
    parts.push(&block[from..]);
    parts
}
