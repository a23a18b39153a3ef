//! Under systemd, which [`Manager`] plays.

use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Runtime;

use crate::clients::{Load, one_shot};
use crate::manager::{Manager, Message};
use crate::process::Process;
use crate::restarts;
use crate::service::SLOW;

/// A short schedule for restarts: there is nothing to route.
const SHORT: &[(&str, &str)] = &[
    ("TERMINATION_GRACE_PERIOD_SECONDS", "6"),
    ("LAME_DUCK_SECONDS", "0"),
];

/// A stop timeout in which no slow request is over.
const HASTY: Duration = Duration::from_secs(1);
const _: () = assert!(SLOW.as_secs() > HASTY.as_secs());

#[test]
fn ready_is_said_when_the_last_not_ready_token_goes() {
    let manager = Manager::new();
    manager.set_mood("is cold");
    let runtime = Runtime::new().unwrap();

    let service = manager.start(SHORT);
    manager.wait_for(|it| it.has("STATUS=starting: the cache is cold"));
    // By then `run` has been called.
    thread::sleep(Duration::from_millis(300));
    let warmed = Instant::now();
    runtime
        .block_on(one_shot(manager.address(), "/warm"))
        .unwrap();
    let ready = manager.wait_for(|it| it.has("READY=1"));
    manager.wait_for(|it| it.has("STATUS=serving"));
    let stopped = manager.stop(service, Duration::from_secs(6));

    let messages = manager.messages();
    assert!(ready.at > warmed, "{messages:?}");
    let ready = messages.iter().filter(|it| it.has("READY=1"));
    assert_eq!(ready.count(), 1);
    assert_eq!(stopped.ended.status.code(), Some(0));
}

#[test]
fn restarts_behind_a_socket_that_the_manager_holds_lose_nothing() {
    let manager = Manager::new();
    let runtime = Runtime::new().unwrap();
    let _inside = runtime.enter();
    let mut service = manager.start(SHORT);
    let load = Load::start(manager.address());
    let mut said = String::new();

    for _ in 0..restarts() {
        manager.wait_for(|it| it.has("READY=1"));
        thread::sleep(Duration::from_millis(200));
        manager.forget();
        let stopped = manager.stop(service, Duration::from_secs(6));
        assert_eq!(stopped.ended.status.code(), Some(0));
        said.push_str(&stopped.ended.stderr);
        service = manager.start(SHORT);
    }
    let tally = runtime.block_on(load.stop());
    manager.stop(service, Duration::from_secs(6));

    println!("{} restarts behind systemd's socket", restarts());
    tally.assert_lossless(&manager.begun(), &said);
    assert_eq!(tally.servers.len(), restarts() + 1, "{tally:?}");
}

#[test]
fn drain_that_is_longer_than_the_stop_timeout_is_not_killed() {
    let manager = Manager::new();
    let runtime = Runtime::new().unwrap();
    let service = manager.start(&[
        ("TERMINATION_GRACE_PERIOD_SECONDS", "10"),
        ("LAME_DUCK_SECONDS", "0"),
        // Beats come more often than the timeout is extended.
        ("WATCHDOG_USEC", "600000"),
    ]);
    let slow = runtime.spawn(one_shot(manager.address(), "/slow"));
    service.wait_for_log("a slow request begins");

    let stopped = manager.stop(service, HASTY);
    let answer = runtime.block_on(slow).unwrap();

    let messages = manager.messages();
    assert!(!stopped.was_killed, "{messages:?}");
    assert_eq!(stopped.ended.status.code(), Some(0));
    assert!(stopped.ended.took > HASTY, "{:?}", stopped.ended.took);
    assert!(answer.is_ok(), "{answer:?}");
    let stopping = messages.iter().find(|it| it.has("STOPPING=1")).unwrap();
    let extension = stopping.extension().unwrap();
    assert!(extension > Duration::from_secs(9), "{extension:?}");
    // Renewed each second, and always to the same end.
    let ends = messages
        .iter()
        .filter_map(|it| Some(it.at + it.extension()?));
    let ends: Vec<_> = ends.collect();
    assert!(ends.len() >= 3, "{messages:?}");
    let moved = *ends.iter().max().unwrap() - *ends.iter().min().unwrap();
    assert!(moved < Duration::from_millis(500), "{messages:?}");
    let status = |it: &Message| {
        let status = it.value("STATUS");
        status.is_some_and(|it| it.starts_with("Drain: 1 in flight"))
    };
    assert!(messages.iter().any(status), "{messages:?}");
}

#[test]
fn service_that_stops_by_itself_has_its_stop_timeout_extended_too() {
    let manager = Manager::new();
    let runtime = Runtime::new().unwrap();
    let service = manager.start(&[
        ("TERMINATION_GRACE_PERIOD_SECONDS", "10"),
        ("LAME_DUCK_SECONDS", "0"),
    ]);
    let slow = runtime.spawn(one_shot(manager.address(), "/slow"));
    service.wait_for_log("a slow request begins");

    runtime
        .block_on(one_shot(manager.address(), "/leave"))
        .unwrap();
    // systemd's stop timeout begins here (systemd#39535).
    manager.wait_for(|it| it.has("STOPPING=1"));
    let stopped = manager.stopped(service, HASTY);
    let answer = runtime.block_on(slow).unwrap();

    assert!(!stopped.was_killed, "{:?}", manager.messages());
    assert!(answer.is_ok(), "{answer:?}");
}

#[test]
fn watchdog_stops_when_the_runtime_is_wedged_and_the_plan_still_has_its_time() {
    const WATCHDOG: Duration = Duration::from_secs(2);
    let manager = Manager::new();
    let runtime = Runtime::new().unwrap();
    let micros = WATCHDOG.as_micros().to_string();
    let service = manager.start(&[
        ("TERMINATION_GRACE_PERIOD_SECONDS", "4"),
        ("LAME_DUCK_SECONDS", "0"),
        ("WATCHDOG_USEC", &micros),
    ]);
    let beats = || {
        let messages = manager.messages();
        let beats = messages.into_iter().filter(|it| it.has("WATCHDOG=1"));
        beats.map(|it| it.at).collect::<Vec<_>>()
    };
    while beats().len() < 4 {
        thread::sleep(Duration::from_millis(5));
    }
    let healthy = beats();

    // Its answer may not come any more.
    drop(runtime.spawn(one_shot(manager.address(), "/wedge")));
    let wedged = (0..200).any(|_| {
        let last = *beats().last().unwrap();
        thread::sleep(Duration::from_millis(50));
        last.elapsed() > 2 * WATCHDOG
    });
    let stopped = manager.stop(service, HASTY);

    assert!(wedged, "{:?}", manager.messages());
    let gaps = healthy.windows(2).map(|pair| pair[1] - pair[0]);
    let longest = gaps.max().unwrap();
    assert!(longest < WATCHDOG, "{longest:?}");
    let messages = manager.messages();
    assert!(messages.iter().any(|it| it.has("STOPPING=1")));
    assert!(!stopped.was_killed, "{messages:?}");
    // The watchdog of the plan, at its hard deadline.
    assert_eq!(stopped.ended.status.code(), Some(4), "{messages:?}");
}

#[test]
fn malformed_variable_is_an_error_when_it_is_read() {
    for (variable, value, said) in [
        (
            "NOTIFY_SOCKET",
            "run/notify",
            "NOTIFY_SOCKET is \"run/notify\": not an absolute path",
        ),
        (
            "NOTIFY_SOCKET",
            "/nonexistent/notify",
            "NOTIFY_SOCKET is \"/nonexistent/notify\": No such file or directory",
        ),
        (
            "LISTEN_FDS",
            "two",
            "LISTEN_FDS is \"two\": it is no number of descriptors",
        ),
        (
            "LISTEN_FDNAMES",
            "http:admin",
            "LISTEN_FDNAMES is \"http:admin\": LISTEN_FDS is 1",
        ),
    ] {
        let mut env = vec![(variable, value)];
        if variable == "LISTEN_FDNAMES" {
            env.push(("LISTEN_FDS", "1"));
        }
        let ended = Process::scenario("scenario", "service", &env).wait();

        assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
    }
}

#[test]
fn descriptor_that_is_no_socket_is_named() {
    let env = [("LISTEN_FDS", "1"), ("LISTEN_FDNAMES", "http")];
    let ended = Process::scenario("scenario", "service", &env).wait();

    assert_eq!(ended.status.code(), Some(2), "{}", ended.stderr);
    let said = "the listener `http` that was passed: fd 3 is not";
    assert!(ended.stderr.contains(said), "{}", ended.stderr);
}
