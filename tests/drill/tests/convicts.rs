//! A control server with planted faults is convicted of each, and one without is acquitted: as often as
//! `LAMEDUCK_DRILL_TIMES` says, 2 times by default.

#![cfg(unix)]

mod control;

use std::time::Duration;

use control::{Planted, command};
use lameduck_drill::{Contract, Drill, Fault, Outcome, Scenario};

const GRACE: Duration = Duration::from_secs(5);
const PROPAGATION: Duration = Duration::from_millis(400);

/// Not a test: serves as the control server if the environment asks for it.
#[test]
fn control_server() {
    control::serve_if_asked();
}

#[test]
fn faultless_server_is_acquitted_in_each_scenario() {
    for seed in seeds() {
        let scenarios = Scenario::ALL.iter().copied();
        let outcome = drill(Planted::Nothing, seed)
            .scenarios(scenarios)
            .contract(Contract::Output)
            .run();

        assert!(outcome.is_clean(), "{outcome}");
    }
}

#[test]
fn faultless_server_with_tls_is_acquitted() {
    for seed in seeds() {
        let mut command = command(Planted::Nothing);
        command.env(control::TLS, "yes");
        let drill = set(Drill::new(command), seed);
        let scenarios = [Scenario::InFlight, Scenario::KeepAlive, Scenario::Long];
        let outcome = drill.scenarios(scenarios).run();

        assert!(outcome.is_clean(), "{outcome}");
        assert!(outcome.speaks.tls && outcome.speaks.http1 && outcome.speaks.http2);
    }
}

/// The second run knows from the first one when the listener closes.
#[test]
fn faultless_server_is_acquitted_when_a_burst_meets_the_close_of_its_listener() {
    for seed in seeds() {
        let drill = drill(Planted::Nothing, seed).scenarios([Scenario::Burst]);
        let outcome = drill.runs(2).run();

        assert!(outcome.is_clean(), "{outcome}");
    }
}

#[test]
fn server_that_refuses_while_alive_is_convicted() {
    convicts(
        Planted::RefusesWhileAlive,
        Scenario::InFlight,
        Fault::RefusedWhileAlive,
    );
}

#[test]
fn server_that_resets_kept_connections_is_convicted() {
    convicts(Planted::ResetsKept, Scenario::KeepAlive, Fault::DroppedKept);
}

#[test]
fn server_that_cuts_bodies_is_convicted() {
    convicts(Planted::CutsBodies, Scenario::InFlight, Fault::CutAnswer);
}

#[test]
fn server_that_answers_without_its_handlers_is_convicted_by_the_contract() {
    for seed in seeds() {
        let drill = || drill(Planted::SkipsHandlers, seed).scenarios([Scenario::InFlight]);

        let known = drill().contract(Contract::Output).run();
        assert!(known.has(Fault::Unhandled), "{known}");

        // Without it nobody can know, and the outcome says so.
        let unknown = drill().run();
        assert!(unknown.is_clean(), "{unknown}");
        assert!(unknown.unknown.iter().any(|what| what.contains("contract")));
    }
}

#[test]
fn server_that_leaves_late_is_convicted() {
    convicts_of_exit(Planted::LeavesLate, Fault::Late);
}

#[test]
fn server_that_ignores_the_signal_is_convicted() {
    convicts_of_exit(Planted::IgnoresTheSignal, Fault::IgnoredSignal);
}

/// As PID 1, which has no default action, and before the server's handler is there.
#[test]
fn server_that_misses_the_signal_while_it_starts_is_convicted() {
    for seed in seeds() {
        let server = control::in_a_shell(r#"trap '' TERM; sleep 0.5; exec "$0" "$@""#);
        let outcome = set(Drill::new(server), seed)
            .scenarios([Scenario::Early])
            .runs(5)
            .grace(Duration::from_secs(2))
            .run();

        assert!(outcome.has(Fault::IgnoredSignal), "{outcome}");
    }
}

#[test]
fn server_that_exits_at_once_is_convicted_of_what_was_in_flight_and_of_leaving_in_rotation() {
    for seed in seeds() {
        let outcome = drill(Planted::ExitsAtOnce, seed)
            .scenarios([Scenario::InFlight])
            .run();

        assert!(outcome.has(Fault::LeftInFlight), "{outcome}");
        assert!(outcome.has(Fault::LeftInRotation), "{outcome}");
    }
}

#[test]
fn server_that_drops_its_queue_is_convicted() {
    convicts(Planted::DropsTheQueue, Scenario::Burst, Fault::DroppedNew);
}

#[test]
fn server_that_cuts_long_connections_is_convicted() {
    let outcome = convicts(Planted::CutsLong, Scenario::Long, Fault::CutLong);

    let ways: Vec<_> = outcome.scores[0]
        .losses
        .iter()
        .map(|loss| loss.way)
        .collect();
    assert!(ways.contains(&lameduck_drill::Way::WebSocket), "{outcome}");
    assert!(ways.contains(&lameduck_drill::Way::Events), "{outcome}");
}

#[test]
fn server_that_cuts_slow_clients_is_convicted() {
    convicts(Planted::CutsSlow, Scenario::Slow, Fault::CutSlow);
}

#[test]
fn server_that_rejects_requests_is_convicted() {
    convicts(Planted::Rejects, Scenario::InFlight, Fault::Rejected);
}

#[test]
fn server_that_hangs_is_convicted() {
    convicts(Planted::Hangs, Scenario::InFlight, Fault::Hung);
}

/// Returns the last outcome.
fn convicts(planted: Planted, scenario: Scenario, fault: Fault) -> Outcome {
    let mut last = None;
    for seed in seeds() {
        let outcome = drill(planted, seed).scenarios([scenario]).run();

        assert!(outcome.has(fault), "{outcome}");
        assert!(outcome.lost() > 0, "{outcome}");
        last = Some(outcome);
    }
    last.expect("it was played at least once")
}

fn convicts_of_exit(planted: Planted, fault: Fault) {
    for seed in seeds() {
        let outcome = drill(planted, seed)
            .grace(Duration::from_secs(2))
            .scenarios([Scenario::InFlight])
            .run();

        assert!(outcome.has(fault), "{outcome}");
        assert_eq!(outcome.killed(), 1, "{outcome}");
    }
}

fn drill(planted: Planted, seed: u64) -> Drill {
    set(Drill::new(command(planted)), seed)
}

fn set(drill: Drill, seed: u64) -> Drill {
    drill
        .port_env(control::PORT)
        .seed(seed)
        .runs(1)
        .grace(GRACE)
        .propagation(PROPAGATION)
        .patience(Duration::from_secs(2))
        .slow_route("/slow")
        .upload_route("/upload")
        .download_route("/download")
        .websocket_route("/ws")
        .events_route("/events")
}

fn seeds() -> std::ops::RangeInclusive<u64> {
    let times = std::env::var("LAMEDUCK_DRILL_TIMES");
    1..=times.ok().and_then(|times| times.parse().ok()).unwrap_or(2)
}
