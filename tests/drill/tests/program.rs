//! The program: what it prints, and its exit codes.

#![cfg(unix)]

mod control;

use std::process::{Command, Output};

use control::Planted;
use lameduck_drill::{Drill, DrillError, Scenario};

/// Not a test: serves as the control server if the environment asks for it.
#[test]
fn control_server() {
    control::serve_if_asked();
}

#[test]
fn nothing_lost_is_exit_code_0_and_says_what_was_not_looked_at() {
    let output = drill(
        &control::command(Planted::Nothing),
        &["--scenario", "in-flight"],
    );

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains("nothing was lost"), "{said}");
    assert!(said.contains("Not known: whether the handler"), "{said}");
    let progress = String::from_utf8_lossy(&output.stderr);
    assert!(
        progress.contains("the server speaks HTTP/1.1 and HTTP/2"),
        "{progress}"
    );
    assert!(
        progress.contains("in-flight: stopped 1 of 1 times"),
        "{progress}"
    );
}

#[test]
fn a_loss_is_exit_code_1_with_a_remedy_and_json_has_all_of_it() {
    let options = ["--scenario", "in-flight", "--contract", "--json"];
    let output = drill(&control::command(Planted::CutsBodies), &options);

    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("it is JSON");
    assert_eq!(json["signal"], "TERM");
    let cut = |list: &serde_json::Value| {
        let mut all = list.as_array().into_iter().flatten();
        let found = all.find(|one| one["fault"] == "cut-answer").cloned();
        found.expect("there is one")
    };
    let finding = cut(&json["findings"]);
    assert!(
        finding["remedy"]
            .as_str()
            .is_some_and(|text| !text.is_empty())
    );
    let loss = cut(&json["scores"][0]["losses"]);
    assert_eq!(loss["fate"], "cut");
    assert_eq!(loss["entered"], true);
}

#[test]
fn command_that_does_not_serve_is_exit_code_2() {
    let output = drill(&Command::new("false"), &[]);

    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("left before it was told to"), "{said}");
}

#[test]
fn server_that_does_not_learn_its_port_is_an_error_at_once() {
    let error = Drill::new(Command::new("true")).try_run().err();

    assert_eq!(error, Some(DrillError::NoPort));
}

#[test]
fn scenario_that_was_asked_for_and_has_no_route_is_an_error() {
    let drill = Drill::new(control::command(Planted::Nothing)).port_env(control::PORT);
    let error = drill.scenarios([Scenario::Long]).try_run().err();

    assert!(
        matches!(error, Some(DrillError::Unplayable(_))),
        "{error:?}"
    );
}

#[test]
fn child_that_outlives_the_server_is_found_and_ended() {
    // As a package manager does that does not pass the signal on.
    let script = r#""$0" "$@" & trap 'exit 0' TERM; while :; do sleep 0.05; done"#;
    let shell = control::in_a_shell(script);
    let output = drill(&shell, &["--scenario", "in-flight"]);

    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("a process that it had started did not"),
        "{said}"
    );
}

/// The program, with a server that learns its port from a variable.
fn drill(server: &Command, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lameduck-drill"));
    command
        .args(["--runs", "1", "--grace", "5", "--propagation", "0.4"])
        .args(["--port-env", control::PORT])
        .args(options)
        .arg("--")
        .arg(server.get_program())
        .args(server.get_args());
    let set = server.get_envs();
    command.envs(set.filter_map(|(name, value)| Some((name, value?))));
    command.output().expect("it starts")
}
