//! Who else holds a listening socket.
//!
//! What is done to a socket is seen by everybody who holds it, and stays when one of them closes it. A service manager, a parent
//! or a successor may be among them, and the kernel does not say so. On Linux `/proc` does: each open descriptor is a link
//! there, whose target names the socket.

use std::fs::{read_dir, read_link};
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// A look at all processes may take so long. It is made on a thread of the runtime, when the listener is about to close, and
/// takes some 2 µs for each open descriptor: so it sees 50,000 of them.
const LONGEST_LOOK: Duration = Duration::from_millis(100);

/// Who holds a socket, as far as can be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Holders {
    /// One descriptor of this process, and nobody else.
    Us,
    /// Another process, too.
    Others,
    /// Some processes could not be looked at, or this one has it twice.
    Unknown,
}

/// Who holds this socket now.
pub(crate) fn holders(socket: &impl AsRawFd) -> Holders {
    look(socket.as_raw_fd()).unwrap_or(Holders::Unknown)
}

fn look(socket: RawFd) -> io::Result<Holders> {
    let until = Instant::now() + LONGEST_LOOK;
    let proc = Path::new("/proc");
    let us = read_link(proc.join("self"))?;
    let our_descriptor = socket.to_string();
    let name = read_link(proc.join(&us).join("fd").join(&our_descriptor))?;
    let mut sees_first = false;
    let mut sees_all = true;
    for process in read_dir(proc)? {
        let process = process?.file_name();
        let Some(id) = process.to_str().and_then(|id| id.parse::<u32>().ok()) else {
            continue;
        };
        // Where other users' processes are hidden (hidepid), the first one is.
        sees_first |= id == 1;
        if Instant::now() > until {
            return Ok(Holders::Unknown);
        }
        let descriptors = match read_dir(proc.join(&process).join("fd")) {
            Ok(descriptors) => descriptors,
            // It has ended meanwhile.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(_) => {
                sees_all = false;
                continue;
            }
        };
        for descriptor in descriptors {
            let Ok(descriptor) = descriptor else { break };
            let is_it = read_link(descriptor.path()).is_ok_and(|target| target == name);
            match is_it {
                true if process != us => return Ok(Holders::Others),
                true if descriptor.file_name() != *our_descriptor => sees_all = false,
                _ => {}
            }
        }
    }
    Ok(match sees_first && sees_all {
        true => Holders::Us,
        false => Holders::Unknown,
    })
}

/// Whether the service manager passed this descriptor when it started the process (sd_listen_fds(3)). It keeps its own.
pub(crate) fn was_passed(socket: &impl AsRawFd) -> bool {
    // What the process was started with: whoever takes the descriptors removes the variables.
    let environment = std::fs::read("/proc/self/environ").unwrap_or_default();
    passed(&environment, std::process::id()).contains(&socket.as_raw_fd())
}

/// The descriptors that an environment passes to a process.
fn passed(environment: &[u8], process: u32) -> Range<RawFd> {
    const FIRST: RawFd = 3;
    let value = |name: &[u8]| {
        let variables = environment.split(|byte| *byte == 0);
        let mut values = variables.filter_map(|it| it.strip_prefix(name)?.strip_prefix(b"="));
        std::str::from_utf8(values.next()?).ok()
    };
    let meant = value(b"LISTEN_PID").and_then(|id| id.parse::<u32>().ok());
    let count = value(b"LISTEN_FDS").and_then(|count| count.parse::<RawFd>().ok());
    match (meant, count) {
        (Some(id), Some(count)) if process == id => FIRST..FIRST.saturating_add(count),
        _ => FIRST..FIRST,
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn descriptors_are_passed_to_the_process_that_is_meant() {
        let environment = b"PATH=/bin\0LISTEN_FDS=2\0LISTEN_PID=17\0LISTEN_FDNAMES=a:b\0";

        assert_eq!(passed(environment, 17), 3..5);
        assert!(passed(environment, 18).is_empty());
        assert!(passed(b"LISTEN_FDS=2\0", 17).is_empty());
        assert!(passed(b"LISTEN_FDS=-1\0LISTEN_PID=17\0", 17).is_empty());
        assert!(passed(b"", 17).is_empty());
    }

    #[test]
    fn second_descriptor_of_ours_or_a_child_that_inherits_one_is_seen() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let alone = holders(&listener);
        let again = listener.try_clone().unwrap();
        let twice = holders(&listener);
        drop(again);
        let mut child = Command::new("sleep")
            .arg("60")
            .stdin(Stdio::from(std::os::fd::OwnedFd::from(
                listener.try_clone().unwrap(),
            )))
            .spawn()
            .unwrap();
        let shared = holders(&listener);
        child.kill().unwrap();
        child.wait().unwrap();

        // Elsewhere some processes may be hidden from us.
        assert_ne!(alone, Holders::Others);
        assert_eq!(twice, Holders::Unknown);
        assert_eq!(shared, Holders::Others);
    }

    #[test]
    fn unix_sockets_are_looked_at_as_well() {
        let path = std::env::temp_dir().join(format!("lameduck-holders-{}", std::process::id()));
        let listener = UnixListener::bind(&path).unwrap();
        std::fs::remove_file(&path).unwrap();

        assert_ne!(holders(&listener), Holders::Others);
    }
}
