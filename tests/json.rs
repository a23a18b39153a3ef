//! The report and the plan as JSON: a shape that others read, so it is written down here.

#![cfg(feature = "serde")]

use std::future::pending;
use std::time::Duration;

use lameduck::{LeaveEarly, Phase, Plan, Reason, ShutdownCoordinator, Signal};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::time::sleep;

fn json(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap()
}

/// A run of which every part of the report has something to say.
#[tokio::test(start_paused = true)]
async fn report_has_a_stable_shape() {
    let shutdown = ShutdownCoordinator::new(Plan::immediate());
    let handle = shutdown.handle();
    let _guard = handle.named_guard("upload 7");
    let flush = async || Err("no space left");
    shutdown.try_hook(Phase::Drain, "flush", flush).unwrap();
    let slow = || sleep(Duration::from_millis(1_500));
    shutdown.hook(Phase::LameDuck, "lease", slow).unwrap();
    shutdown.hook(Phase::Release, "pool", pending).unwrap();
    let after = Phase::Release.after("pool");
    shutdown.hook(after, "cache", async || {}).unwrap();
    shutdown
        .hook(Phase::Exit, "x", async || panic!("boo"))
        .unwrap();
    let stops = async |cx: lameduck::TaskContext| cx.stop_requested().await;
    shutdown.task("importer", stops).unwrap();
    shutdown.task("late", async |_| pending().await).unwrap();

    handle.shutdown("deploy");
    let report = shutdown.run().await;

    let done = |name: &str, started: u64, took: u64| json!({"name": name, "started_ms": started, "took_ms": took, "outcome": "done"});
    let phase = |name: &str, started: u64, took: u64, outcome: &str, hooks: Value| {
        let (phase, hooks) = (name.to_owned(), hooks);
        json!({
            "phase": phase, "started_ms": started, "took_ms": took, "outcome": outcome,
            "hooks": hooks, "left_behind": [], "left_behind_total": 0,
        })
    };
    let left_behind = |age: u64| {
        json!([
            {"kind": "task", "name": "late", "age_ms": age},
            {"kind": "guard", "name": "upload 7", "age_ms": age},
        ])
    };
    let mut drain = phase(
        "drain",
        0,
        11_500,
        "timed_out",
        json!([{"name": "flush", "started_ms": 0, "took_ms": 0, "outcome": "failed", "error": "no space left"}]),
    );
    drain["left_behind"] = left_behind(11_500);
    drain["left_behind_total"] = json!(2);
    let mut close = phase("close", 11_500, 11_500, "timed_out", json!([]));
    close["left_behind"] = left_behind(23_000);
    close["left_behind_total"] = json!(2);
    let release = json!([
        {"name": "pool", "started_ms": 23_000, "took_ms": 5_000, "outcome": "overran"},
        {"name": "cache", "started_ms": null, "took_ms": 0, "outcome": "not_started"},
    ]);
    let exit = json!([
        {"name": "x", "started_ms": 28_000, "took_ms": 0, "outcome": "panicked", "error": "boo"},
    ]);
    let expected = json!({
        "reason": {"kind": "requested", "why": "deploy"},
        "clean": false,
        "exit_code": 3,
        "took_ms": 28_000,
        "budget_ms": 30_000,
        "phases": [
            phase("lame_duck", 0, 0, "completed", json!([done("lease", 0, 1_500)])),
            drain,
            close,
            phase("release", 23_000, 5_000, "timed_out", release),
            phase("exit", 28_000, 0, "completed", exit),
        ],
        "tasks": [
            {"name": "importer", "outcome": "done"},
            {"name": "late", "outcome": "overran"},
        ],
        "tasks_unlisted": 0,
        "tasks_failed": 1,
        "tasks_total": 2,
        "traffic": {"served": 0, "refused": 0, "last_arrival_ms": null, "per_second": []},
        "connections": {"closed": 0, "cut": 0},
        "long": {"told": 0, "cut": 0},
        "cut": 2,
    });
    assert_eq!(json(&*report), expected, "{:#}", json(&*report));
}

#[test]
fn reason_that_is_a_failure_has_a_name_and_an_error() {
    let text = serde_json::to_string(&Reason::failed("database", "lost")).unwrap();

    assert_eq!(
        text,
        r#"{"kind":"failed","name":"database","error":"lost"}"#
    );
}

#[test]
fn reason_is_tagged_by_its_kind() {
    for (reason, expected) in [
        (
            Reason::from(Signal::Terminate),
            json!({"kind": "signal", "signal": "SIGTERM"}),
        ),
        (
            Reason::from("deploy"),
            json!({"kind": "requested", "why": "deploy"}),
        ),
    ] {
        assert_eq!(json(&reason), expected);
    }
}

#[test]
fn plan_has_a_stable_shape() {
    let plan = Plan::builder()
        .leave_early(LeaveEarly::new())
        .pre_stop(Duration::from_secs(2))
        .build()
        .unwrap();

    let expected = json!({
        "grace_period_ms": 30_000,
        "pre_stop_ms": 2_000,
        "budget_ms": 28_000,
        "assumed": false,
        "phases": [
            {"phase": "lame_duck", "duration_ms": 8_000, "deadline_ms": 8_000},
            {"phase": "drain", "duration_ms": 6_733, "deadline_ms": 14_733},
            {"phase": "close", "duration_ms": 6_733, "deadline_ms": 21_466},
            {"phase": "release", "duration_ms": 4_666, "deadline_ms": 26_133},
            {"phase": "exit", "duration_ms": 933, "deadline_ms": 27_066},
        ],
        "hard_deadline_ms": 27_533,
        "spread_ms": 5_000,
        "long_phase": "close",
        "long_spread_ms": 3_366,
        "linger_ms": 1_000,
        "leave_early": {"min_ms": 5_000, "quiet_ms": 3_000},
    });
    assert_eq!(json(&plan), expected, "{:#}", json(&plan));
}

#[test]
fn phase_and_signal_can_be_read_back() {
    for &phase in Phase::ALL {
        let read: Phase = serde_json::from_value(json(&phase)).unwrap();
        assert_eq!(read, phase);
    }
    let signal: Signal = serde_json::from_value(json!("SIGQUIT")).unwrap();
    assert_eq!(signal, Signal::Quit);

    let wrong = serde_json::from_value::<Phase>(json!("Drain")).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "invalid value: string \"Drain\", expected a phase, such as \"drain\""
    );
}
