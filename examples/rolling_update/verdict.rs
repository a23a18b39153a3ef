//! Whether the run showed what was promised.

use lameduck::{Phase, Plan};

use crate::args::Args;
use crate::column::Column;
use crate::rollout::Left;
use crate::score::Score;
use crate::special::Ending;

/// What the run had to show and did not; empty when all is well.
pub(crate) fn failures(scores: &[Score], args: &Args, plan: &Plan) -> Vec<String> {
    scores
        .iter()
        .flat_map(|score| match score.column {
            Column::Lameduck => of_lameduck(score, args, plan),
            Column::Axum | Column::AxumSleep => of_control(score),
        })
        .collect()
}

fn of_lameduck(score: &Score, args: &Args, plan: &Plan) -> Vec<String> {
    let (answered, long) = score.long_requests();
    let requests = score.counts.requests();
    let early = score.left.iter().filter(|left| {
        let told = left.ended.told.as_ref();
        left.last() && told.is_some_and(|told| told.early)
    });
    let none = [
        (score.lost() as u64, "requests were lost"),
        (score.killed() as u64, "replicas were killed"),
        ((long - answered) as u64, "long requests were lost"),
        (score.probes_lost(), "probes were lost"),
        (score.missing as u64, "confirmed notes are not stored"),
        (args.requests.saturating_sub(requests), "requests too few"),
        (
            early.count() as u64,
            "replicas left early while traffic was routed to them",
        ),
    ];
    none.into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("lameduck: {count} {what}"))
        .chain((args.leave_early && score.early().0 == 0).then(|| {
            "lameduck: no replica left early, so this run proves nothing of it".to_owned()
        }))
        .chain(
            score
                .left
                .iter()
                .flat_map(|left| of_replica(left, args, plan)),
        )
        .collect()
}

/// What each replica of `lameduck` has to tell.
fn of_replica(left: &Left, args: &Args, plan: &Plan) -> Vec<String> {
    let ended = &left.ended;
    let Some(told) = &ended.told else {
        return vec![format!(
            "lameduck: replica {} left no report (exit code {:?})",
            left.endpoint.number, ended.code
        )];
    };
    // With a request that is longer than Drain, the listener is open for longer, too.
    let cut = |ending: &Ending| matches!(ending, Ending::Cut);
    let least = plan.deadline(Phase::Drain);
    let stayed = ended.listened.is_some_and(|listened| listened >= least);
    [
        (args.plain || stayed, "did not listen until Close"),
        (!told.head, "did not end the half-sent head by its bound"),
        (
            !left.long_connections.iter().any(cut),
            "cut an event stream or a WebSocket without a word",
        ),
        (args.plain || told.long, "did not name the long request"),
        (
            !left.trouble.hung_hook || told.hook,
            "did not name the hung hook",
        ),
    ]
    .into_iter()
    .filter(|(holds, _)| !holds)
    .map(|(_, what)| format!("lameduck: replica {} {what}", left.endpoint.number))
    .collect()
}

fn of_control(score: &Score) -> Vec<String> {
    if score.lost() + score.killed() > 0 {
        return Vec::new();
    }
    vec![format!(
        "{}: nothing was lost, so this run proves nothing",
        score.column
    )]
}
