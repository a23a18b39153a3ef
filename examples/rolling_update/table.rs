//! What is shown: the announcement, the progress, the table, and the last line.

use std::fmt::Write;
use std::time::Duration;

use lameduck::Phase;
use serde_json::{Value, json};

use crate::args::{Args, QUIET};
use crate::column::Column;
use crate::score::Score;
use crate::tally::Outcome;

/// What is going to happen, before it does.
pub(crate) fn announcement(args: &Args) -> String {
    let lame_duck = args.plan().map(|plan| plan.duration(Phase::LameDuck));
    let columns: Vec<String> = args.columns.iter().map(ToString::to_string).collect();
    let mut text = format!(
        "A rolling update, played on this machine. This is a simulation: the replicas are real processes with real\n\
         sockets, signals and databases; the cluster around them (Service, kubelet, Deployment) is this program.\n\
         \n\
         columns      {}, side by side\n\
         each has     {} replicas, {} requests a second, at least {} requests\n\
         rounds       {} ordinary; then one in which a stopped replica stays in rotation until it is dead, as in an eviction\n\
         schedule     SIGTERM, SIGKILL after {}; a stopped replica still gets new connections for {}\n\
         lameduck     keeps serving for {}; `axum + sleep` sleeps as long\n",
        columns.join(", "),
        args.replicas,
        args.rate,
        args.requests,
        args.rounds,
        seconds(args.grace),
        seconds(args.propagation),
        seconds(lame_duck.unwrap_or_default()),
    );
    if !args.pre_stop.is_zero() {
        let pre_stop = seconds(args.pre_stop);
        let _ = writeln!(
            text,
            "preStop      {pre_stop}: routing moves from its beginning, SIGTERM comes at its end, SIGKILL no later than without it"
        );
    }
    if let Some(least) = args.early() {
        let (least, quiet) = (seconds(least), seconds(QUIET));
        let _ = writeln!(
            text,
            "leave early  after {least} at least and a silence of {quiet}; the first replica is stopped when there is proof enough"
        );
    }
    if let Some(kind) = args.proxy {
        let name = kind.name();
        let _ = writeln!(
            text,
            "proxy        {name}, one for each column: keep-alive to the replicas, no retries; its clients speak HTTP/1.1"
        );
    }
    text
}

/// The table, with its legend.
pub(crate) fn table(scores: &[Score], args: &Args) -> String {
    let mut table = String::new();
    let mut row = |name: &str, value: &dyn Fn(&Score) -> String| {
        let mut line = format!("{name:<42}");
        for score in scores {
            let _ = write!(line, "{:>16}", value(score));
        }
        let _ = writeln!(table, "{line}");
    };
    row("", &|score| score.column.to_string());
    row("requests", &|score| score.counts.requests().to_string());
    for outcome in Outcome::ALL {
        row(&format!("  {}", outcome.name()), &|score| {
            score.counts.of(outcome).to_string()
        });
    }
    row("  of these, too late (1)", &|score| {
        score.too_late().to_string()
    });
    if args.proxy.is_some() {
        row("  of these, lost by the proxy itself (4)", &|score| {
            score.by_proxy().count().to_string()
        });
    }
    row("connections told to close (2)", &|score| {
        score.counts.told.to_string()
    });
    row("long requests answered", &|score| of(score.long_requests()));
    row("event streams and WebSockets told (3)", &|score| {
        of(score.long_connections())
    });
    row("liveness probes lost", &|score| {
        score.probes_lost().to_string()
    });
    row("confirmed notes that are not stored", &|score| {
        score.missing.to_string()
    });
    row("replicas stopped", &|score| score.left.len().to_string());
    row("  SIGKILLed", &|score| score.killed().to_string());
    row("requests sent to stopped replicas", &|score| {
        score.counts.to_dying.to_string()
    });
    if args.leave_early {
        row(
            "  left LameDuck early, in ordinary rounds",
            &|score| match score.column {
                Column::Lameduck => of(score.early()),
                Column::Axum | Column::AxumSleep => "-".to_owned(),
            },
        );
    }
    row("SIGTERM to exit, median", &|score| {
        seconds(score.leaving().0)
    });
    row("SIGTERM to exit, worst", &|score| {
        seconds(score.leaving().1)
    });
    if args.leave_early {
        row("  in ordinary rounds, median", &|score| {
            seconds(score.leaving_ordinarily().0)
        });
    }
    table.push_str(LEGEND);
    if args.proxy.is_some() {
        table.push_str(PROXY_LEGEND);
    }
    table
}

const LEGEND: &str = "
refused: nobody listened. reset: the connection ended before the answer. cut: in mid-answer. other: any other status, no end.
(1) In the last round, after the replica's listener had closed: there it stays in rotation until it is dead. The last line
    leaves these out, in every column; the earlier a listener closes, the more they are.
(2) By `Connection: close` on an answer, or by GOAWAY while no request was on the connection.
(3) Ended as their protocol has it (last chunk, close frame), not cut. They are not counted as requests.
Every stopped replica holds half a head, an event stream, a WebSocket and a request that is longer than Drain; one has a
clean-up that never ends, and one has all its workers blocked for a second at SIGTERM: the same in every column.
";

const PROXY_LEGEND: &str = "\
Behind a proxy, refused and reset are what it met at the replica (its 502 or 503, or a connection that it ended without an
answer), and (2) is what it told the clients.
(4) Before it had chosen a replica: nginx closes its clients' idle connections when it is loaded anew, which is at each change,
    and a request may be on its way there. Its log then has no line of it. The last line leaves these out.
";

pub(crate) fn json(scores: &[Score], failures: &[String], took: Duration) -> Value {
    let columns: Vec<Value> = scores.iter().map(column).collect();
    json!({
        "simulation": true,
        "seconds": took.as_secs_f64(),
        "columns": columns,
        "failures": failures,
        "summary": last_line(scores),
    })
}

fn column(score: &Score) -> Value {
    let outcomes: serde_json::Map<String, Value> = Outcome::ALL
        .into_iter()
        .map(|outcome| (outcome.name().to_owned(), score.counts.of(outcome).into()))
        .collect();
    let (long_answered, long) = score.long_requests();
    let (told, long_connections) = score.long_connections();
    let (median, worst) = score.leaving();
    json!({
        "column": score.column.key(),
        "requests": score.counts.requests(),
        "outcomes": outcomes,
        "lost": score.lost(),
        "too_late": score.too_late(),
        "lost_by_proxy": score.by_proxy().count(),
        "connections_told": score.counts.told,
        "long_requests": { "sent": long, "answered": long_answered },
        "long_connections": { "opened": long_connections, "told": told },
        "probes_lost": score.probes_lost(),
        "notes_confirmed": score.counts.written.len(),
        "notes_missing": score.missing,
        "stopped": score.left.len(),
        "killed": score.killed(),
        "left_early": score.early().0,
        "sent_to_stopped": score.counts.to_dying,
        "seconds_to_exit": { "median": median.as_secs_f64(), "worst": worst.as_secs_f64() },
        "report": score.report(),
    })
}

/// `lameduck: N requests, 0 lost, 0 killed; axum: M lost, K killed; axum + sleep: M lost, K killed`
pub(crate) fn last_line(scores: &[Score]) -> String {
    let (lameduck, controls): (Vec<_>, Vec<_>) = scores
        .iter()
        .partition(|score| score.column == Column::Lameduck);
    let parts: Vec<String> = lameduck
        .iter()
        .map(|score| {
            let requests = score.counts.requests();
            format!("{}: {requests} requests, {}", score.column, ends(score))
        })
        .chain(
            controls
                .iter()
                .map(|score| format!("{}: {}", score.column, ends(score))),
        )
        .collect();
    parts.join("; ")
}

fn ends(score: &Score) -> String {
    format!("{} lost, {} killed", score.lost(), score.killed())
}

fn of((some, all): (usize, usize)) -> String {
    format!("{some} of {all}")
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
