//! The plan that an environment gives, made where it is made in earnest: in a process of its own.

use std::process::Command;
use std::time::Duration;

use lameduck::Plan;

/// What a manifest has to agree with.
pub(crate) struct Told {
    pub(crate) grace_period: Duration,
    pub(crate) pre_stop: Duration,
    pub(crate) is_assumed: bool,
}

/// What a container with this environment makes of it; the error, if that is what it makes.
pub(crate) fn plan(environment: &[(String, String)]) -> Result<Told, String> {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "plan::child_prints_its_plan"]);
    child.args(["--ignored", "--nocapture"]);
    for name in [
        "TERMINATION_GRACE_PERIOD_SECONDS",
        "PRE_STOP_SECONDS",
        "LAME_DUCK_SECONDS",
    ] {
        child.env_remove(name);
    }
    // As in every container that Kubernetes starts.
    child.env("KUBERNETES_SERVICE_HOST", "10.0.0.1");
    child.envs(environment.iter().map(|(name, value)| (name, value)));
    let output = child.output().unwrap();
    assert!(output.status.success());

    let text = String::from_utf8(output.stdout).unwrap();
    if let Some((_, error)) = text.split_once("error: ") {
        return Err(error.lines().next().unwrap_or_default().to_owned());
    }
    let (_, words) = text.split_once("told: ").expect("it prints a plan");
    let mut words = words.split_whitespace();
    let mut seconds = || {
        let word = words.next().unwrap_or_default();
        Duration::from_secs_f64(word.parse().expect("a number"))
    };
    let (grace_period, pre_stop) = (seconds(), seconds());
    Ok(Told {
        grace_period,
        pre_stop,
        is_assumed: words.next() == Some("true"),
    })
}

#[test]
#[ignore = "run by `plan`, in a process with an environment of its own"]
fn child_prints_its_plan() {
    match Plan::from_env() {
        Ok(plan) => println!(
            "told: {} {} {}",
            plan.grace_period().as_secs_f64(),
            plan.pre_stop().as_secs_f64(),
            plan.is_assumed(),
        ),
        Err(error) => println!("error: {error}"),
    }
}
