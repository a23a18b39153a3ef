//! What a drill is told.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use serde::Serialize;

use crate::scenario::Scenario;

/// How long a server may take until it accepts, and answers.
pub(crate) const START: Duration = Duration::from_secs(30);

/// The signal that tells a server to stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
#[non_exhaustive]
pub enum Signal {
    /// SIGTERM: Kubernetes, systemd, Docker.
    #[default]
    Term,
    /// SIGINT.
    Int,
    /// SIGQUIT: the `STOPSIGNAL` of nginx's image.
    Quit,
    /// SIGHUP.
    Hup,
    /// SIGUSR1: HAProxy's image.
    Usr1,
    /// SIGUSR2.
    Usr2,
}

impl Signal {
    const ALL: [Signal; 6] = [
        Signal::Term,
        Signal::Int,
        Signal::Quit,
        Signal::Hup,
        Signal::Usr1,
        Signal::Usr2,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Signal::Term => "SIGTERM",
            Signal::Int => "SIGINT",
            Signal::Quit => "SIGQUIT",
            Signal::Hup => "SIGHUP",
            Signal::Usr1 => "SIGUSR1",
            Signal::Usr2 => "SIGUSR2",
        }
    }
}

impl FromStr for Signal {
    type Err = String;

    /// Takes `SIGTERM`, `TERM` and `term`.
    fn from_str(name: &str) -> Result<Self, String> {
        let upper = name.to_uppercase();
        let short = upper.strip_prefix("SIG").unwrap_or(&upper);
        let mut all = Signal::ALL.into_iter();
        let found = all.find(|signal| signal.name().strip_prefix("SIG") == Some(short));
        found.ok_or_else(|| "not one of TERM, INT, QUIT, HUP, USR1, USR2".to_owned())
    }
}

/// Where a server says that a request's handler was entered.
///
/// Each request has the header `drill-request: <number>`. When its handler begins, the server writes a line with
/// `drill-request=<number>` in it.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Contract {
    /// On standard output or standard error.
    Output,
    /// In a file.
    File(PathBuf),
}

#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) scenarios: Vec<Scenario>,
    /// Scenarios were asked for by name: one that cannot be played is an error then.
    pub(crate) chosen: bool,
    pub(crate) runs: usize,
    pub(crate) seed: u64,
    pub(crate) signal: Signal,
    pub(crate) grace: Duration,
    pub(crate) propagation: Duration,
    pub(crate) patience: Duration,
    pub(crate) contract: Option<Contract>,
    pub(crate) path: String,
    pub(crate) slow: Option<String>,
    pub(crate) upload: Option<String>,
    pub(crate) download: Option<String>,
    pub(crate) websocket: Option<String>,
    pub(crate) events: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            scenarios: Scenario::ALL.to_vec(),
            chosen: false,
            runs: 3,
            seed: 1,
            signal: Signal::Term,
            grace: Duration::from_secs(30),
            propagation: Duration::from_secs(1),
            patience: Duration::from_secs(10),
            contract: None,
            path: "/".to_owned(),
            slow: None,
            upload: None,
            download: None,
            websocket: None,
            events: None,
        }
    }
}
