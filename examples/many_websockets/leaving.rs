//! One run: clients come, the server is told to leave, and what they saw of it.

use std::time::{Duration, Instant, SystemTime};

use tokio::time::timeout;

use crate::app::SERVICE_RESTART;
use crate::args::Args;
use crate::clients::{self, End};
use crate::process::{Ended, Process, time};
use crate::server::{Buffers, Column, GRACE, Settings};

/// In so many parts the window is looked at,
const PARTS: usize = 20;
/// or in fewer, so that chance alone does not make a peak: each is to see so many.
const LEAST_IN_A_PART: usize = 100;
/// How many times its share a part may see.
const HIGHEST_PEAK: f64 = 1.5;
/// How many counts must have come while some were gone and some were not, or they have proved nothing.
const LEAST_COUNTS: usize = 20;

/// What was seen of one server that left.
pub(crate) struct Leaving {
    pub(crate) spread: Duration,
    pub(crate) opened_in: Duration,
    /// When the window began.
    pub(crate) window: SystemTime,
    /// In the order in which they saw it.
    pub(crate) ends: Vec<End>,
    /// What the handle counted, and when.
    pub(crate) counts: Vec<Count>,
    /// What the report says: told, and cut.
    pub(crate) long: (usize, usize),
    pub(crate) ended: Ended,
}

/// How many connections the handle counted, beside how many the clients held then.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Count {
    pub(crate) at: SystemTime,
    pub(crate) counted: usize,
    pub(crate) held: usize,
}

pub(crate) async fn play(args: &Args) -> Result<Leaving, String> {
    let server = Process::start(Settings {
        column: Column::Lameduck,
        buffers: Buffers::Small,
        spread: match args.at_once {
            true => Duration::ZERO,
            false => args.spread,
        },
    })
    .await?;
    let started = Instant::now();
    let sockets = clients::open(server.address, args.connections).await?;
    let opened_in = started.elapsed();
    let staying = clients::stay(sockets);

    let ended = server.terminate().await?;
    // The process is gone, and so are its connections.
    let ends = timeout(GRACE, staying.join_all()).await;
    let mut ends = ends.map_err(|_| "clients stay, and their server is gone")?;
    ends.sort_by_key(|end| end.at);
    Ok(Leaving {
        spread: args.spread,
        opened_in,
        window: window(&ended).ok_or("the server did not say when the window began")?,
        counts: counts(&ended, &ends),
        long: long(&ended).unwrap_or_default(),
        ends,
        ended,
    })
}

fn window(ended: &Ended) -> Option<SystemTime> {
    ended.said("window").find_map(|words| time(words.first()?))
}

fn long(ended: &Ended) -> Option<(usize, usize)> {
    ended.said("long").find_map(|words| match words[..] {
        [told, cut] => Some((told.parse().ok()?, cut.parse().ok()?)),
        _ => None,
    })
}

/// `ends` are in order.
fn counts(ended: &Ended, ends: &[End]) -> Vec<Count> {
    let count = |words: Vec<&str>| {
        let [at, counted] = words[..] else {
            return None;
        };
        let at = time(at)?;
        Some(Count {
            at,
            counted: counted.parse().ok()?,
            held: ends.len() - ends.partition_point(|end| end.at <= at),
        })
    };
    ended.said("counted").filter_map(count).collect()
}

impl Leaving {
    /// How many saw the close frame that they should see.
    pub(crate) fn told(&self) -> usize {
        self.how_many(|end| end.code == Some(SERVICE_RESTART))
    }

    fn how_many(&self, of: impl Fn(&End) -> bool) -> usize {
        self.ends.iter().filter(|end| of(end)).count()
    }

    fn in_window(&self) -> usize {
        (self.ends.len() / LEAST_IN_A_PART).clamp(1, PARTS)
    }

    /// How long a part of the window is.
    pub(crate) fn part(&self) -> Duration {
        self.spread / self.in_window() as u32
    }

    /// How many saw the end in each part of the window, and after it.
    pub(crate) fn parts(&self) -> Vec<usize> {
        let mut parts = vec![0; self.in_window()];
        for end in &self.ends {
            let part = self.part_of(end.at);
            if part >= parts.len() {
                parts.resize(part + 1, 0);
            }
            parts[part] += 1;
        }
        parts
    }

    /// What comes before the window belongs to its first part, and makes a peak there.
    pub(crate) fn part_of(&self, at: SystemTime) -> usize {
        let since = at.duration_since(self.window).unwrap_or_default();
        (since.as_nanos() / self.part().as_nanos()) as usize
    }

    /// The part that saw most, as a multiple of the mean over the window.
    pub(crate) fn peak(&self) -> f64 {
        let mean = self.ends.len() as f64 / self.in_window() as f64;
        let most = self.parts().into_iter().max().unwrap_or_default();
        most as f64 / mean
    }

    /// When the last one saw it, from the begin of the window.
    pub(crate) fn last(&self) -> Duration {
        let last = self.ends.last().map(|end| end.at);
        last.and_then(|at| at.duration_since(self.window).ok())
            .unwrap_or_default()
    }

    pub(crate) fn counted_too_few(&self) -> usize {
        let few = |count: &&Count| count.counted < count.held;
        self.counts.iter().filter(few).count()
    }

    /// How many counts came while they were leaving.
    pub(crate) fn counted_meanwhile(&self) -> usize {
        let meanwhile = |count: &&Count| (1..self.ends.len()).contains(&count.held);
        self.counts.iter().filter(meanwhile).count()
    }

    /// What the run had to show and did not; empty when all is well.
    pub(crate) fn failures(&self) -> Vec<String> {
        let clients = self.ends.len();
        let reset = self.how_many(|end| !end.whole);
        let (peak, meanwhile) = (self.peak(), self.counted_meanwhile());
        let Ended { killed, code, .. } = self.ended;
        [
            (self.told() < clients).then(|| {
                let others = clients - self.told();
                format!("{others} of {clients} clients were not told with {SERVICE_RESTART}")
            }),
            (reset > 0).then(|| format!("{reset} connections did not end whole")),
            (peak > HIGHEST_PEAK)
                .then(|| format!("a part of the window saw {peak:.2} times its share")),
            (self.counted_too_few() > 0).then(|| {
                let few = self.counted_too_few();
                format!("the handle counted fewer than the clients held, {few} times")
            }),
            (meanwhile < LEAST_COUNTS).then(|| {
                format!("only {meanwhile} counts came while the clients left, which proves nothing")
            }),
            (self.long != (clients, 0)).then(|| {
                let (told, cut) = self.long;
                format!("the report says {told} told and {cut} cut")
            }),
            killed.then(|| "the server was killed".to_owned()),
            (code != Some(0) && !killed).then(|| format!("the server left with {code:?}")),
        ]
        .into_iter()
        .flatten()
        .collect()
    }
}
