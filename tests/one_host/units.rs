//! The unit files of `examples/systemd/`: systemd understands them, and they fit the plan and the example.

use std::collections::HashMap;
use std::process::Command;
use std::time::Duration;

use lameduck::{Phase, Plan};

use crate::process::Scratch;

const UNITS: [&str; 2] = ["notes.service", "notes.socket"];

/// What the service runs, which is not installed here.
const PROGRAM: &str = "/usr/local/bin/restart";

#[test]
fn unit_files_are_understood_by_systemd() {
    let scratch = Scratch::new("units");
    let Some(complaints) = verify(&scratch, |_, text| text) else {
        println!("skipped: systemd-analyze is not installed here");
        return;
    };
    let typo = Scratch::new("units-typo");
    let typo = verify(&typo, |_, text| {
        text.replace("WatchdogSec=", "WatchdogSecs=")
    });

    assert_eq!(complaints, "");
    assert!(typo.unwrap().contains("WatchdogSecs"));
}

/// What systemd says of the units. `None` where it is not installed.
fn verify(scratch: &Scratch, change: impl Fn(&str, String) -> String) -> Option<String> {
    let paths = UNITS.map(|name| {
        let path = scratch.path(name);
        let text = change(name, read(name)).replace(PROGRAM, "/bin/true");
        std::fs::write(&path, text).unwrap();
        path
    });
    let mut command = Command::new("systemd-analyze");
    command.arg("verify").arg("--man=no").args(&paths);
    let output = command.output().ok()?;
    let said = String::from_utf8_lossy(&output.stderr);
    // Units of the system may be broken on their own.
    let about_ours = said.lines().filter(|line| line.contains("notes"));
    Some(about_ours.collect::<Vec<_>>().join("\n"))
}

#[test]
fn unit_files_fit_the_plan_and_the_example() {
    let [service, socket] = UNITS.map(|name| settings(&read(name)));
    let environment: HashMap<_, _> = service["Environment"]
        .iter()
        .flat_map(|it| it.split(' '))
        .filter_map(|it| it.split_once('='))
        .collect();

    let plan = Plan::builder()
        .env_from(|name| environment.get(name).map(|it| (*it).into()))
        .unwrap();
    let plan = plan.build().unwrap();

    let timeout: u64 = service["TimeoutStopSec"][0].parse().unwrap();
    assert_eq!(plan.budget(), Duration::from_secs(timeout));
    assert_eq!(plan.duration(Phase::LameDuck), Duration::ZERO);
    assert_eq!(service["Type"], ["notify"]);
    assert_eq!(service["ExecStart"], [PROGRAM]);
    let example = include_str!("../../examples/12_restart.rs");
    let name = &socket["FileDescriptorName"][0];
    assert!(example.contains(&format!("tcp_or_bind(\"{name}\"")));
}

fn read(name: &str) -> String {
    let directory = env!("CARGO_MANIFEST_DIR");
    std::fs::read_to_string(format!("{directory}/examples/systemd/{name}")).unwrap()
}

/// Each setting with its values.
fn settings(unit: &str) -> HashMap<String, Vec<String>> {
    let mut settings = HashMap::<_, Vec<_>>::new();
    for line in unit.lines().filter(|line| !line.starts_with('#')) {
        if let Some((name, value)) = line.split_once('=') {
            let values = settings.entry(name.to_owned()).or_default();
            values.push(value.to_owned());
        }
    }
    settings
}
