//! What a set of manifests must be like. Each check says what is wrong in one sentence.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::plan::plan;
use crate::program::Program;

/// What Kubernetes grants a pod that does not say.
const GRACE_PERIOD_SECONDS: u64 = 30;

pub(crate) fn faults(objects: &[Value], program: &Program) -> Vec<String> {
    let mut faults = Vec::new();
    for deployment in deployments(objects) {
        let pod = &deployment["spec"]["template"]["spec"];
        faults.extend(times(pod));
        faults.extend(ports(pod, program));
        faults.extend(probes(pod, program));
        faults.extend(rights(pod));
        faults.extend(own_pods(deployment));
        if !of_kind(objects, "PodDisruptionBudget").any(|it| selects(&it["spec"], deployment)) {
            faults.push("no PodDisruptionBudget selects the pods".to_owned());
        }
    }
    for service in of_kind(objects, "Service") {
        faults.extend(routes(service, objects, program));
    }
    for budget in of_kind(objects, "PodDisruptionBudget") {
        faults.extend(lets_go(budget, objects));
    }
    faults
}

/// The pod's times against the plan that its environment gives.
pub(crate) fn times(pod: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let container = &pod["containers"][0];
    let told = match plan(&environment(container)) {
        Ok(told) => told,
        Err(error) => return vec![format!("no plan: {error}")],
    };

    let granted = pod["terminationGracePeriodSeconds"]
        .as_u64()
        .unwrap_or(GRACE_PERIOD_SECONDS);
    if told.is_assumed {
        faults.push("nobody tells the process its grace period".to_owned());
    } else if told.grace_period != Duration::from_secs(granted) {
        let told = told.grace_period.as_secs_f64();
        faults.push(format!(
            "the grace period is {granted} s, and the process is told {told} s"
        ));
    }

    let pre_stop = &container["lifecycle"]["preStop"];
    let sleep = pre_stop["sleep"]["seconds"].as_u64();
    if !pre_stop.is_null() && sleep.is_none() {
        faults.push("the preStop hook is no sleep, so nobody knows how long it takes".to_owned());
    } else if told.pre_stop != Duration::from_secs(sleep.unwrap_or_default()) {
        let (told, slept) = (told.pre_stop.as_secs_f64(), sleep.unwrap_or_default());
        faults.push(format!(
            "preStop sleeps {slept} s, and the process is told {told} s"
        ));
    }
    faults
}

/// What the pod declares is listened on.
fn ports(pod: &Value, program: &Program) -> Vec<String> {
    let container = &pod["containers"][0];
    let args = words(&container["args"]);
    let declared = items(&container["ports"]).filter_map(|port| port["containerPort"].as_u64());
    declared
        .filter(|port| program.ask(&args, *port, "/").is_none())
        .map(|port| format!("nothing listens on containerPort {port}"))
        .collect()
}

/// Each probe asks for what it is about, and gets it.
fn probes(pod: &Value, program: &Program) -> Vec<String> {
    let mut faults = Vec::new();
    let container = &pod["containers"][0];
    for (name, meant) in [
        ("startupProbe", "/readyz"),
        ("readinessProbe", "/readyz"),
        ("livenessProbe", "/livez"),
    ] {
        let get = &container[name]["httpGet"];
        let Some(path) = get["path"].as_str() else {
            faults.push(format!("there is no {name} over HTTP"));
            continue;
        };
        if path != meant {
            faults.push(format!("the {name} asks {path}, not {meant}"));
        }
        let port = match port_number(&get["port"], container) {
            Ok(port) => port,
            Err(fault) => {
                faults.push(format!("the {name}: {fault}"));
                continue;
            }
        };
        match program.ask(&words(&container["args"]), port, path) {
            Some(200) => {}
            Some(status) => faults.push(format!("the {name} gets {status}")),
            None => faults.push(format!("the {name} gets no answer")),
        }
    }
    faults
}

/// No more than is needed, and what the report needs.
fn rights(pod: &Value) -> Vec<String> {
    let container = &pod["containers"][0];
    let expected = [
        (pod, "/securityContext/runAsNonRoot", Value::Bool(true)),
        (
            pod,
            "/securityContext/seccompProfile/type",
            "RuntimeDefault".into(),
        ),
        (
            container,
            "/securityContext/allowPrivilegeEscalation",
            Value::Bool(false),
        ),
        (
            container,
            "/securityContext/readOnlyRootFilesystem",
            Value::Bool(true),
        ),
        (
            container,
            "/securityContext/capabilities/drop/0",
            "ALL".into(),
        ),
        // Where the library writes unless it is told otherwise.
        (
            container,
            "/terminationMessagePath",
            "/dev/termination-log".into(),
        ),
    ];
    let mut faults: Vec<String> = expected
        .into_iter()
        .filter(|(at, pointer, value)| at.pointer(pointer) != Some(value))
        .map(|(_, pointer, value)| format!("{pointer} is not {value}"))
        .collect();

    for resource in [
        "/resources/requests/cpu",
        "/resources/requests/memory",
        "/resources/limits/memory",
    ] {
        if container.pointer(resource).is_none() {
            faults.push(format!("{resource} is not set"));
        }
    }
    faults
}

fn own_pods(deployment: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    if !selects(&deployment["spec"], deployment) {
        faults.push("the Deployment does not select its own pods".to_owned());
    }
    // Otherwise a rollout begins by taking one away.
    if deployment.pointer("/spec/strategy/rollingUpdate/maxUnavailable") != Some(&0.into()) {
        faults.push("a rollout stops a pod before there is a new one".to_owned());
    }
    faults
}

/// A Service leads to its pods, and there to what clients ask for.
fn routes(service: &Value, objects: &[Value], program: &Program) -> Vec<String> {
    let mut faults = Vec::new();
    let selector = labels(&service["spec"]["selector"]);
    let mut selected = deployments(objects)
        .filter(|it| is_part(&selector, pod_labels(it)))
        .peekable();
    if selected.peek().is_none() {
        faults.push("the Service selects no pod".to_owned());
    }

    for container in selected.map(container) {
        for port in items(&service["spec"]["ports"]) {
            match port_number(&port["targetPort"], container) {
                Err(fault) => faults.push(format!("the Service: {fault}")),
                Ok(port) => match program.ask(&words(&container["args"]), port, "/livez") {
                    None => faults.push(format!("the Service leads to {port}, and nobody listens")),
                    Some(404) => {}
                    Some(_) => faults.push("the Service leads to the admin listener".to_owned()),
                },
            }
        }
    }
    faults
}

/// A budget selects pods, and lets at least one of them be evicted.
fn lets_go(budget: &Value, objects: &[Value]) -> Vec<String> {
    let spec = &budget["spec"];
    let selected: Vec<&Value> = deployments(objects)
        .filter(|it| selects(spec, it))
        .collect();
    if selected.is_empty() {
        return vec!["the PodDisruptionBudget selects no pod".to_owned()];
    }
    let replicas: u64 = selected
        .iter()
        .map(|it| it["spec"]["replicas"].as_u64().unwrap_or(1))
        .sum();
    let evictable = match (
        spec["minAvailable"].as_u64(),
        spec["maxUnavailable"].as_u64(),
    ) {
        (Some(available), None) => replicas.saturating_sub(available),
        (None, Some(unavailable)) => unavailable,
        _ => return vec!["the PodDisruptionBudget has no number of pods, or two".to_owned()],
    };
    match evictable {
        0 => vec![
            "the PodDisruptionBudget lets no pod be evicted: no node can be drained".to_owned(),
        ],
        _ if evictable >= replicas => vec!["the PodDisruptionBudget keeps no pod".to_owned()],
        _ => Vec::new(),
    }
}

pub(crate) fn deployments(objects: &[Value]) -> impl Iterator<Item = &Value> {
    of_kind(objects, "Deployment")
}

fn of_kind<'a>(objects: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    objects.iter().filter(move |object| object["kind"] == kind)
}

pub(crate) fn container(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["spec"]["containers"][0]
}

fn environment(container: &Value) -> Vec<(String, String)> {
    items(&container["env"])
        .map(|entry| {
            let text = |key: &str| entry[key].as_str().unwrap_or_default().to_owned();
            (text("name"), text("value"))
        })
        .collect()
}

/// A port by its number, or by the name that the container gives it.
fn port_number(port: &Value, container: &Value) -> Result<u64, String> {
    if let Some(number) = port.as_u64() {
        return Ok(number);
    }
    items(&container["ports"])
        .find(|it| it["name"] == *port)
        .and_then(|it| it["containerPort"].as_u64())
        .ok_or_else(|| format!("the container has no port {port}"))
}

fn selects(spec: &Value, deployment: &Value) -> bool {
    is_part(
        &labels(&spec["selector"]["matchLabels"]),
        pod_labels(deployment),
    )
}

/// An empty selector would select everything, which is never meant here.
fn is_part(selector: &Map<String, Value>, labels: &Value) -> bool {
    !selector.is_empty() && selector.iter().all(|(name, value)| labels[name] == *value)
}

fn pod_labels(deployment: &Value) -> &Value {
    &deployment["spec"]["template"]["metadata"]["labels"]
}

fn labels(value: &Value) -> Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

pub(crate) fn words(value: &Value) -> Vec<String> {
    items(value)
        .filter_map(|it| it.as_str().map(str::to_owned))
        .collect()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}
