//! What only the inside can see: where the numbers came from, and what the summary says.

use std::ffi::OsString;
use std::time::Duration;

use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::cases;

const KUBERNETES_VARIABLE: &str = "KUBERNETES_SERVICE_HOST";
const KUBERNETES: (&str, &str) = (KUBERNETES_VARIABLE, "10.0.0.1");

const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn with_vars(builder: PlanBuilder, vars: &[(&str, &str)]) -> Result<PlanBuilder, PlanError> {
    builder.env_from(|name| {
        let found = vars.iter().find(|(known, _)| *known == name);
        found.map(|(_, value)| OsString::from(value))
    })
}

fn plan_from(vars: &[(&str, &str)]) -> Result<Plan, PlanError> {
    with_vars(Plan::builder(), vars)?.build()
}

#[test]
fn what_no_phase_takes_is_reserve() {
    let builder = Plan::builder()
        .lame_duck(secs(1))
        .drain(secs(2))
        .close(secs(3));
    let plan = builder
        .release(secs(4))
        .exit(secs(5))
        .reserve(secs(1))
        .build()
        .unwrap();

    assert_eq!(plan.hard_deadline(), Duration::from_millis(15_500));
    assert!(plan.summary().contains("reserve 15 s (derived)"));
}

#[test]
fn reserve_that_nothing_is_added_to_is_the_one_that_was_set() {
    let plan = Plan::builder().reserve(secs(2)).build().unwrap();

    assert!(plan.summary().contains("reserve 2 s (set)"));
}

#[test]
fn grace_period_is_assumed_inside_kubernetes() {
    for host in ["10.0.0.1", ""] {
        let plan = plan_from(&[(KUBERNETES_VARIABLE, host)]).unwrap();

        assert!(plan.is_assumed());
        assert_eq!(plan.grace_period(), secs(30));
    }
}

#[test]
fn grace_period_is_assumed_when_only_others_are_set() {
    for place in [KUBERNETES, ("HOME", "/root")] {
        let plan = plan_from(&[place, (LAME_DUCK_VARIABLE, "15")]).unwrap();

        assert!(plan.is_assumed());
        assert_eq!(plan.grace_period(), secs(30));
        assert_eq!(plan.duration(Phase::LameDuck), secs(15));
    }
}

#[test]
fn plan_is_local_outside_kubernetes() {
    let plan = plan_from(&[]).unwrap();

    assert_eq!(plan.summary(), Plan::local().summary());
    assert!(!plan.is_assumed());
}

#[test]
fn what_was_set_in_code_stays_outside_kubernetes_and_30_s_are_assumed() {
    let set = |builder: PlanBuilder| {
        builder
            .lame_duck(secs(8))
            .pre_stop(secs(2))
            .release(secs(4))
    };
    let before = with_vars(set(Plan::builder()), &[]).unwrap();
    let after = set(with_vars(Plan::builder(), &[]).unwrap());

    for plan in [before.build().unwrap(), after.build().unwrap()] {
        assert!(plan.is_assumed());
        assert_eq!(plan.grace_period(), secs(30));
        assert_eq!(plan.pre_stop(), secs(2));
        assert_eq!(plan.duration(Phase::LameDuck), secs(8));
        assert_eq!(plan.duration(Phase::Release), secs(4));
    }
}

#[test]
fn plan_is_local_outside_kubernetes_only_when_code_has_set_nothing() {
    let setters: [fn(PlanBuilder) -> PlanBuilder; 15] = [
        |builder| builder.platform(Platform::Ecs),
        |builder| builder.grace_period(secs(30)),
        |builder| builder.pre_stop(secs(1)),
        |builder| builder.lame_duck(secs(1)),
        |builder| builder.drain(secs(1)),
        |builder| builder.close(secs(1)),
        |builder| builder.release(secs(1)),
        |builder| builder.exit(secs(1)),
        |builder| builder.reserve(secs(1)),
        |builder| builder.spread(secs(1)),
        |builder| builder.long_phase(Phase::Close),
        |builder| builder.long_phase(Phase::Drain),
        |builder| builder.long_spread(secs(1)),
        |builder| builder.linger(secs(1)),
        |builder| builder.leave_early(LeaveEarly::new()),
    ];

    for (at, set) in setters.into_iter().enumerate() {
        let before = with_vars(set(Plan::builder()), &[]).unwrap();
        let after = set(with_vars(Plan::builder(), &[]).unwrap());

        for plan in [before.build().unwrap(), after.build().unwrap()] {
            assert_eq!(plan.budget() + plan.pre_stop(), secs(30), "{at}");
        }
    }
}

#[test]
fn variables_are_read() {
    let vars = [
        (GRACE_PERIOD_VARIABLE, "60"),
        (PRE_STOP_VARIABLE, " 2.5\n"),
        (LAME_DUCK_VARIABLE, "0"),
    ];

    let plan = plan_from(&vars).unwrap();

    assert_eq!(plan.grace_period(), secs(60));
    assert_eq!(plan.pre_stop(), Duration::from_millis(2_500));
    assert_eq!(plan.duration(Phase::LameDuck), Duration::ZERO);
    assert!(!plan.is_assumed());
}

#[test]
fn malformed_values_are_named() {
    let values = [
        "", " ", "15s", "-1", "+1", "NaN", "inf", "1e3", ".5", "5.", ".", "1.2.3", "1,5", "1 5",
        "0x10", "1_0", "٣",
    ];

    for name in [GRACE_PERIOD_VARIABLE, PRE_STOP_VARIABLE, LAME_DUCK_VARIABLE] {
        for value in values {
            let error = plan_from(&[(name, value)]).unwrap_err();

            assert_eq!(
                error,
                PlanError::MalformedVariable {
                    name,
                    value: value.to_owned()
                }
            );
        }
    }
}

#[test]
fn malformed_value_says_what_was_expected() {
    let error = plan_from(&[(LAME_DUCK_VARIABLE, "15s")]).unwrap_err();

    assert_eq!(
        error.to_string(),
        r#"LAME_DUCK_SECONDS is "15s", expected a number of seconds such as "15" or "2.5""#
    );
}

#[cfg(unix)]
#[test]
fn value_that_is_not_unicode_is_malformed() {
    use std::os::unix::ffi::OsStringExt;

    let builder = Plan::builder().env_from(|_| Some(OsString::from_vec(vec![b'1', 0xff])));

    let value = "1\u{fffd}".to_owned();
    let name = GRACE_PERIOD_VARIABLE;
    assert_eq!(
        builder.unwrap_err(),
        PlanError::MalformedVariable { name, value }
    );
}

#[test]
fn zero_grace_period_in_a_variable_is_an_error() {
    for zero in ["0", "0.0", "000"] {
        let error = plan_from(&[(GRACE_PERIOD_VARIABLE, zero)]).unwrap_err();

        assert_eq!(
            error,
            PlanError::ZeroVariable {
                name: GRACE_PERIOD_VARIABLE
            }
        );
    }
}

#[test]
fn variable_overrides_what_was_set_before() {
    let builder = Plan::builder()
        .grace_period(secs(20))
        .lame_duck(secs(1))
        .pre_stop(secs(1));

    let builder = with_vars(
        builder,
        &[(GRACE_PERIOD_VARIABLE, "60"), (LAME_DUCK_VARIABLE, "7")],
    );
    let plan = builder.unwrap().build().unwrap();

    assert_eq!(plan.grace_period(), secs(60));
    assert_eq!(plan.duration(Phase::LameDuck), secs(7));
    assert_eq!(plan.pre_stop(), secs(1));
}

#[test]
fn what_is_set_after_overrides_the_variable() {
    let builder = with_vars(Plan::builder(), &[(GRACE_PERIOD_VARIABLE, "60")]).unwrap();

    let plan = builder
        .grace_period(secs(40))
        .grace_period(secs(20))
        .build()
        .unwrap();

    assert_eq!(plan.grace_period(), secs(20));
}

#[test]
fn grace_period_by_hand_is_never_assumed() {
    for vars in [&[][..], &[KUBERNETES], &[(PRE_STOP_VARIABLE, "5")]] {
        let before = with_vars(Plan::builder().grace_period(secs(20)), vars).unwrap();
        let after = with_vars(Plan::builder(), vars)
            .unwrap()
            .grace_period(secs(20));

        for plan in [before.build().unwrap(), after.build().unwrap()] {
            assert_eq!(plan.grace_period(), secs(20));
            assert!(!plan.is_assumed());
        }
    }
}

#[test]
fn variable_out_of_range_is_quoted_as_it_was_given() {
    for name in VARIABLES {
        for value in [
            "315360001",
            "18446744073709551615.9999999999",
            "99999999999999999999999",
        ] {
            let error = plan_from(&[(name, value)]).unwrap_err();

            let expected = format!("{name} is {value:?}, expected at most ten years (315360000 s)");
            assert_eq!(error.to_string(), expected);
        }
    }
}

#[test]
fn ten_years_in_a_variable_are_in_range() {
    let plan = plan_from(&[(GRACE_PERIOD_VARIABLE, "315360000")]).unwrap();

    assert_eq!(plan.budget(), secs(315_360_000));
}

#[test]
fn long_value_is_cut_in_the_error() {
    for (value, words) in [
        ("x".repeat(100_000), "expected a number of seconds"),
        ("9".repeat(100_000), "expected at most ten years"),
        ("\u{7f}".repeat(100_000), "expected a number of seconds"),
    ] {
        let error = plan_from(&[(PRE_STOP_VARIABLE, &value)]).unwrap_err();

        let error = error.to_string();
        assert!(error.contains(words), "{error}");
        assert!(error.contains('…') && error.len() < 600, "{}", error.len());
    }
}

#[test]
fn printed_variables_lead_back_to_the_plan() {
    let by_hand = Plan::builder().lame_duck(Duration::new(3, 141_592_653));
    let pre_stop = Plan::builder().pre_stop(secs(7));

    for plan in [
        by_hand.build().unwrap(),
        pre_stop.build().unwrap(),
        Plan::local(),
    ] {
        let values = plan
            .variables()
            .into_iter()
            .map(|(name, value)| (name, decimal(value)));
        let values: Vec<(&str, String)> = values.collect();
        let vars: Vec<(&str, &str)> = values
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let again = plan_from(&vars).unwrap();

        for phase in Phase::EACH {
            assert_eq!(again.deadline(phase), plan.deadline(phase));
        }
    }
}

#[test]
fn summary_names_origins() {
    let vars = [(GRACE_PERIOD_VARIABLE, "30"), (PRE_STOP_VARIABLE, "15")];
    let builder = with_vars(Plan::builder(), &vars).unwrap().drain(secs(3));

    let summary = builder.build().unwrap().summary();

    assert_eq!(
        summary,
        "grace period 30 s (TERMINATION_GRACE_PERIOD_SECONDS), preStop 15 s (PRE_STOP_SECONDS), \
             LameDuck 5 s (derived), Drain 3 s (set), Close 3.5 s (derived), Release 2.5 s (derived), \
             Exit 0.5 s (derived), reserve 0.5 s (derived), spread 5 s (derived), \
             long spread 1.75 s (derived), linger 1 s (derived); \
             requests are cut 11.5 s after SIGTERM, or after 14 s if no hook of Release needs the time"
    );
}

#[test]
fn summary_says_in_which_phase_long_connections_are_told() {
    for (phase, words) in [
        (Phase::LameDuck, ", long spread in LameDuck 10 s (derived)"),
        (Phase::Drain, ", long spread in Drain 6.5 s (derived)"),
        (Phase::Close, ", long spread 3.25 s (derived)"),
    ] {
        let summary = Plan::builder().long_phase(phase).build().unwrap().summary();

        assert!(summary.contains(words), "{summary}");
    }
}

#[test]
fn summary_and_printed_plan_say_when_requests_are_cut() {
    let plan = Plan::builder().build().unwrap();
    let words = [
        "requests are cut 23 s after SIGTERM",
        "or after 28 s if no hook of Release needs the time",
    ];
    assert!(plan.summary().ends_with(&words.join(", ")));
    assert!(plan.to_string().contains(&words.join(",\n")));

    let without_release = Plan::builder().release(Duration::ZERO).build().unwrap();
    assert!(
        without_release
            .summary()
            .ends_with("; requests are cut 28 s after SIGTERM")
    );
    assert!(
        without_release
            .to_string()
            .contains("\nrequests are cut 28 s after SIGTERM\n\n# pod")
    );
}

#[test]
fn summary_tells_default_assumed_and_local_apart() {
    let default = Plan::builder().build().unwrap().summary();
    let assumed = plan_from(&[KUBERNETES]).unwrap().summary();

    assert!(default.starts_with(
        "grace period 30 s (default), preStop 0 s (default), LameDuck 10 s (derived)"
    ));
    assert!(assumed.starts_with("grace period 30 s (assumed)"));
    assert!(
        Plan::local()
            .summary()
            .starts_with("grace period 9 s (local)")
    );
    assert!(Plan::local().summary().contains("LameDuck 0 s (local)"));
}

/// The variable of each platform that has one, but for Kubernetes.
const PLATFORMS: [(&str, Platform); 6] = [
    ("ECS_CONTAINER_METADATA_URI_V4", Platform::Ecs),
    ("K_SERVICE", Platform::CloudRun),
    ("CONTAINER_APP_NAME", Platform::ContainerApps),
    ("FLY_APP_NAME", Platform::Fly),
    ("NOMAD_ALLOC_ID", Platform::Nomad),
    ("DYNO", Platform::Heroku),
];

#[test]
fn platform_that_is_recognised_is_warned_of_and_never_guessed() {
    for (variable, platform) in PLATFORMS {
        let plan = plan_from(&[(variable, "x")]).unwrap();

        assert_eq!(plan.summary(), Plan::local().summary());
        let words = plan.unnamed().unwrap();
        let start = format!("this is {platform} ({variable} is set), which kills ");
        assert!(words.starts_with(&start), "{words}");
        assert!(words.contains("the plan takes 9 s"), "{words}");
        assert!(!words.contains("  "), "{words}");
    }
}

#[test]
fn platform_is_not_warned_of_when_a_number_was_given() {
    for (variable, platform) in PLATFORMS {
        let told = plan_from(&[(variable, "x"), (GRACE_PERIOD_VARIABLE, "20")]).unwrap();
        let set = with_vars(Plan::builder().grace_period(secs(20)), &[(variable, "x")]);
        let named = with_vars(Plan::builder().platform(platform), &[(variable, "x")]);
        let named_after = with_vars(Plan::builder(), &[(variable, "x")]);
        let named_after = named_after.map(|builder| builder.platform(platform));

        for builder in [set, named, named_after] {
            assert_eq!(builder.unwrap().build().unwrap().unnamed(), None);
        }
        assert_eq!(told.unnamed(), None);
    }
}

#[test]
fn platform_is_warned_of_when_only_others_are_set() {
    let plan = plan_from(&[("FLY_APP_NAME", "x"), (LAME_DUCK_VARIABLE, "1")]).unwrap();

    assert!(plan.is_assumed());
    assert!(plan.unnamed().unwrap().contains("the plan takes 30 s"));
}

#[test]
fn platform_on_top_of_kubernetes_is_kubernetes() {
    let plan = plan_from(&[KUBERNETES, ("K_SERVICE", "x")]).unwrap();

    assert!(plan.is_assumed());
    assert_eq!(plan.unnamed(), None);
}

#[test]
fn named_platform_gives_its_numbers_and_what_is_set_stays() {
    let fly = Plan::on(Platform::Fly).summary();
    assert!(
        fly.starts_with("grace period 5 s (default of Fly.io), preStop 0 s (default), LameDuck 1.667 s (derived)"),
        "{fly}"
    );
    let ecs = Plan::on(Platform::Ecs).summary();
    assert!(
        ecs.contains("LameDuck 5 s (default of Amazon ECS)"),
        "{ecs}"
    );
    let docker = Plan::on(Platform::Docker);
    assert_eq!(docker.duration(Phase::LameDuck), Duration::ZERO);

    let vars = [(GRACE_PERIOD_VARIABLE, "60")];
    for builder in [
        with_vars(Plan::builder().platform(Platform::Fly), &vars).unwrap(),
        with_vars(Plan::builder(), &vars)
            .unwrap()
            .platform(Platform::Fly),
    ] {
        assert_eq!(builder.build().unwrap().grace_period(), secs(60));
    }
    // In a pod, and where only another number is set, the named platform's is taken and nothing is assumed.
    for vars in [KUBERNETES, (LAME_DUCK_VARIABLE, "1")] {
        let plan = with_vars(Plan::builder().platform(Platform::Heroku), &[vars]);
        let plan = plan.unwrap().build().unwrap();
        assert_eq!((plan.grace_period(), plan.is_assumed()), (secs(30), false));
    }
}

#[test]
fn platforms_lame_duck_is_never_longer_than_the_derived_one() {
    for seconds in 1..=60 {
        for &platform in Platform::ALL {
            let derived = Plan::builder().grace_period(secs(seconds)).build().unwrap();
            let named = Plan::builder()
                .grace_period(secs(seconds))
                .platform(platform);
            let named = named.build().unwrap();

            let lame_duck = |plan: &Plan| plan.duration(Phase::LameDuck);
            assert!(
                lame_duck(&named) <= lame_duck(&derived),
                "{platform} {seconds}"
            );
        }
    }
}

const TENTH: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(100));
const LATE_WITH_A_TENTH: Duration = Duration::from_millis(500);

fn under_a_tenth(builder: PlanBuilder) -> Plan {
    builder.cpu_quota(TENTH.0, TENTH.1).build().unwrap()
}

#[test]
fn cpu_quota_keeps_its_lateness_between_the_watchdog_and_sigkill() {
    for seconds in [3, 4, 5, 9, 10, 15, 26, 27, 30, 60] {
        let builder = Plan::builder().grace_period(secs(seconds));
        let (plain, tight) = (builder.clone().build().unwrap(), under_a_tenth(builder));

        let left = |plan: &Plan| plan.budget() - plan.hard_deadline();
        assert_eq!(
            left(&tight),
            left(&plain).max(LATE_WITH_A_TENTH),
            "{seconds}"
        );
        // The watchdog comes as long after Exit as ever, and what is not Drain's or Close's keeps its time.
        let after_exit = |plan: &Plan| plan.hard_deadline() - plan.deadline(Phase::Exit);
        assert_eq!(after_exit(&tight), after_exit(&plain), "{seconds}");
        for phase in [Phase::LameDuck, Phase::Release, Phase::Exit] {
            assert_eq!(tight.duration(phase), plain.duration(phase), "{seconds}");
        }
    }
}

#[test]
fn cpu_quota_takes_half_of_drain_and_close_at_most() {
    let builder = Plan::builder().grace_period(secs(2));
    let (plain, tight) = (builder.clone().build().unwrap(), under_a_tenth(builder));

    let both = |plan: &Plan| plan.duration(Phase::Drain) + plan.duration(Phase::Close);
    assert_eq!(both(&tight), both(&plain) - both(&plain) / 2);
}

#[test]
fn cpu_quota_changes_nothing_from_30_s_on_and_no_reserve_that_is_set() {
    for seconds in [30, 60, 300] {
        let builder = Plan::builder().grace_period(secs(seconds));
        let (plain, tight) = (builder.clone().build().unwrap(), under_a_tenth(builder));

        assert_eq!(tight.hard_deadline(), plain.hard_deadline());
        assert_eq!(
            Phase::EACH.map(|it| tight.deadline(it)),
            Phase::EACH.map(|it| plain.deadline(it))
        );
    }

    let reserved = Plan::builder()
        .grace_period(secs(5))
        .reserve(Duration::from_millis(200));
    let (plain, tight) = (reserved.clone().build().unwrap(), under_a_tenth(reserved));
    assert_eq!(tight.hard_deadline(), plain.hard_deadline());
    assert!(tight.summary().contains("reserve 0.2 s (set)"));
}

#[test]
fn plan_that_fits_without_a_cpu_quota_fits_with_any() {
    let likely = (0..40_000_u64).prop_map(Duration::from_millis);
    let numbers = prop::collection::vec(option::weighted(0.4, likely), 6);
    let periods = prop_oneof![0..2_000_u64, Just(u64::MAX)].prop_map(Duration::from_millis);
    cases::check(1_000, (numbers, periods), |(numbers, period)| {
        let setters = [
            PlanBuilder::grace_period,
            PlanBuilder::lame_duck,
            PlanBuilder::drain,
            PlanBuilder::close,
            PlanBuilder::release,
            PlanBuilder::reserve,
        ];
        let set = numbers.iter().zip(setters);
        let builder = set.fold(Plan::builder(), |builder, (number, set)| match number {
            Some(number) => set(builder, *number),
            None => builder,
        });
        let Ok(plain) = builder.clone().build() else {
            return;
        };

        let tight = builder
            .cpu_quota(Duration::from_millis(1), period)
            .build()
            .unwrap();

        assert!(
            tight.deadline(Phase::Exit) <= tight.hard_deadline(),
            "{tight}"
        );
        assert!(tight.hard_deadline() <= plain.hard_deadline(), "{tight}");
        assert!(tight.budget() == plain.budget());
    });
}

#[test]
fn summary_says_what_the_cpu_quota_asks_for() {
    let plan = under_a_tenth(Plan::builder().grace_period(secs(2)));

    let summary = plan.summary();
    assert!(summary.contains("reserve 0.5 s (derived)"), "{summary}");
    assert!(
        summary.contains("; a CPU quota of 10ms in each 100ms: the watchdog acts 0.467 s before SIGKILL; requests are cut "),
        "{summary}"
    );
    assert!(!Plan::local().summary().contains("quota"));
}

#[test]
fn local_plan_keeps_the_cpu_quota() {
    let local = with_vars(Plan::builder().cpu_quota(TENTH.0, TENTH.1), &[]).unwrap();

    let plan = local.build().unwrap();

    assert_eq!(plan.grace_period(), secs(9));
    assert_eq!(plan.budget() - plan.hard_deadline(), LATE_WITH_A_TENTH);
}

#[cfg(feature = "signal")]
#[test]
fn cpu_quota_that_the_plan_does_not_allow_for_is_told() {
    let found = Some(CpuQuota {
        time: TENTH.0,
        period: TENTH.1,
    });
    let plain = Plan::builder().grace_period(secs(5));
    let untold = plain
        .clone()
        .build()
        .unwrap()
        .too_late_under(found)
        .unwrap();
    assert!(
        untold.contains("leaves 0.083 s between the watchdog and SIGKILL"),
        "{untold}"
    );
    assert!(
        untold.contains("`PlanBuilder::env` reads the quota"),
        "{untold}"
    );
    let reserved = under_a_tenth(plain.clone().reserve(Duration::from_millis(200)));
    assert!(reserved.too_late_under(None).is_some());

    assert_eq!(under_a_tenth(plain.clone()).too_late_under(found), None);
    assert_eq!(plain.build().unwrap().too_late_under(None), None);
    assert_eq!(Plan::builder().build().unwrap().too_late_under(found), None);
}

const VARIABLES: [&str; 3] = [GRACE_PERIOD_VARIABLE, PRE_STOP_VARIABLE, LAME_DUCK_VARIABLE];

/// What the documentation says: digits, perhaps a dot and digits, and white space around them.
fn is_number(text: &str) -> bool {
    let parts: Vec<&str> = text.trim().split('.').collect();
    let digits = |part: &&str| !part.is_empty() && part.chars().all(|it| it.is_ascii_digit());
    parts.len() <= 2 && parts.iter().all(digits)
}

#[test]
fn any_text_in_a_variable_is_a_number_or_an_error_that_names_both() {
    let likely = "[ \t\n]{0,2}[0-9]{0,12}[.,eE+xs_-]{0,1}[0-9]{0,12}[ \ts.]{0,2}";
    let texts = prop_oneof![3 => likely, 1 => any::<String>()];
    cases::check(1_000, (0..3_usize, texts), |(at, text)| {
        let name = VARIABLES[at];
        match plan_from(&[(name, &text)]) {
            Ok(_) => assert!(is_number(&text)),
            Err(PlanError::MalformedVariable { name: named, value }) => {
                assert!(!is_number(&text));
                assert_eq!((named, value.as_str()), (name, text.as_str()));
            }
            Err(error) => {
                assert!(is_number(&text));
                // What a preStop hook or a LameDuck of this length leaves of the 30 s is another matter.
                let fits = matches!(
                    error,
                    PlanError::PreStopTakesAll { .. } | PlanError::TooLong { .. }
                );
                assert!(fits || error.to_string().starts_with(name), "{error}");
            }
        }
    });
}

#[test]
fn any_bytes_in_a_variable_are_read_or_refused() {
    let bytes = prop::collection::vec(any::<u8>(), 0..12);
    cases::check(500, (0..3_usize, bytes), |(at, bytes)| {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let is_unicode = std::str::from_utf8(&bytes).is_ok();
        #[cfg(unix)]
        let value: OsString = std::os::unix::ffi::OsStringExt::from_vec(bytes);
        #[cfg(not(unix))]
        let value = OsString::from(&text);

        let read = Plan::builder().env_from(|name| (name == VARIABLES[at]).then(|| value.clone()));

        if let Err(PlanError::MalformedVariable { name, value }) = read {
            assert!(!is_unicode || !is_number(&text));
            assert_eq!((name, value), (VARIABLES[at], text));
        } else {
            assert!(is_unicode && is_number(&text));
        }
    });
}

#[test]
fn number_in_a_variable_is_read_to_the_nanosecond() {
    let numbers = (0..315_360_000_u64, 0..1_000_000_000_u32, 0..=9_usize);
    cases::check(500, numbers, |(seconds, nanos, digits)| {
        let unit = 10_u32.pow(9 - digits as u32);
        let nanos = nanos - nanos % unit;
        let text = match digits {
            0 => seconds.to_string(),
            _ => format!("{seconds}.{:0digits$}", nanos / unit),
        };

        let builder = with_vars(Plan::builder(), &[(GRACE_PERIOD_VARIABLE, &text)]);

        let exact = Duration::new(seconds, nanos);
        match builder.and_then(PlanBuilder::build) {
            Ok(plan) => assert_eq!(plan.grace_period(), exact, "{text}"),
            Err(error) => assert!(exact.is_zero(), "{error}"),
        }
    });
}

#[test]
fn any_numbers_make_a_plan_that_fits_or_an_error() {
    let likely = (0..40_000_u64).prop_map(Duration::from_millis);
    let number = prop_oneof![9 => likely, 1 => any::<Duration>()];
    let numbers = prop::collection::vec(option::weighted(0.3, number), 11);
    let phases = (0..5_usize).prop_map(|at| Phase::EACH[at]);
    cases::check(1_000, (numbers, phases), |(numbers, phase)| {
        let setters = [
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
        ];
        let set = numbers.iter().zip(setters);
        let builder = set.fold(Plan::builder(), |builder, (number, set)| match number {
            Some(number) => set(builder, *number),
            None => builder,
        });

        match builder.long_phase(phase).build() {
            Ok(plan) => {
                let deadlines = Phase::EACH.map(|phase| plan.deadline(phase));
                assert!(deadlines.is_sorted(), "{plan}");
                assert!(deadlines[4] <= plan.hard_deadline(), "{plan}");
                assert!(plan.hard_deadline() <= plan.budget(), "{plan}");
                assert!(plan.spread() <= plan.duration(Phase::LameDuck), "{plan}");
                assert!(!plan.summary().contains('\n'));
            }
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}
