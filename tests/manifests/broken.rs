//! Each check fails on a manifest that was broken on purpose.

use serde_json::{Value, json};

use crate::Set;
use crate::checks::faults;
use crate::program::Program;

const SPEC: &str = "/spec/template/spec";
const CONTAINER: &str = "/spec/template/spec/containers/0";

/// A change: in the object of this kind, at this place, to this (or away), and what is said of it then.
type Broken = (&'static str, String, Option<Value>, &'static str);

#[test]
fn broken_service_is_found_out() {
    assert_found_out(&Set::service(), pod_faults());
    assert_found_out(&Set::service(), fleet_faults());
}

#[test]
fn broken_pre_stop_is_found_out() {
    let container = |key: &str| format!("{CONTAINER}/{key}");

    assert_found_out(
        &Set::pre_stop(),
        vec![
            (
                "Deployment",
                container("lifecycle"),
                None,
                "preStop sleeps 0 s, and the process is told 15 s",
            ),
            (
                "Deployment",
                container("lifecycle/preStop/sleep/seconds"),
                Some(json!(20)),
                "preStop sleeps 20 s, and the process is told 15 s",
            ),
            (
                "Deployment",
                container("lifecycle/preStop"),
                Some(json!({ "exec": { "command": ["sleep", "15"] } })),
                "the preStop hook is no sleep, so nobody knows how long it takes",
            ),
            (
                "Deployment",
                container("env/1"),
                None,
                "preStop sleeps 15 s, and the process is told 0 s",
            ),
            (
                "Deployment",
                container("env/1/value"),
                Some(json!("45")),
                "no plan: preStop takes 45 s of a grace period of 45 s, which leaves no time after SIGTERM",
            ),
            (
                "Deployment",
                format!("{SPEC}/terminationGracePeriodSeconds"),
                None,
                "the grace period is 30 s, and the process is told 45 s",
            ),
        ],
    );
}

#[test]
fn broken_rainbow_is_found_out() {
    assert_found_out(
        &Set::rainbow(),
        vec![
            (
                "Deployment",
                format!("{SPEC}/terminationGracePeriodSeconds"),
                Some(json!(600)),
                "the grace period is 600 s, and the process is told 7200 s",
            ),
            (
                "Deployment",
                "/spec/template/metadata/labels/release".to_owned(),
                Some(json!("r2")),
                "the Deployment does not select its own pods",
            ),
            (
                "Service",
                "/spec/selector/release".to_owned(),
                Some(json!("r2")),
                "the Service selects no pod",
            ),
            (
                "PodDisruptionBudget",
                "/spec/maxUnavailable".to_owned(),
                Some(json!(0)),
                "the PodDisruptionBudget lets no pod be evicted: no node can be drained",
            ),
            (
                "PodDisruptionBudget",
                "/spec/maxUnavailable".to_owned(),
                Some(json!(3)),
                "the PodDisruptionBudget keeps no pod",
            ),
        ],
    );
}

// What a YAML parser may let through: the later of two keys would win, unseen.
#[test]
fn key_that_stands_twice_is_an_error() {
    assert!(crate::parse("a: 1\na: 2\n").is_err());
}

fn pod_faults() -> Vec<Broken> {
    let at = |key: &str, value: Option<Value>, fault: &'static str| {
        ("Deployment", format!("{CONTAINER}/{key}"), value, fault)
    };
    let pod = |key: &str, value: Option<Value>, fault: &'static str| {
        ("Deployment", format!("{SPEC}/{key}"), value, fault)
    };

    vec![
        pod(
            "terminationGracePeriodSeconds",
            Some(json!(60)),
            "the grace period is 60 s, and the process is told 30 s",
        ),
        at(
            "env/0/value",
            Some(json!("29.5")),
            "the grace period is 30 s, and the process is told 29.5 s",
        ),
        at(
            "env/0/value",
            Some(json!("30s")),
            "no plan: TERMINATION_GRACE_PERIOD_SECONDS is \"30s\", expected a number of seconds such as \"15\" or \"2.5\"",
        ),
        at("env", None, "nobody tells the process its grace period"),
        at(
            "env/1",
            Some(json!({ "name": "LAME_DUCK_SECONDS", "value": "40" })),
            "no plan: the phases and the reserve add up to 47 s, which is 17 s more than the 30 s from SIGTERM to SIGKILL",
        ),
        at(
            "lifecycle",
            Some(json!({ "preStop": { "sleep": { "seconds": 5 } } })),
            "preStop sleeps 5 s, and the process is told 0 s",
        ),
        at(
            "args/0",
            Some(json!("0.0.0.0:8080")),
            "nothing listens on containerPort 3000",
        ),
        at(
            "ports/1/containerPort",
            Some(json!(3002)),
            "nothing listens on containerPort 3002",
        ),
        at(
            "startupProbe/httpGet/path",
            Some(json!("/")),
            "the startupProbe gets 404",
        ),
        at(
            "readinessProbe/httpGet/path",
            Some(json!("/ready")),
            "the readinessProbe gets 404",
        ),
        at(
            "readinessProbe/httpGet/port",
            Some(json!("http")),
            "the readinessProbe gets 404",
        ),
        at(
            "readinessProbe/httpGet/port",
            Some(json!(3002)),
            "the readinessProbe gets no answer",
        ),
        at(
            "readinessProbe/httpGet/path",
            Some(json!("/livez")),
            "the readinessProbe asks /livez, not /readyz",
        ),
        at(
            "livenessProbe/httpGet/path",
            Some(json!("/readyz")),
            "the livenessProbe asks /readyz, not /livez",
        ),
        at(
            "livenessProbe/httpGet/port",
            Some(json!("probes")),
            "the livenessProbe: the container has no port \"probes\"",
        ),
        at(
            "livenessProbe",
            Some(json!({ "tcpSocket": { "port": "admin" } })),
            "there is no livenessProbe over HTTP",
        ),
        at(
            "readinessProbe",
            None,
            "there is no readinessProbe over HTTP",
        ),
        pod(
            "securityContext/runAsNonRoot",
            None,
            "/securityContext/runAsNonRoot is not true",
        ),
        pod(
            "securityContext/seccompProfile",
            None,
            "/securityContext/seccompProfile/type is not \"RuntimeDefault\"",
        ),
        at(
            "securityContext/allowPrivilegeEscalation",
            Some(json!(true)),
            "/securityContext/allowPrivilegeEscalation is not false",
        ),
        at(
            "securityContext/readOnlyRootFilesystem",
            Some(json!(false)),
            "/securityContext/readOnlyRootFilesystem is not true",
        ),
        at(
            "securityContext/capabilities",
            None,
            "/securityContext/capabilities/drop/0 is not \"ALL\"",
        ),
        at(
            "terminationMessagePath",
            Some(json!("/tmp/last-words")),
            "/terminationMessagePath is not \"/dev/termination-log\"",
        ),
        at(
            "resources/requests",
            None,
            "/resources/requests/memory is not set",
        ),
        at(
            "resources/limits/memory",
            None,
            "/resources/limits/memory is not set",
        ),
    ]
}

fn fleet_faults() -> Vec<Broken> {
    let change = |kind, pointer: &str, value, fault| (kind, pointer.to_owned(), value, fault);

    vec![
        change(
            "Deployment",
            "/spec/template/metadata/labels/app",
            Some(json!("note")),
            "the Deployment does not select its own pods",
        ),
        change(
            "Deployment",
            "/spec/template/metadata/labels/app",
            Some(json!("note")),
            "no PodDisruptionBudget selects the pods",
        ),
        change(
            "Deployment",
            "/spec/strategy",
            None,
            "a rollout stops a pod before there is a new one",
        ),
        change(
            "Service",
            "/spec/selector/app",
            Some(json!("note")),
            "the Service selects no pod",
        ),
        change(
            "Service",
            "/spec/selector",
            None,
            "the Service selects no pod",
        ),
        change(
            "Service",
            "/spec/ports/0/targetPort",
            Some(json!("web")),
            "the Service: the container has no port \"web\"",
        ),
        change(
            "Service",
            "/spec/ports/0/targetPort",
            Some(json!(80)),
            "the Service leads to 80, and nobody listens",
        ),
        change(
            "Service",
            "/spec/ports/0/targetPort",
            Some(json!("admin")),
            "the Service leads to the admin listener",
        ),
        change(
            "PodDisruptionBudget",
            "/spec/selector/matchLabels/app",
            Some(json!("note")),
            "the PodDisruptionBudget selects no pod",
        ),
        change(
            "PodDisruptionBudget",
            "/spec/minAvailable",
            Some(json!(3)),
            "the PodDisruptionBudget lets no pod be evicted: no node can be drained",
        ),
        change(
            "PodDisruptionBudget",
            "/spec/minAvailable",
            Some(json!(0)),
            "the PodDisruptionBudget keeps no pod",
        ),
        change(
            "PodDisruptionBudget",
            "/spec/minAvailable",
            None,
            "the PodDisruptionBudget has no number of pods, or two",
        ),
    ]
}

#[track_caller]
fn assert_found_out(set: &Set, table: Vec<Broken>) {
    let program = Program::start(&set.objects);

    for (kind, pointer, value, fault) in table {
        let mut objects = set.objects.clone();
        let object = objects.iter_mut().find(|it| it["kind"] == kind);
        change(object.expect("there is one"), &pointer, value.clone());

        let faults = faults(&objects, &program);

        assert!(
            faults.iter().any(|it| it == fault),
            "{kind}{pointer} = {value:?}: {faults:#?}, expected {fault:?}"
        );
    }
}

/// Sets what is there, adds what is not, or takes it away.
fn change(object: &mut Value, pointer: &str, value: Option<Value>) {
    let (parent, key) = pointer.rsplit_once('/').expect("a pointer");
    match (object.pointer_mut(parent), value) {
        (Some(Value::Object(parent)), Some(value)) => {
            parent.insert(key.to_owned(), value);
        }
        (Some(Value::Object(parent)), None) => {
            parent.remove(key).expect("it is there");
        }
        (Some(Value::Array(parent)), value) => {
            let at: usize = key.parse().expect("an index");
            let end = parent.len().min(at + 1);
            parent.splice(at..end, value);
        }
        (other, _) => panic!("{pointer} is in {other:?}"),
    }
}
