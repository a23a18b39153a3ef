//! The listeners that a service manager, or the process before this one, has passed.

use std::env::{self, VarError};
use std::fmt::{self, Debug};
use std::io::{self, ErrorKind};

use listenfd::ListenFd;
use tokio::net::{TcpListener, ToSocketAddrs, UnixListener};

use super::listener::bind;

/// What sd_listen_fds_with_names(3) calls a descriptor if the service manager gives no names.
const UNNAMED: &str = "unknown";

/// The listeners that this process was started with, by name: those of systemd's socket units, or of the process before it
/// ([`restart`](crate::restart)).
///
/// A socket unit's listeners have the name that its `FileDescriptorName=` says, by default the unit's: `notes.socket`. A name may
/// stand for several; they are taken one by one, in their order.
///
/// ```no_run
/// # async fn example(handle: lameduck::ShutdownHandle) -> std::io::Result<()> {
/// let mut passed = lameduck::systemd::Listeners::from_env()?;
/// // Passed under systemd and in a restart, bound when the program is started by hand.
/// let listener = passed.tcp_or_bind("http", "0.0.0.0:3000").await?;
/// # Ok(())
/// # }
/// ```
///
/// # Shared listeners
///
/// systemd keeps its sockets, and connections wait in their queue while no process of the service runs. So a server leaves a
/// listener that systemd has passed as it is: it is neither emptied nor shut down when the server ends, without
/// [`Server::shared`](crate::Server::shared) (Linux; `docs/phases.md` says how it is known).
pub struct Listeners {
    passed: ListenFd,
    /// A name for each descriptor, until it is taken.
    names: Vec<Option<String>>,
}

impl Listeners {
    /// The listeners that the environment names (`LISTEN_FDS`, `LISTEN_PID`, `LISTEN_FDNAMES`: sd_listen_fds(3)). None, if it
    /// names none, or means another process.
    ///
    /// It removes `LISTEN_FDS` and `LISTEN_PID`, so that no child takes them for its own, and a second call gives none. So call it
    /// early in `main`, while no other thread reads the environment.
    ///
    /// # Errors
    ///
    /// [`InvalidInput`](ErrorKind::InvalidInput): a variable is malformed, or there are more or fewer names than descriptors. The
    /// error names the variable and its value.
    pub fn from_env() -> io::Result<Self> {
        let names = names(
            variable("LISTEN_PID")?.as_deref(),
            variable("LISTEN_FDS")?.as_deref(),
            variable("LISTEN_FDNAMES")?.as_deref(),
            std::process::id(),
        )?;
        Ok(Listeners {
            passed: ListenFd::from_env(),
            names: names.into_iter().map(Some).collect(),
        })
    }

    /// The names of those that have not been taken, in their order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().flatten().map(String::as_str)
    }

    /// Takes the first TCP listener with this name. `None` if there is none.
    ///
    /// # Errors
    ///
    /// The descriptor with this name is not open, or no TCP socket. The error names it.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, if there is one.
    pub fn tcp(&mut self, name: &str) -> io::Result<Option<TcpListener>> {
        let Some(listener) = self.take(name, ListenFd::take_tcp_listener)? else {
            return Ok(None);
        };
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Some)
    }

    /// Takes the first TCP listener with this name. If there is none, listens on `address`, as [`bind`](crate::bind) does.
    ///
    /// # Errors
    ///
    /// Those of [`tcp`](Listeners::tcp) and [`bind`](crate::bind).
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: a listener that was passed is taken and returned in one step.
    pub async fn tcp_or_bind(
        &mut self,
        name: &str,
        address: impl ToSocketAddrs + Debug,
    ) -> io::Result<TcpListener> {
        match self.tcp(name)? {
            Some(listener) => Ok(listener),
            None => bind(address).await,
        }
    }

    /// Takes the first listening Unix stream socket with this name. `None` if there is none.
    ///
    /// # Errors
    ///
    /// The descriptor with this name is not open, or no Unix stream socket. The error names it.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime, if there is one.
    pub fn unix(&mut self, name: &str) -> io::Result<Option<UnixListener>> {
        let Some(listener) = self.take(name, ListenFd::take_unix_listener)? else {
            return Ok(None);
        };
        listener.set_nonblocking(true)?;
        UnixListener::from_std(listener).map(Some)
    }

    fn take<L>(
        &mut self,
        name: &str,
        take: impl FnOnce(&mut ListenFd, usize) -> io::Result<Option<L>>,
    ) -> io::Result<Option<L>> {
        let named = |it: &Option<String>| it.as_deref() == Some(name);
        let Some(index) = self.names.iter().position(named) else {
            return Ok(None);
        };
        let taken = take(&mut self.passed, index).map_err(|error| {
            let said = format!("the listener `{name}` that was passed: {error}");
            io::Error::new(error.kind(), said)
        })?;
        self.names[index] = None;
        Ok(taken)
    }
}

impl Debug for Listeners {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.names()).finish()
    }
}

fn variable(name: &str) -> io::Result<Option<String>> {
    match env::var(name) {
        Ok(value) => Ok(Some(value).filter(|it| !it.is_empty())),
        Err(VarError::NotPresent) => Ok(None),
        Err(VarError::NotUnicode(value)) => Err(malformed(name, &value, "it is not Unicode")),
    }
}

/// A name for each descriptor that is passed to the process `us`. Without a process all children are meant: the process that a
/// restart starts is not known before it runs.
fn names(
    process: Option<&str>,
    count: Option<&str>,
    names: Option<&str>,
    us: u32,
) -> io::Result<Vec<String>> {
    let Some(count) = count else {
        return Ok(Vec::new());
    };
    if let Some(process) = process {
        let id: u32 = process
            .parse()
            .map_err(|_| malformed("LISTEN_PID", &process, "it is no process"))?;
        if id != us {
            return Ok(Vec::new());
        }
    }
    let descriptors: u16 = count
        .parse()
        .map_err(|_| malformed("LISTEN_FDS", &count, "it is no number of descriptors"))?;
    let descriptors = usize::from(descriptors);
    let Some(all) = names else {
        return Ok(vec![UNNAMED.to_owned(); descriptors]);
    };
    let named: Vec<String> = all.split(':').map(str::to_owned).collect();
    match named.len() == descriptors {
        true => Ok(named),
        false => {
            let expected = format!("LISTEN_FDS is {descriptors}");
            Err(malformed("LISTEN_FDNAMES", &all, &expected))
        }
    }
}

fn malformed(name: &str, value: &dyn Debug, why: &str) -> io::Error {
    let said = format!("{name} is {value:?}: {why}");
    io::Error::new(ErrorKind::InvalidInput, said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn descriptors_have_the_names_that_the_service_manager_gives() {
        let us = 17;

        assert_eq!(names(None, None, None, us).unwrap(), [""; 0]);
        assert_eq!(
            names(Some("17"), Some("2"), Some("http:admin"), us).unwrap(),
            ["http", "admin"]
        );
        assert_eq!(
            names(Some("17"), Some("2"), None, us).unwrap(),
            [UNNAMED; 2]
        );
        assert_eq!(
            names(None, Some("1"), Some("http"), us).unwrap(),
            ["http"],
            "from the process before"
        );
        assert_eq!(
            names(Some("18"), Some("1"), Some("http"), us).unwrap(),
            [""; 0],
            "another process is meant"
        );
    }

    #[test]
    fn malformed_variable_is_named_with_its_value() {
        for (process, count, all, said) in [
            (
                Some("17"),
                "two",
                None,
                "LISTEN_FDS is \"two\": it is no number of descriptors",
            ),
            (
                Some("17"),
                "-1",
                None,
                "LISTEN_FDS is \"-1\": it is no number of descriptors",
            ),
            (
                Some("me"),
                "1",
                None,
                "LISTEN_PID is \"me\": it is no process",
            ),
            (
                Some("17"),
                "3",
                Some("http:admin"),
                "LISTEN_FDNAMES is \"http:admin\": LISTEN_FDS is 3",
            ),
        ] {
            let error = names(process, Some(count), all, 17).unwrap_err();

            assert_eq!(error.to_string(), said);
            assert_eq!(error.kind(), ErrorKind::InvalidInput);
        }
    }
}
