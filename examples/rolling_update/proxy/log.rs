//! What a proxy's log says of the losses: which replica each went to, and whether that was the replica's fault at all.
//!
//! Both write a line for each request when it is over: the attempt, the replica, how long connecting took, and the status.
//! A loss without a line tells as much:
//!
//! - nginx that is loaded anew ends its old workers, and they close their clients' idle connections at once, without a word.
//!   A request that is on its way there is never read.
//! - HAProxy says nothing when a replica has ended a connection under a request that was not its client's first. It closes the
//!   client's as well, and expects the client to send the request again. So that is the replica's, whichever it was.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use super::{Front, Kind};
use crate::tally::{Counts, Loss, Outcome};

/// nginx gives its new workers 100 ms before it ends the old ones; the rest is for a machine that is busy.
const RELOADING: Duration = Duration::from_millis(500);

/// Goes through the losses with the proxy's log. `reloads` are the times at which it was loaded anew.
pub(super) fn account(
    log: &str,
    kind: Kind,
    front: &Front,
    reloads: &[SystemTime],
    counts: &mut Counts,
) {
    let lines: BTreeMap<u64, &str> = log
        .lines()
        .filter_map(|line| Some((line.split_once(' ')?.0.parse().ok()?, line)))
        .collect();
    let mut losses = std::mem::take(&mut counts.losses);
    for loss in &mut losses {
        let Some(attempt) = loss.attempt else {
            continue;
        };
        let (before, sent) = (loss.outcome, loss.connected);
        match lines.get(&attempt) {
            Some(line) => with_line(loss, line, kind, front),
            None => without_line(loss, kind, reloads),
        }
        counts.move_one(before, loss.outcome);
        if let (Some(endpoint), Some(sent)) = (&loss.endpoint, sent) {
            counts.sent_to(endpoint, sent);
        }
    }
    counts.losses = losses;
}

fn with_line(loss: &mut Loss, line: &str, kind: Kind, front: &Front) {
    loss.what = format!("{}; {}: {line}", loss.what, kind.name());
    let mut words = line.split(' ').skip(1);
    let (replica, connecting, status) = (words.next(), words.next(), words.next());
    loss.endpoint = replica.and_then(|replica| front.find(replica));
    loss.by_proxy = loss.endpoint.is_none();
    // How they say that a connection could not be made.
    if matches!(connecting, Some("-" | "-1")) {
        loss.outcome = Outcome::Refused;
        loss.connected = None;
    } else if loss.outcome == Outcome::Other && status == Some("502") {
        loss.outcome = Outcome::Reset;
    }
}

fn without_line(loss: &mut Loss, kind: Kind, reloads: &[SystemTime]) {
    let mut since = reloads
        .iter()
        .filter_map(|reload| loss.ended.duration_since(*reload).ok());
    let what = match (kind, since.next_back()) {
        (Kind::Nginx, Some(since)) => {
            loss.by_proxy = since <= RELOADING;
            let since = since.as_millis();
            format!("nginx never read it, {since} ms after it was loaded anew")
        }
        (Kind::Nginx, None) => "nginx never read it".to_owned(),
        (Kind::Haproxy, _) => "haproxy says nothing: a replica ended the connection".to_owned(),
    };
    loss.what = format!("{}; {what}", loss.what);
}
