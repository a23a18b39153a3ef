//! What is shown around the chart.

use std::fmt::Write;
use std::time::Duration;

use crate::args::{Args, latest, soonest};
use crate::deployment::{Deployment, Rollout};
use crate::strategy::Strategy;

/// What is played.
pub(crate) fn announcement(args: &Args) -> String {
    let deployment = args.deployment;
    let Deployment {
        replicas, strategy, ..
    } = deployment;
    let limits = strategy.limits(replicas);
    let mut text = format!(
        "Pods to replace: {replicas}, with maxSurge / maxUnavailable {strategy}: \
         at most {} {} those that are terminating, at least {} available.\n",
        replicas + limits.surge,
        if deployment.waits { "with" } else { "without" },
        replicas - limits.unavailable
    );
    if deployment.unready > 0 {
        let _ = writeln!(text, "Old ones that are not ready: {}.", deployment.unready);
    }
    let _ = write!(
        text,
        "A new pod is ready after {} and {} for the cluster",
        seconds(deployment.ready),
        seconds(deployment.overhead)
    );
    if !deployment.min_ready.is_zero() {
        let _ = write!(text, ", available {} later", seconds(deployment.min_ready));
    }
    let _ = write!(
        text,
        "; an old one is gone {} after its deletion",
        seconds(deployment.terminate)
    );
    match &args.plan {
        Some(plan) => {
            let grace_period = seconds(plan.grace_period());
            let _ = writeln!(text, " at the latest (grace period {grace_period}).");
        }
        None => text.push_str(".\n"),
    }
    text
}

/// The figures of one rollout.
pub(crate) fn summary(args: &Args, rollout: &Rollout) -> String {
    let peak = rollout.peak();
    let connections = |pods: u64| pods * args.connections_per_pod;
    let mut text = String::new();
    let mut row = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<22} {value}");
    };
    row(
        "at once, at most",
        format!("{}, from {} on", peak.pods.total(), seconds(peak.at)),
    );
    row("ready, at least", rollout.fewest_serving().to_string());
    row(
        "complete",
        format!(
            "after {}, says Kubernetes; still terminating then: {}",
            seconds(rollout.complete),
            rollout.pods_at(rollout.complete).terminating
        ),
    );
    row(
        "last old pod gone",
        format!("after {}", seconds(rollout.gone)),
    );
    row(
        "database connections",
        format!(
            "{} in steady state, {} at the peak ({} a pod)",
            connections(args.deployment.replicas),
            connections(peak.pods.total()),
            args.connections_per_pod
        ),
    );
    text
}

/// The same pods with other strategies; with a plan, for the pods that leave as late and as early as it lets them.
pub(crate) fn comparisons(args: &Args) -> String {
    let Some(plan) = &args.plan else {
        return comparison(args, "maxSurge / maxUnavailable");
    };
    [
        (latest(plan), "at the latest"),
        (soonest(plan), "when LameDuck ends"),
    ]
    .map(|(terminate, when)| {
        let args = Args {
            deployment: Deployment {
                terminate,
                ..args.deployment
            },
            ..args.clone()
        };
        comparison(&args, &format!("gone after {}, {when}", seconds(terminate)))
    })
    .join("\n")
}

fn comparison(args: &Args, title: &str) -> String {
    let mut strategies = vec![args.deployment.strategy];
    strategies.extend(
        Strategy::USUAL
            .iter()
            .filter(|&&usual| usual != args.deployment.strategy),
    );
    let mut table = format!(
        "{title:<43} {:>7} {:>9} {:>9} {:>9} {:>9} {:>12}\n",
        "at once", "from", "ready", "complete", "gone", "connections"
    );
    for strategy in strategies {
        let rollout = Deployment {
            strategy,
            ..args.deployment
        }
        .play();
        let peak = rollout.peak();
        let _ = writeln!(
            table,
            "{:<43} {:>7} {:>9} {:>9} {:>9} {:>9} {:>12}",
            strategy.to_string(),
            peak.pods.total(),
            seconds(peak.at),
            rollout.fewest_serving(),
            seconds(rollout.complete),
            seconds(rollout.gone),
            peak.pods.total() * args.connections_per_pod
        );
    }
    table
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
