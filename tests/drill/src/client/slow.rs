//! Clients that the signal catches in the middle of what they do.

use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use tokio::time::{sleep, sleep_until, timeout};

use super::answer;
use super::http1::{expect, get, headers, send};
use super::wire::Wire;
use super::{Field, Ready, Route, hung};
use crate::attempt::{Begun, Fate, Lost, Way};

/// What they send reaches the server's handler meanwhile.
const ARRIVAL: Duration = Duration::from_millis(30);
/// They go on so long after the signal, at most; less if the grace period is short.
const LATEST: Duration = Duration::from_secs(1);
pub(crate) const BODY: usize = 64 * 1024;
/// A slow reader's kernel takes no more than two of these ahead of it. A window that is less than a segment, which has 64 KiB on
/// loopback, would make the server's kernel wait.
const WINDOW: u32 = 256 * 1024;
/// A slow reader is through so long after it began, at most.
const READING: Duration = Duration::from_secs(3);

/// Half a head before the signal, and the rest some time behind it.
pub(crate) async fn half_head(field: Arc<Field>, random: Rng, ready: Ready) {
    let begun = field.log.begin(Way::HalfHead);
    let route = field.routes.plain.clone();
    let request = get(&field, &route.target, begun.number).into_bytes();
    let half = request.len() / 2;
    let begin = Beginning {
        before: request[..half].to_vec(),
        behind: request[half..].to_vec(),
        begun_by_then: false,
    };
    finish(field, begun, &route, begin, random, ready).await;
}

/// A head and half of its body before the signal, and the rest some time behind it.
pub(crate) async fn half_body(field: Arc<Field>, random: Rng, ready: Ready) {
    let Some(route) = field.routes.upload.clone() else {
        return;
    };
    let begun = field.log.begin(Way::HalfBody);
    let mut before = post(&field, &route.target, begun.number, BODY).into_bytes();
    before.resize(before.len() + BODY / 2, b'u');
    let begin = Beginning {
        before,
        behind: vec![b'u'; BODY - BODY / 2],
        begun_by_then: true,
    };
    finish(field, begun, &route, begin, random, ready).await;
}

pub(crate) fn post(field: &Field, target: &str, number: u64, length: usize) -> String {
    format!(
        "POST {target} HTTP/1.1\r\n{}content-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n",
        headers(field, number)
    )
}

/// A request in two parts.
struct Beginning {
    before: Vec<u8>,
    behind: Vec<u8>,
    /// A handler can have been entered with the first part.
    begun_by_then: bool,
}

async fn finish(
    field: Arc<Field>,
    begun: Begun,
    route: &Route,
    begin: Beginning,
    random: Rng,
    ready: Ready,
) {
    let opened = field.connect().await;
    let end = match opened {
        Err(lost) => Err(lost),
        Ok(mut wire) => {
            send(&mut wire, &begin.before).await;
            sleep(ARRIVAL).await;
            drop(ready);
            wait(&field, random).await;
            let rest = rest(&mut wire, &begin, route);
            let rest = timeout(field.patience, rest).await;
            rest.unwrap_or_else(|_| Err(hung()))
        }
    };
    field.log.end(begun, end);
}

async fn wait(field: &Field, mut random: Rng) {
    let latest = LATEST.min(field.grace / 4);
    let after = latest.mul_f64(random.f64());
    let t0 = field.cluster.t0().await;
    sleep_until(t0 + after).await;
}

async fn rest(wire: &mut Wire, begin: &Beginning, route: &Route) -> Result<(), Lost> {
    if !begin.begun_by_then && !wire.looks_open() {
        let why = "closed in the middle of the head".to_owned();
        return Err((Fate::Repeatable, why));
    }
    send(wire, &begin.behind).await;
    let answer = answer::read(wire, Duration::ZERO).await?;
    expect(route, answer)
}

/// Reads a large answer so slowly that the signal comes in the middle of it.
pub(crate) async fn reader(field: Arc<Field>, ready: Ready) {
    let Some(route) = field.routes.download.clone() else {
        return;
    };
    let begun = field.log.begin(Way::SlowReader);
    let sips = route.length as f64 / answer::SIP as f64;
    let pause = READING.min(field.grace / 3).div_f64(sips.max(1.0));
    let end = match field.connect_with(false, Some(WINDOW)).await {
        Err(lost) => Err(lost),
        Ok(mut wire) => {
            let request = get(&field, &route.target, begun.number);
            send(&mut wire, request.as_bytes()).await;
            drop(ready);
            // It has its own pace: a client that reads is not hung.
            let answer = timeout(field.patience + field.grace, answer::read(&mut wire, pause));
            let answer = answer.await.unwrap_or_else(|_| Err(hung()));
            answer.and_then(|answer| expect(&route, answer))
        }
    };
    field.log.end(begun, end);
}
