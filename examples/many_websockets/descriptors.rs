//! How many files this process, and the server that it starts, may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What a process needs beside its connections, those that warm the server up among them.
const BESIDE: usize = 500;

/// Raises the limit as far as it may be raised. It is handed on to the servers.
pub(crate) fn allow(connections: usize) -> Result<(), String> {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    setrlimit(Resource::Nofile, raised).map_err(|error| format!("the limit of files: {error}"))?;
    let needed = (connections + BESIDE) as u64;
    match limit.maximum {
        Some(most) if most < needed => Err(format!(
            "{connections} connections need {needed} open files in one process, and {most} are allowed (ulimit -Hn)"
        )),
        _ => Ok(()),
    }
}
