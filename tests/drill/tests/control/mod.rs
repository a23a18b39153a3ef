//! The control: a server that stops as it should, or with one fault that is planted.

mod app;
mod serve;

use std::env;
use std::process::Command;

/// Its port, and that it is to run at all.
pub(crate) const PORT: &str = "CONTROL_PORT";
const PLANTED: &str = "CONTROL_FAULT";
/// It speaks TLS if this is set.
pub(crate) const TLS: &str = "CONTROL_TLS";

/// What it does wrong from the signal on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Planted {
    Nothing,
    /// Closes its listener at once and lives on.
    RefusesWhileAlive,
    /// Resets a connection under each fourth request that is not its first.
    ResetsKept,
    /// Ends answers in the middle.
    CutsBodies,
    /// Answers 200 in its handler's place.
    SkipsHandlers,
    /// Stops as it should, and stays.
    LeavesLate,
    IgnoresTheSignal,
    ExitsAtOnce,
    /// Lets its listener's queue fill, and drops it.
    DropsTheQueue,
    /// Ends long connections without a farewell.
    CutsLong,
    /// Answers 503.
    Rejects,
    /// Answers nothing any more.
    Hangs,
    /// Ends connections on which a request is half sent or an answer half read.
    CutsSlow,
}

impl Planted {
    const ALL: [Planted; 13] = [
        Planted::Nothing,
        Planted::RefusesWhileAlive,
        Planted::ResetsKept,
        Planted::CutsBodies,
        Planted::SkipsHandlers,
        Planted::LeavesLate,
        Planted::IgnoresTheSignal,
        Planted::ExitsAtOnce,
        Planted::DropsTheQueue,
        Planted::CutsLong,
        Planted::Rejects,
        Planted::Hangs,
        Planted::CutsSlow,
    ];

    fn from_env() -> Self {
        let name = env::var(PLANTED).unwrap_or_default();
        let mut all = Planted::ALL.into_iter();
        let found = all.find(|planted| format!("{planted:?}") == name);
        found.expect("it names one")
    }
}

/// The test file once more, with nothing but its test `control_server`, which calls [`serve_if_asked`].
pub(crate) fn command(planted: Planted) -> Command {
    let mut command = Command::new(env::current_exe().expect("a test has a path"));
    command
        .args(["--exact", "control_server", "--nocapture"])
        .env(PLANTED, format!("{planted:?}"));
    command
}

/// A faultless server that a shell starts: `"$0" "$@"` in its script.
pub(crate) fn in_a_shell(script: &str) -> Command {
    let server = command(Planted::Nothing);
    let mut shell = Command::new("sh");
    shell.args(["-c", script]).arg(server.get_program());
    shell.args(server.get_args());
    let set = server.get_envs();
    shell.envs(set.filter_map(|(name, value)| Some((name, value?))));
    shell
}

pub(crate) fn serve_if_asked() {
    let Ok(port) = env::var(PORT) else {
        return;
    };
    let port = port.parse().expect("it is a port");
    serve::main(port, Planted::from_env(), env::var_os(TLS).is_some());
}
