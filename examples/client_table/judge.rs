//! What became of each client, and whether that is right.

use std::fmt;
use std::time::Duration;

use crate::column::Column;
use crate::moment::Moment;
use crate::process::Ended;
use crate::protocol::Protocol;
use crate::scene::Played;
use crate::shape::{Cast, Shape};
use crate::story::{Asked, Behind, Demand, End, Response, Story};
use crate::wire::BUFFERED;

/// What became of a request, or of a client: the worst of its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// Every byte arrived, and the connection's end was in order.
    Whole,
    /// No handler was called, and the connection ended.
    Unbegun,
    /// Cut, and the report names it.
    Named,
    /// The client gave it up, and the server left.
    GivenUp,
    /// The moment came before the client's action, or after it: this shows nothing.
    Missed,
    /// Every byte arrived, but the last of them when the process was gone. A pod's network may be gone by then, too.
    Orphaned,
    /// It was whole, and then the connection was torn off.
    Reset,
    /// The connection ended unannounced while everything had to be served.
    Early,
    Refused,
    Hung,
    /// The process outlived its grace period.
    Late,
    /// A handler was called, not all of it arrived, and nobody says so.
    Lost,
}

/// What became of one client.
#[derive(Clone, Debug)]
pub(crate) struct Judged {
    pub(crate) column: Column,
    pub(crate) protocol: Protocol,
    pub(crate) moment: Moment,
    pub(crate) shape: Shape,
    pub(crate) verdict: Verdict,
    pub(crate) is_right: bool,
    /// What was seen, of the request that decided it.
    pub(crate) why: String,
}

impl Verdict {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Verdict::Whole => "whole",
            Verdict::Unbegun => "unbegun",
            Verdict::Named => "named",
            Verdict::GivenUp => "given up",
            Verdict::Missed => "missed",
            Verdict::Orphaned => "orphaned",
            Verdict::Reset => "reset",
            Verdict::Early => "early",
            Verdict::Refused => "refused",
            Verdict::Hung => "hung",
            Verdict::Late => "late",
            Verdict::Lost => "lost",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Judges every client of a scene.
pub(crate) fn judge(played: &Played) -> Vec<Judged> {
    let judged = played.stories.iter().map(|(shape, story)| {
        let (verdict, is_right, why) = of_client(played, *shape, story);
        Judged {
            column: played.scene.column,
            protocol: played.scene.protocol,
            moment: played.scene.moment,
            shape: *shape,
            verdict,
            is_right,
            why,
        }
    });
    judged.collect()
}

/// How a server left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Exit {
    pub(crate) column: Column,
    pub(crate) protocol: Protocol,
    pub(crate) moment: Moment,
    pub(crate) cast: Cast,
    /// From SIGTERM. `None` if it was killed.
    pub(crate) took: Option<Duration>,
}

pub(crate) fn exit(played: &Played) -> Exit {
    let ended = &played.ended;
    Exit {
        column: played.scene.column,
        protocol: played.scene.protocol,
        moment: played.scene.moment,
        cast: played.scene.cast,
        took: ended.killed.is_none().then_some(ended.took),
    }
}

/// What is wrong with the process as a whole, if it is lameduck's.
pub(crate) fn failures(played: &Played) -> Vec<String> {
    const CLEAN: i32 = 0;
    const UNCLEAN: i32 = 3;
    let ended = &played.ended;
    if played.scene.column != Column::Lameduck {
        return Vec::new();
    }
    let mut failures = Vec::new();
    let mut fail = |what: String| failures.push(format!("{}: {what}", played.scene));
    if ended.killed.is_some() {
        fail(format!(
            "it was there after {:.2} s, and was killed",
            ended.took.as_secs_f64()
        ));
        return failures;
    }
    let named = judge(played)
        .iter()
        .filter(|judged| judged.verdict == Verdict::Named)
        .count() as u64;
    match (ended.cut(), ended.code) {
        (Some(0), Some(CLEAN)) if named == 0 => {}
        (Some(cut), Some(UNCLEAN)) if cut > 0 && cut >= named && named > 0 => {}
        (cut, code) => fail(format!(
            "{named} clients were cut and named, cut is {cut:?}, the exit code {code:?}"
        )),
    }
    if played.scene.cast == Cast::Ending && ended.has_said("outcome Close timed out") {
        fail("every client was done in time, and Close lasted to its deadline".to_owned());
    }
    failures
}

fn of_client(played: &Played, shape: Shape, story: &Story) -> (Verdict, bool, String) {
    let caught = is_caught(played, shape, story);
    let http2 = played.scene.protocol.is_http2();
    let judged = story.requests.iter().map(|asked| {
        let verdict = of_request(&played.ended, http2, story, asked);
        // What was lost is lost, whenever it was.
        let verdict = match caught || !asked.demand.allows(verdict) {
            true => verdict,
            false => Verdict::Missed,
        };
        let is_right = asked.demand.allows(verdict);
        (verdict, is_right, why(played, story, asked))
    });
    let worst = judged.max_by_key(|(verdict, is_right, _)| (!is_right, *verdict));
    worst.unwrap_or_else(|| (of_connection(story), false, format!("{:?}", story.end)))
}

/// It asked for nothing.
fn of_connection(story: &Story) -> Verdict {
    match story.end {
        End::Refused => Verdict::Refused,
        End::Open => Verdict::Hung,
        _ => Verdict::Reset,
    }
}

fn of_request(ended: &Ended, http2: bool, story: &Story, asked: &Asked) -> Verdict {
    let is_named = is_named(ended, story, asked);
    if asked.demand == Demand::Anything {
        return match ended.killed {
            Some(_) => Verdict::Late,
            None => Verdict::GivenUp,
        };
    }
    if asked.is_whole(ended) {
        return match &story.end {
            _ if story.early => Verdict::Early,
            _ if story.after_exit > BUFFERED && is_named => Verdict::Named,
            _ if story.after_exit > BUFFERED => Verdict::Orphaned,
            // On HTTP/2 a client that knows that a stream is over needs no end of the connection.
            End::Reset | End::Torn if !http2 => Verdict::Reset,
            _ => Verdict::Whole,
        };
    }
    let entered = ended.has_said(&format!("entered {}", asked.path));
    let was_killed = ended.killed.is_some_and(|killed| story.over > Some(killed));
    match story.end {
        End::Open if !was_killed => Verdict::Hung,
        _ if !entered => Verdict::Unbegun,
        _ if is_named => Verdict::Named,
        _ if was_killed => Verdict::Late,
        _ => Verdict::Lost,
    }
}

/// Whether the moment came in the middle of the client's action. One that got all of it before shows nothing.
fn is_caught(played: &Played, shape: Shape, story: &Story) -> bool {
    let mut done = story.requests.iter().filter_map(|asked| asked.done);
    let is_over = !shape.is_answered_before()
        && story.requests.iter().all(Asked::is_over)
        && done.all(|done| done < played.begun);
    played.caught && !is_over
}

/// By its path, or by its connection.
fn is_named(ended: &Ended, story: &Story, asked: &Asked) -> bool {
    let peer = story.peer.map(|peer| peer.to_string());
    let by_peer = peer.is_some_and(|peer| ended.left_behind(&peer));
    ended.cut().is_some_and(|cut| cut > 0) && (by_peer || ended.left_behind(&asked.path))
}

fn why(played: &Played, story: &Story, asked: &Asked) -> String {
    let ended = &played.ended;
    let entered = match ended.has_said(&format!("entered {}", asked.path)) {
        true => "its handler was called",
        false => "no handler was called",
    };
    let came = match &asked.response {
        Response::Other(what) => what.clone(),
        _ => format!("{} of {} bytes", asked.received, asked.expected.len()),
    };
    let behind = match asked.behind {
        None => String::new(),
        Some(behind) => {
            let start = format!("body {} ", asked.path);
            let said = ended.said.iter().find(|line| line.starts_with(&start));
            format!(
                "; behind it {behind:?} was sent, {}",
                said.map_or("nothing said", |line| line)
            )
        }
    };
    let named = match is_named(ended, story, asked) {
        true => "; the report names it",
        false => "",
    };
    let end = &story.end;
    let error = match story.error {
        None => String::new(),
        Some(error) => format!(" with GOAWAY, error {error}"),
    };
    let late = match story.after_exit {
        0 => String::new(),
        count => format!("; {count} bytes came after the exit"),
    };
    format!(
        "{}: {came}, then {end:?}{error}; {entered}{behind}{named}{late}",
        asked.path
    )
}

impl Asked {
    fn is_whole(&self, ended: &Ended) -> bool {
        let behind = match self.behind {
            None => true,
            Some(Behind::Part) => false,
            Some(Behind::Whole(length)) => {
                ended.has_said(&format!("body {} {length} whole", self.path))
            }
        };
        matches!(self.response, Response::Whole) && behind
    }
}

impl Demand {
    fn allows(self, verdict: Verdict) -> bool {
        match self {
            Demand::Whole => verdict == Verdict::Whole,
            Demand::WholeOrUnbegun => matches!(verdict, Verdict::Whole | Verdict::Unbegun),
            Demand::Unbegun => verdict == Verdict::Unbegun,
            Demand::Named => verdict == Verdict::Named,
            Demand::Anything => verdict == Verdict::GivenUp,
        }
    }
}
