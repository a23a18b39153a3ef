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

/// Gives the allocator a past, as a server's has that has run for a while: chunks of many sizes, half of them free again. In a
/// heap without one it is luck where a request's pieces lie, and how long they are looked for. 0 is no past.
pub fn live_before(seed: u64) {
    if seed == 0 {
        return;
    }
    // Xorshift: the same past each time.
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut below = |limit: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % limit as u64) as usize
    };
    let mut chunks: Vec<Vec<u8>> = (0..2000)
        .map(|_| Vec::with_capacity(1 + below(2048)))
        .collect();
    for last in (1..chunks.len()).rev() {
        chunks.swap(last, below(last + 1));
    }
    chunks.truncate(1000);
    std::mem::forget(chunks);
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
