//! The CPU quota of a cgroup, as a process in it sees it.

use std::process::ExitCode;
use std::sync::LazyLock;

use lameduck::{Plan, ShutdownCoordinator, signal};

use crate::process::{Ended, Process};

// The fault matrix makes such groups as well.
#[allow(dead_code)]
#[path = "../../examples/fault_matrix/quota.rs"]
mod groups;

/// In the plan's line of the log.
const QUOTA: &str = "a CPU quota of 10ms in each 100ms";

/// Plays a scenario with a tenth of a core. `None` where no cgroup can be made.
fn play_with_a_tenth(scenario: &str) -> Option<Ended> {
    static KIND: LazyLock<groups::Kind> = LazyLock::new(groups::Kind::find);
    let Some(group) = KIND.group().expect("one could be made before") else {
        println!("SKIPPED: no cgroup with a quota can be made here");
        return None;
    };
    let mut process = Process::scenario_in_a_group("scenario", scenario, &group.members());
    process.line_with("ready");
    process.signal("TERM");
    Some(process.wait())
}

#[test]
fn plan_from_the_environment_knows_the_quota_of_its_cgroup() {
    let Some(ended) = play_with_a_tenth("plan from the environment") else {
        return;
    };

    assert!(ended.stderr.contains(QUOTA), "{}", ended.stderr);
    let words = "the watchdog acts 0.5 s before SIGKILL";
    assert!(ended.stderr.contains(words), "{}", ended.stderr);
    assert!(!ended.stderr.contains("WARN"), "{}", ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{}", ended.stderr);
}

#[test]
fn plan_that_leaves_too_little_for_the_quota_of_its_cgroup_is_warned_of() {
    let Some(ended) = play_with_a_tenth("plan from code") else {
        return;
    };

    let words = format!("WARN lameduck: the process has {QUOTA}, and its plan leaves 0.15 s");
    assert!(ended.stderr.contains(&words), "{}", ended.stderr);
}

pub(crate) fn scenario(name: &str) -> Option<ExitCode> {
    let plan = match name {
        "plan from the environment" => Plan::from_env().expect("nothing is set"),
        "plan from code" => Plan::local(),
        _ => return None,
    };
    let shutdown = ShutdownCoordinator::new(plan);
    signal::listen(&shutdown).expect("nobody listens yet");
    Some(crate::runtime().block_on(async {
        println!("ready");
        shutdown.run().await.exit_code()
    }))
}
