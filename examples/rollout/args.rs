//! The command line.

use std::time::Duration;

use lameduck::{Phase, Plan, PlanError};

use crate::amount::Amount;
use crate::deployment::Deployment;
use crate::strategy::Strategy;

pub(crate) const HELP: &str = "\
rollout: how many pods run at once while a Deployment is rolled out, as arithmetic

  --replicas N                  (10)
  --max-surge AMOUNT            pods or a percentage, as in the manifest (25%)
  --max-unavailable AMOUNT      pods or a percentage, as in the manifest (25%)
  --ready SECONDS               how long a new pod takes to get ready (2)
  --overhead SECONDS            what the cluster adds to that; measured on one node (0.8)
  --min-ready-seconds N         a new pod counts when it has been ready for so long (0)
  --unready N                   old pods that are not ready when it begins (0)
  --terminate SECONDS           from a pod's deletion until it is gone (20)
  --grace SECONDS               instead of --terminate: what lameduck's plan for this grace period takes at most
  --lame-duck SECONDS           that plan's LameDuck; derived if not given
  --pre-stop SECONDS            what a preStop hook takes of that grace period (0)
  --wait                        as if Deployments had podReplacementPolicy: TerminationComplete (KEP-5882)
  --connections-per-pod N       database connections that a pod's pool holds (10)
  --help                        this
";

/// What is going to be played.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) deployment: Deployment,
    /// Where the time to terminate comes from, if not from `--terminate`.
    pub(crate) plan: Option<Plan>,
    pub(crate) connections_per_pod: u64,
}

impl Args {
    /// `None` when help is asked for.
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut max_surge = Amount::Percent(25);
        let mut max_unavailable = Amount::Percent(25);
        let mut terminate = None;
        let mut schedule = Schedule::default();
        let mut connections_per_pod = 10;
        let mut deployment = Deployment {
            replicas: 10,
            strategy: Strategy::DEFAULT,
            unready: 0,
            ready: Duration::from_secs(2),
            overhead: Duration::from_millis(800),
            min_ready: Duration::ZERO,
            terminate: Duration::from_secs(20),
            waits: false,
        };
        while let Some(option) = given.next() {
            let mut value = || given.next().ok_or(format!("{option} wants a value"));
            match option.as_str() {
                "--replicas" => deployment.replicas = number(&option, &value()?, 1, 100_000)?,
                "--max-surge" => max_surge = amount(&option, &value()?)?,
                "--max-unavailable" => max_unavailable = amount(&option, &value()?)?,
                "--ready" => deployment.ready = seconds(&option, &value()?)?,
                "--overhead" => deployment.overhead = seconds(&option, &value()?)?,
                // Kubernetes takes whole seconds here.
                "--min-ready-seconds" => {
                    let whole = number(&option, &value()?, 0, 3_600)?;
                    deployment.min_ready = Duration::from_secs(whole);
                }
                "--unready" => deployment.unready = number(&option, &value()?, 0, 100_000)?,
                "--terminate" => terminate = Some(seconds(&option, &value()?)?),
                "--grace" => schedule.grace_period = Some(seconds(&option, &value()?)?),
                "--lame-duck" => schedule.lame_duck = Some(seconds(&option, &value()?)?),
                "--pre-stop" => schedule.pre_stop = Some(seconds(&option, &value()?)?),
                "--connections-per-pod" => {
                    connections_per_pod = number(&option, &value()?, 0, 10_000)?;
                }
                "--wait" => deployment.waits = true,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("{option} is unknown; try --help")),
            }
        }
        if deployment.unready > deployment.replicas {
            return Err("--unready is more than --replicas".to_owned());
        }
        deployment.strategy = Strategy::new(max_surge, max_unavailable)?;
        let plan = schedule.plan().map_err(|error| error.to_string())?;
        deployment.terminate = match (terminate, &plan) {
            (Some(_), Some(_)) => {
                return Err(
                    "--terminate or a plan (--grace, --lame-duck, --pre-stop), not both".to_owned(),
                );
            }
            (Some(terminate), None) => terminate,
            (None, Some(plan)) => latest(plan),
            (None, None) => deployment.terminate,
        };
        Ok(Some(Args {
            deployment,
            plan,
            connections_per_pod,
        }))
    }
}

/// When a pod with this plan is gone at the latest, from its deletion.
pub(crate) fn latest(plan: &Plan) -> Duration {
    plan.pre_stop() + plan.deadline(Phase::Exit)
}

/// When it is gone if nothing is in flight once LameDuck is over.
pub(crate) fn soonest(plan: &Plan) -> Duration {
    plan.pre_stop() + plan.duration(Phase::LameDuck)
}

/// What is said of the plan.
#[derive(Clone, Copy, Debug, Default)]
struct Schedule {
    grace_period: Option<Duration>,
    lame_duck: Option<Duration>,
    pre_stop: Option<Duration>,
}

impl Schedule {
    /// `None` when nothing is said.
    fn plan(self) -> Result<Option<Plan>, PlanError> {
        let mut builder = Plan::builder();
        let mut said = false;
        if let Some(grace_period) = self.grace_period {
            (builder, said) = (builder.grace_period(grace_period), true);
        }
        if let Some(lame_duck) = self.lame_duck {
            (builder, said) = (builder.lame_duck(lame_duck), true);
        }
        if let Some(pre_stop) = self.pre_stop {
            (builder, said) = (builder.pre_stop(pre_stop), true);
        }
        match said {
            true => builder.build().map(Some),
            false => Ok(None),
        }
    }
}

fn amount(option: &str, text: &str) -> Result<Amount, String> {
    text.parse()
        .map_err(|error: String| format!("{option}: {error}"))
}

fn number(option: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or(format!("{option} wants a number from {least} to {most}"))
}

fn seconds(option: &str, text: &str) -> Result<Duration, String> {
    const MOST: f64 = 3_600.0;
    text.parse()
        .ok()
        .filter(|seconds| (0.0..=MOST).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or(format!("{option} wants seconds, 0 to {MOST}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Args>, String> {
        Args::parse(line.split_whitespace().map(str::to_owned))
    }

    fn args(line: &str) -> Args {
        parse(line).expect(line).expect("no help is asked for")
    }

    #[test]
    fn plan_says_how_long_a_pod_takes_to_leave() {
        for (line, at_the_latest, at_the_soonest) in [
            ("--grace 30", 29_000, 10_000),
            ("--grace 30 --lame-duck 15", 29_000, 15_000),
            ("--lame-duck 15", 29_000, 15_000),
            ("--grace 60", 59_000, 10_000),
            // What the hook takes comes before, and counts for the overlap.
            ("--grace 30 --pre-stop 15 --lame-duck 0", 29_500, 15_000),
        ] {
            let args = args(line);
            let plan = args.plan.expect("it is asked for");

            let terminate = args.deployment.terminate.as_millis();
            assert_eq!(terminate, at_the_latest, "{line}");
            assert_eq!(soonest(&plan).as_millis(), at_the_soonest, "{line}");
        }
    }

    #[test]
    fn options_arrive() {
        let args = args(
            "--replicas 7 --max-surge 1 --max-unavailable 50% --ready 1.5 --overhead 0 --min-ready-seconds 3 \
             --unready 2 --terminate 4 --connections-per-pod 6",
        );

        let deployment = args.deployment;
        assert_eq!((deployment.replicas, deployment.unready), (7, 2));
        assert_eq!(deployment.strategy.to_string(), "1 / 50%");
        let times = [
            deployment.ready,
            deployment.overhead,
            deployment.min_ready,
            deployment.terminate,
        ];
        assert_eq!(times.map(|time| time.as_millis()), [1_500, 0, 3_000, 4_000]);
        assert_eq!(args.connections_per_pod, 6);
        assert!(args.plan.is_none());
    }

    #[test]
    fn bad_input_is_refused_with_the_option_and_the_reason() {
        for (line, error) in [
            ("--max-surge many", "--max-surge: `many` is neither"),
            ("--max-unavailable -1", "--max-unavailable: `-1` is neither"),
            ("--max-surge 0 --max-unavailable 0%", "are both 0"),
            ("--max-unavailable 101%", "more than 100%"),
            ("--replicas 0", "--replicas wants a number from 1 to"),
            ("--replicas", "--replicas wants a value"),
            ("--ready soon", "--ready wants seconds"),
            ("--terminate -1", "--terminate wants seconds"),
            ("--terminate NaN", "--terminate wants seconds"),
            (
                "--min-ready-seconds 0.5",
                "--min-ready-seconds wants a number",
            ),
            ("--replicas 3 --unready 4", "--unready is more than"),
            ("--terminate 5 --grace 30", "not both"),
            ("--grace 5 --lame-duck 6", "from SIGTERM to SIGKILL"),
            ("--surge 1", "--surge is unknown"),
        ] {
            let refused = parse(line).expect_err(line);

            assert!(refused.contains(error), "{line}: {refused}");
        }
    }
}
