//! What is measured: workloads by name, each of which can be run any number of times.

pub mod ask;
pub mod connection;
pub mod guard;
pub mod request;

/// One operation, in a loop of its own, so that the compiler sees both together.
pub struct Subject {
    pub name: &'static str,
    pub run: Box<dyn Fn(u64) + Send + Sync>,
}

impl Subject {
    /// A subject whose loop is `run`.
    pub fn new(name: &'static str, run: impl Fn(u64) + Send + Sync + 'static) -> Self {
        let run = Box::new(run);
        Subject { name, run }
    }
}

/// Runs a workload: the part's name, then the subject's.
pub fn run(workload: &str, times: u64) {
    let (part, name) = workload.split_once('/').expect("a part and a name");
    match part {
        "guard" => subject(guard::subjects(), name, times),
        "ask" => subject(ask::questions(), name, times),
        "wake" => subject(ask::wake_ups(), name, times),
        "request" => request::run(name, times),
        "connection" => connection::run(name, times),
        _ => panic!("no such part: {part}"),
    }
}

fn subject(subjects: Vec<Subject>, name: &str, times: u64) {
    let found = subjects.into_iter().find(|subject| subject.name == name);
    let subject = found.unwrap_or_else(|| panic!("no such subject: {name}"));
    (subject.run)(times);
}
