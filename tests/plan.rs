//! The plan: how one number becomes five deadlines, and what does not fit.

use std::process::Command;
use std::time::Duration;

use lameduck::{LeaveEarly, Phase, Plan, PlanBuilder, PlanError, ShutdownCoordinator};

const TEN_YEARS: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[track_caller]
fn assert_ends(plan: &Plan, expected: [f64; 5]) {
    for (&phase, expected) in Phase::ALL.iter().zip(expected) {
        let seen = plan.deadline(phase).as_secs_f64();
        assert!(
            (seen - expected).abs() <= 0.005,
            "{phase}: {seen}, expected {expected}"
        );
    }
}

// Case 10.
#[test]
fn defaults_are_those_of_the_table() {
    let table = [
        (2, [0.67, 1.10, 1.53, 1.87, 1.93]),
        (5, [1.67, 2.75, 3.83, 4.67, 4.83]),
        (10, [3.33, 5.50, 7.67, 9.33, 9.67]),
        (15, [5.0, 8.25, 11.5, 14.0, 14.5]),
        (30, [10.0, 16.5, 23.0, 28.0, 29.0]),
        (60, [10.0, 31.5, 53.0, 58.0, 59.0]),
        (300, [10.0, 151.5, 293.0, 298.0, 299.0]),
    ];

    for (grace_period, ends) in table {
        let plan = Plan::builder()
            .grace_period(secs(grace_period))
            .build()
            .unwrap();

        assert_ends(&plan, ends);
    }
}

#[test]
fn phases_and_reserve_use_the_whole_budget() {
    for millis in 0..2_000 {
        let grace_period = Duration::from_millis(millis * 37);
        let plan = Plan::builder().grace_period(grace_period).build().unwrap();

        let reserve = plan.budget() - plan.deadline(Phase::Exit);
        assert_eq!(reserve, secs(1).min(grace_period / 30));
    }
}

#[test]
fn the_default_plan_has_its_windows() {
    let plan = Plan::builder().build().unwrap();

    assert_eq!(plan.grace_period(), secs(30));
    assert_eq!(plan.spread(), secs(5));
    assert_eq!(plan.long_spread(), plan.duration(Phase::Close) / 2);
    assert_eq!(plan.linger(), secs(1));
    assert_eq!(plan.hard_deadline(), Duration::from_millis(29_500));
    assert!(!plan.is_assumed());
}

// Case 10.
#[test]
fn too_long_a_plan_says_by_how_much() {
    let error = Plan::builder()
        .lame_duck(secs(15))
        .drain(secs(18))
        .build()
        .unwrap_err();

    assert_eq!(
        error,
        PlanError::TooLong {
            planned: secs(40),
            budget: secs(30)
        }
    );
    assert_eq!(
        error.to_string(),
        "the phases and the reserve add up to 40 s, which is 10 s more than the 30 s from SIGTERM to SIGKILL"
    );
}

#[test]
fn a_nanosecond_too_much_is_too_long() {
    let plan = |drain| Plan::builder().drain(drain).close(Duration::ZERO).build();

    assert!(plan(secs(13)).is_ok());
    let error = plan(secs(13) + Duration::from_nanos(1)).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("0.000000001 s more than the 30 s"),
        "{error}"
    );
}

#[test]
fn pre_stop_leaves_lame_duck_its_spread() {
    let plan = Plan::builder().pre_stop(secs(15)).build().unwrap();

    assert_eq!(plan.budget(), secs(15));
    assert_eq!(plan.duration(Phase::LameDuck), secs(5));
    assert_eq!(plan.spread(), secs(5));
    assert!(plan.deadline(Phase::Exit) <= secs(15));
    assert!(plan.hard_deadline() < secs(15));
}

#[test]
fn short_pre_stop_is_taken_off_lame_duck() {
    let plan = Plan::builder().pre_stop(secs(2)).build().unwrap();

    assert_eq!(plan.duration(Phase::LameDuck), secs(8));
    assert_eq!(plan.spread(), secs(5));
}

#[test]
fn long_pre_stop_leaves_lame_duck_a_third() {
    let plan = Plan::builder().pre_stop(secs(27)).build().unwrap();

    assert_eq!(plan.duration(Phase::LameDuck), secs(1));
    assert_eq!(plan.spread(), secs(1));
}

#[test]
fn pre_stop_that_takes_all_is_an_error() {
    for pre_stop in [30, 31] {
        let error = Plan::builder()
            .pre_stop(secs(pre_stop))
            .build()
            .unwrap_err();

        let expected = format!(
            "preStop takes {pre_stop} s of a grace period of 30 s, which leaves no time after SIGTERM"
        );
        assert_eq!(error.to_string(), expected);
    }
}

#[test]
fn lame_duck_by_hand_is_taken_literally() {
    let plan = Plan::builder()
        .lame_duck(secs(10))
        .pre_stop(secs(10))
        .build()
        .unwrap();

    assert_eq!(plan.duration(Phase::LameDuck), secs(10));
    assert_eq!(plan.spread(), secs(5));
}

#[test]
fn spread_is_half_of_a_lame_duck_that_was_set_also_with_a_pre_stop() {
    let plan = Plan::builder()
        .lame_duck(secs(4))
        .pre_stop(secs(5))
        .build()
        .unwrap();

    assert_eq!(plan.spread(), secs(2));
}

#[test]
fn the_one_that_is_derived_gets_the_rest() {
    let drain = Plan::builder().drain(secs(3)).build().unwrap();
    let close = Plan::builder().close(secs(3)).build().unwrap();

    assert_ends(&drain, [10.0, 13.0, 23.0, 28.0, 29.0]);
    assert_ends(&close, [10.0, 20.0, 23.0, 28.0, 29.0]);
}

#[test]
fn spread_longer_than_its_phase_says_by_how_much() {
    let spread = Plan::builder().spread(secs(12)).build().unwrap_err();
    let long = Plan::builder()
        .close(secs(2))
        .long_spread(secs(5))
        .build()
        .unwrap_err();

    assert_eq!(
        spread.to_string(),
        "the spread of 12 s is 2 s longer than the 10 s of LameDuck"
    );
    assert_eq!(
        long.to_string(),
        "the long spread of 5 s is 3 s longer than the 2 s of Close"
    );
}

#[test]
fn long_connections_are_told_in_close_or_earlier_by_option() {
    let close = Plan::builder().build().unwrap();
    let drain = Plan::builder().long_phase(Phase::Drain).build().unwrap();
    let lame_duck = Plan::builder().long_phase(Phase::LameDuck).build().unwrap();

    assert_eq!(
        (close.long_phase(), close.long_spread()),
        (Phase::Close, Duration::from_millis(3_250))
    );
    assert_eq!(
        (drain.long_phase(), drain.long_spread()),
        (Phase::Drain, Duration::from_millis(6_500))
    );
    assert_eq!(
        (lame_duck.long_phase(), lame_duck.long_spread()),
        (Phase::LameDuck, secs(10))
    );
}

#[test]
fn long_connections_cannot_be_told_after_close() {
    for phase in [Phase::Release, Phase::Exit] {
        let error = Plan::builder().long_phase(phase).build().unwrap_err();

        assert_eq!(
            error.to_string(),
            format!("long connections cannot be told in {phase}: they end in Close at the latest")
        );
    }
}

#[test]
fn long_spread_may_be_as_long_as_its_own_phase_only() {
    let plan = |spread| {
        Plan::builder()
            .long_phase(Phase::LameDuck)
            .long_spread(spread)
            .build()
    };

    assert_eq!(plan(secs(10)).unwrap().long_spread(), secs(10));
    assert_eq!(
        plan(secs(11)).unwrap_err().to_string(),
        "the long spread of 11 s is 1 s longer than the 10 s of LameDuck"
    );
}

// Case 30, and 86: what a laptop gets.
#[test]
fn local_plan_waits_for_nobody_and_takes_nine_seconds() {
    let plan = Plan::local();

    assert_eq!(plan.budget(), secs(9));
    assert_ends(&plan, [0.0, 3.45, 6.9, 8.4, 8.7]);
    assert_eq!(
        [plan.spread(), plan.long_spread(), plan.linger()],
        [Duration::ZERO; 3]
    );
}

#[test]
fn immediate_waits_for_nothing_but_work() {
    let plan = Plan::immediate();

    assert_eq!(plan.budget(), secs(30));
    assert_ends(&plan, [0.0, 11.5, 23.0, 28.0, 29.0]);
    assert_eq!(
        [plan.spread(), plan.long_spread(), plan.linger()],
        [Duration::ZERO; 3]
    );
}

#[test]
fn zero_grace_period_means_at_once() {
    for pre_stop in [0, 5] {
        let builder = Plan::builder().grace_period(Duration::ZERO);
        let plan = builder.pre_stop(secs(pre_stop)).build().unwrap();

        assert_ends(&plan, [0.0; 5]);
        let rest = [
            plan.budget(),
            plan.hard_deadline(),
            plan.spread(),
            plan.long_spread(),
            plan.linger(),
        ];
        assert_eq!(rest, [Duration::ZERO; 5]);
        assert!(
            plan.to_string()
                .ends_with("\nterminationGracePeriodSeconds: 0")
        );
    }
}

#[test]
fn reserve_that_leaves_the_watchdog_no_time_is_an_error() {
    for (reserve, words) in [
        (0, "a reserve of 0 s is too short: 0.05 s at least"),
        (49, "a reserve of 0.049 s is too short: 0.05 s at least"),
    ] {
        let builder = Plan::builder().reserve(Duration::from_millis(reserve));

        assert!(builder.build().unwrap_err().to_string().starts_with(words));
    }
    let plan = Plan::builder().reserve(Duration::from_millis(50)).build();
    assert_eq!(plan.unwrap().hard_deadline(), Duration::from_millis(29_975));
}

#[test]
fn reserve_that_is_derived_is_never_too_short() {
    for millis in [1, 10, 100, 1_000, 1_500, 2_000] {
        let grace_period = Duration::from_millis(millis);
        let plan = Plan::builder().grace_period(grace_period).build().unwrap();
        let derived = plan.budget() - plan.deadline(Phase::Exit);

        let again = Plan::builder().grace_period(grace_period);

        assert!(again.reserve(derived).build().is_ok(), "{millis} ms");
    }
}

#[test]
fn reserve_may_be_zero_when_there_is_no_time_at_all() {
    let builder = Plan::builder().grace_period(Duration::ZERO);

    assert!(builder.reserve(Duration::ZERO).build().is_ok());
}

#[test]
fn watchdog_stands_half_a_second_after_exits_deadline_at_most() {
    let short_phases = Plan::builder()
        .grace_period(secs(300))
        .drain(secs(5))
        .close(secs(5));
    let long_reserve = Plan::builder().reserve(secs(5));

    for plan in [short_phases.build().unwrap(), long_reserve.build().unwrap()] {
        let after = plan.hard_deadline() - plan.deadline(Phase::Exit);
        assert_eq!(after, Duration::from_millis(500));
    }
}

type Setter = fn(PlanBuilder, Duration) -> PlanBuilder;

const SETTERS: [Setter; 13] = [
    PlanBuilder::grace_period,
    PlanBuilder::pre_stop,
    PlanBuilder::lame_duck,
    PlanBuilder::drain,
    PlanBuilder::close,
    PlanBuilder::release,
    PlanBuilder::exit,
    PlanBuilder::reserve,
    PlanBuilder::spread,
    PlanBuilder::long_spread,
    PlanBuilder::linger,
    |builder, min| builder.leave_early(LeaveEarly::new().min(min)),
    |builder, quiet| builder.leave_early(LeaveEarly::new().quiet(quiet)),
];

#[test]
fn more_than_ten_years_is_out_of_range() {
    for setter in SETTERS {
        for value in [TEN_YEARS + Duration::from_nanos(1), Duration::MAX] {
            let error = setter(Plan::builder(), value).build().unwrap_err();

            assert!(matches!(error, PlanError::OutOfRange { .. }), "{error}");
        }
    }
}

#[test]
fn leave_early_out_of_range_is_named() {
    let early = LeaveEarly::new().min(Duration::MAX);

    let error = Plan::builder().leave_early(early).build().unwrap_err();

    assert_eq!(
        error.to_string(),
        "LeaveEarly::min is 18446744073709551616 s, expected at most ten years (315360000 s)"
    );
}

#[test]
fn ten_years_are_in_range() {
    let plan = Plan::builder().grace_period(TEN_YEARS).build().unwrap();

    assert_eq!(plan.budget(), TEN_YEARS);
}

#[test]
fn extremes_do_not_panic() {
    let extremes = [
        Duration::ZERO,
        Duration::from_nanos(1),
        secs(31),
        TEN_YEARS,
        Duration::MAX,
    ];

    for first in SETTERS {
        for second in SETTERS {
            for (a, b) in extremes.iter().flat_map(|a| extremes.map(|b| (*a, b))) {
                match second(first(Plan::builder(), a), b).build() {
                    Ok(plan) => {
                        assert!(plan.deadline(Phase::Exit) <= plan.hard_deadline());
                        assert!(plan.hard_deadline() <= plan.budget());
                        let _ = plan.to_string();
                    }
                    Err(error) => assert!(!error.to_string().ends_with('.')),
                }
            }
        }
    }
}

#[test]
fn printed_plan_is_a_timeline_and_a_manifest() {
    let builder = Plan::builder().pre_stop(secs(15));

    let plan = builder
        .lame_duck(Duration::from_millis(2_500))
        .build()
        .unwrap();

    let expected = r#"
15 s from SIGTERM to SIGKILL
(grace period 30 s, preStop 15 s)

    0.00 s     2.50 s  LameDuck  keep serving
    2.50 s     7.00 s  Drain     finish what is in flight
    7.00 s    11.50 s  Close     end long connections
   11.50 s    14.00 s  Release   close pools
   14.00 s    14.50 s  Exit      flush telemetry
              14.75 s  watchdog  end the process if it is still there
              15.00 s  SIGKILL   the grace period is over

requests are cut 11.5 s after SIGTERM,
or after 14 s if no hook of Release needs the time

# pod
terminationGracePeriodSeconds: 30
# container
env:
  - name: TERMINATION_GRACE_PERIOD_SECONDS
    value: "30"
  - name: PRE_STOP_SECONDS
    value: "15"
  - name: LAME_DUCK_SECONDS
    value: "2.5""#;
    assert_eq!(format!("\n{plan}"), expected);
}

#[test]
fn printed_plan_leaves_out_what_is_derived() {
    let text = Plan::builder().build().unwrap().to_string();

    assert!(text.contains("TERMINATION_GRACE_PERIOD_SECONDS\n    value: \"30\""));
    assert!(!text.contains("PRE_STOP_SECONDS"));
    assert!(!text.contains("LAME_DUCK_SECONDS"));
}

#[test]
fn printed_plan_fits_eighty_columns() {
    let odd = TEN_YEARS - Duration::from_nanos(123_456_789);
    let longest = Plan::builder()
        .grace_period(odd)
        .pre_stop(odd / 3)
        .lame_duck(odd / 7);

    for plan in [longest.build().unwrap(), Plan::local(), Plan::immediate()] {
        for line in plan.to_string().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }
}

#[test]
fn manifest_has_whole_seconds_that_suffice() {
    let plan = Plan::builder()
        .grace_period(Duration::from_millis(2_500))
        .build()
        .unwrap();

    let text = plan.to_string();

    assert!(text.contains("\nterminationGracePeriodSeconds: 3\n"));
    assert!(text.contains("value: \"2.5\""));
}

#[test]
fn plan_comes_from_a_lookup_as_it_does_from_the_environment() {
    let asked = std::cell::RefCell::new(Vec::new());

    let builder = Plan::builder().env_from(|name| {
        asked.borrow_mut().push(name.to_owned());
        (name == "PRE_STOP_SECONDS").then(|| "5".into())
    });

    let plan = builder.unwrap().build().unwrap();
    assert_eq!((plan.pre_stop(), plan.budget()), (secs(5), secs(25)));
    assert!(plan.is_assumed());
    let platforms = [
        "KUBERNETES_SERVICE_HOST",
        "ECS_CONTAINER_METADATA_URI_V4",
        "K_SERVICE",
        "CONTAINER_APP_NAME",
        "FLY_APP_NAME",
        "NOMAD_ALLOC_ID",
        "DYNO",
    ];
    for name in asked.into_inner() {
        assert!(name.ends_with("_SECONDS") || platforms.contains(&name.as_str()));
    }
}

/// Prints what this process makes of its environment.
#[test]
#[ignore = "run by `plan_comes_from_the_environment`, in a process with an environment of its own"]
fn child_prints_its_plan() {
    tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(std::io::stdout)
        .init();
    match Plan::from_env() {
        Ok(plan) => {
            println!("{plan}\nassumed: {}", plan.is_assumed());
            drop(ShutdownCoordinator::new(plan));
        }
        Err(error) => println!("error: {error}"),
    }
}

fn printed_with(environment: &[(&str, &str)]) -> String {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args([
        "--exact",
        "child_prints_its_plan",
        "--ignored",
        "--nocapture",
    ]);
    for name in [
        "KUBERNETES_SERVICE_HOST",
        "TERMINATION_GRACE_PERIOD_SECONDS",
        "PRE_STOP_SECONDS",
        "LAME_DUCK_SECONDS",
    ] {
        child.env_remove(name);
    }
    let output = child.envs(environment.iter().copied()).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

// Case 86.
#[test]
fn plan_comes_from_the_environment() {
    const KUBERNETES: (&str, &str) = ("KUBERNETES_SERVICE_HOST", "10.0.0.1");

    let told = printed_with(&[
        KUBERNETES,
        // So much that a CPU quota of this machine changes nothing.
        ("TERMINATION_GRACE_PERIOD_SECONDS", "45"),
        ("PRE_STOP_SECONDS", "15"),
    ]);
    assert!(told.contains("30 s from SIGTERM to SIGKILL"));
    assert!(told.contains("    0.00 s     5.00 s  LameDuck"));
    assert!(told.contains("   28.00 s    29.00 s  Exit"));
    assert!(told.contains("grace period 45 s (TERMINATION_GRACE_PERIOD_SECONDS)"));
    let cut =
        "; requests are cut 23 s after SIGTERM, or after 28 s if no hook of Release needs the time";
    assert!(told.contains(cut));
    assert!(told.contains("assumed: false"));
    assert!(!told.contains("WARN"));

    let assumed = printed_with(&[KUBERNETES]);
    assert!(assumed.contains("30 s from SIGTERM to SIGKILL"));
    assert!(assumed.contains("assumed: true"));
    assert!(assumed.contains("WARN lameduck: the grace period is assumed to be 30 s"));

    let fly = printed_with(&[("FLY_APP_NAME", "shop")]);
    assert!(fly.contains("9 s from SIGTERM to SIGKILL"));
    assert!(fly.contains("WARN lameduck: this is Fly.io (FLY_APP_NAME is set), which kills 5 s after its signal by default"));
    assert!(fly.contains("`PlanBuilder::platform(Platform::Fly)`"));

    let local = printed_with(&[]);
    assert!(local.contains("9 s from SIGTERM to SIGKILL"));
    assert!(local.contains("    0.00 s     0.00 s  LameDuck"));
    assert!(!local.contains("WARN"));

    let malformed = printed_with(&[("LAME_DUCK_SECONDS", "15s")]);
    assert!(malformed.contains(r#"error: LAME_DUCK_SECONDS is "15s", expected a number"#));
}
