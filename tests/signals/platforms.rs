//! What each platform does to a process by default: its signal, and SIGKILL after its grace period. The plan that is named after it has
//! to fit.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use lameduck::{Plan, Platform, Report, ShutdownCoordinator, signal};
use tokio::time::sleep;

use crate::process::Ended;
use crate::{runtime, start, watchdog};

/// A machine that is late itself proves nothing, and is not late each time. A plan that does not fit is.
const TRIES: u32 = 4;
/// A request that is in flight when the signal comes takes this part of the grace period.
const PART: u32 = 3;
/// Those with a longer grace period are played when they are asked for.
const SHORT: Duration = Duration::from_secs(10);

#[test]
fn whatever_holds_it_up_a_process_is_gone_before_its_platform_kills_it() {
    on_each(|platform| platform.grace_period() <= SHORT, is_gone_in_time);
}

#[test]
#[ignore = "takes 90 s: systemd's default"]
fn whatever_holds_it_up_a_process_is_gone_before_a_patient_platform_kills_it() {
    on_each(|platform| platform.grace_period() > SHORT, is_gone_in_time);
}

#[test]
fn request_that_is_in_flight_is_answered_before_its_platform_kills_the_process() {
    on_each(|platform| platform.grace_period() <= SHORT, is_answered);
}

#[test]
#[ignore = "takes 30 s: systemd's default"]
fn request_that_is_in_flight_is_answered_before_a_patient_platform_kills_the_process() {
    on_each(|platform| platform.grace_period() > SHORT, is_answered);
}

/// All at the same time.
fn on_each(which: impl Fn(&Platform) -> bool, play: fn(Platform)) {
    let played: Vec<Platform> = Platform::ALL.iter().copied().filter(which).collect();
    assert!(!played.is_empty());
    thread::scope(|scope| {
        for platform in played {
            scope.spawn(move || play(platform));
        }
    });
}

fn is_gone_in_time(platform: Platform) {
    let mut took = Duration::MAX;
    for _ in 0..TRIES {
        let process = start(&format!("wedged on {platform}"));

        let (after, ended) = stop(process, platform);

        let code = Some(i32::from(Report::EXIT_WATCHDOG));
        assert_eq!(ended.status.code(), code, "{platform}: {}", ended.stderr);
        took = took.min(after);
        if took < platform.grace_period() {
            return;
        }
    }
    panic!("{platform}: {took:?}");
}

fn is_answered(platform: Platform) {
    let mut process = crate::Process::scenario("scenario", &format!("serves on {platform}"), &[]);
    let line = process.line_with("ready at ");
    let address = line.trim_start_matches("ready at ").to_owned();
    let mut client = TcpStream::connect(address).expect("it serves");
    client
        .write_all(b"GET / HTTP/1.1\r\nhost: shop\r\n\r\n")
        .expect("it reads");
    process.line_with("begun");

    let (took, ended) = stop(process, platform);

    let mut answer = String::new();
    client.read_to_string(&mut answer).expect("it is text");
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n"),
        "{platform}: {answer}"
    );
    assert!(answer.ends_with("done"), "{platform}: {answer}");
    assert_eq!(ended.status.code(), Some(0), "{platform}: {}", ended.stderr);
    assert!(took < platform.grace_period(), "{platform}: {took:?}");
}

/// Sends what the platform sends. Whoever is still there when its grace period is over would be killed.
fn stop(process: crate::Process, platform: Platform) -> (Duration, Ended) {
    let signal = match platform.stop_signal() {
        lameduck::signal::Signal::Interrupt => rustix::process::Signal::INT,
        _ => rustix::process::Signal::TERM,
    };
    let id = rustix::process::Pid::from_raw(process.id() as i32);
    // `kill` would take its time on a busy machine.
    let sent = Instant::now();
    rustix::process::kill_process(id.expect("it has a number"), signal).expect("it is running");
    let ended = process.wait();
    (sent.elapsed(), ended)
}

pub(crate) fn scenario(name: &str) -> Option<ExitCode> {
    let (what, platform) = name.split_once(" on ")?;
    let is_it = |it: &&Platform| it.name() == platform;
    let plan = Plan::on(*Platform::ALL.iter().find(is_it)?);
    Some(match what {
        "wedged" => watchdog::wedged(plan, signal::Listener::new()),
        "serves" => runtime().block_on(serves(plan)),
        _ => return None,
    })
}

async fn serves(plan: Plan) -> ExitCode {
    let takes = plan.grace_period() / PART;
    let shutdown = ShutdownCoordinator::new(plan);
    let handle = shutdown.handle();
    signal::listen(&handle).expect("nobody listens yet");
    let slow = async move || {
        println!("begun");
        sleep(takes).await;
        "done"
    };
    let listener = lameduck::bind("127.0.0.1:0").await.expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    lameduck::serve(listener, Router::new().route("/", get(slow)), &handle);
    println!("ready at {address}");
    shutdown.run().await.exit_code()
}
