//! The manifests of `examples/kubernetes/`, held against what they run: the plan that their environment gives, the ports and
//! paths on which the example answers, and each other.
//!
//! Every check is seen to fail on a manifest that was broken on purpose.

#![cfg(all(feature = "hyper", feature = "signal"))]

#[path = "../process/mod.rs"]
mod process;

mod broken;
mod checks;
mod pages;
mod plan;
mod program;

use serde_json::Value;

use checks::faults;
use program::Program;

/// What is applied together.
struct Set {
    name: &'static str,
    objects: Vec<Value>,
}

impl Set {
    fn service() -> Set {
        Set {
            name: "service.yaml",
            objects: read("service.yaml"),
        }
    }

    /// Its Deployment takes the place of the one in service.yaml.
    fn pre_stop() -> Set {
        let mut objects = read("pre-stop.yaml");
        let others = read("service.yaml");
        objects.extend(others.into_iter().filter(|it| it["kind"] != "Deployment"));
        Set {
            name: "pre-stop.yaml",
            objects,
        }
    }

    fn rainbow() -> Set {
        Set {
            name: "rainbow.yaml",
            objects: read("rainbow.yaml"),
        }
    }

    fn all() -> [Set; 3] {
        [Set::service(), Set::pre_stop(), Set::rainbow()]
    }
}

#[test]
fn manifests_fit_what_they_run() {
    for set in Set::all() {
        let program = Program::start(&set.objects);

        let faults = faults(&set.objects, &program);

        assert!(faults.is_empty(), "{}: {faults:#?}", set.name);
    }
}

#[test]
fn every_manifest_is_checked() {
    let mut checked = Set::all().map(|set| set.name.to_owned());
    let directory = std::fs::read_dir(directory()).unwrap();
    let names = directory.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut there: Vec<String> = names
        .filter(|name| name.ends_with(".yaml") || name.ends_with(".yml"))
        .collect();

    checked.sort();
    there.sort();
    assert_eq!(there, checked);
}

// A rollout replaces one by the other, so whatever else they say must be the same.
#[test]
fn pre_stop_differs_from_the_service_in_its_sleep_alone() {
    let deployment = |set: Set| {
        set.objects
            .into_iter()
            .find(|it| it["kind"] == "Deployment")
    };
    let without_times = |mut deployment: Value| {
        let pod = &mut deployment["spec"]["template"]["spec"];
        pod["terminationGracePeriodSeconds"].take();
        let container = pod["containers"][0].as_object_mut().unwrap();
        container.remove("lifecycle");
        container.remove("env");
        deployment
    };

    let pre_stop = without_times(deployment(Set::pre_stop()).unwrap());
    let service = without_times(deployment(Set::service()).unwrap());

    assert_eq!(pre_stop, service);
}

fn directory() -> String {
    format!("{}/examples/kubernetes", env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(format!("{}/{name}", directory())).unwrap();
    parse(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The documents of a YAML file. A key that stands twice is an error.
fn parse(text: &str) -> Result<Vec<Value>, serde_saphyr::Error> {
    serde_saphyr::from_multiple(text)
}
