//! The program's arguments.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{ArgAction, Parser};
use lameduck_drill::{Contract, Drill, Scenario, Signal};

/// Stops a server under load, plays the cluster around it, and says what its clients lost.
///
/// The exit code is 0 if nothing was lost and the server always left in time, 1 if not, 2 if the drill could not be held.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
pub(crate) struct Args {
    /// Play this scenario, and no other that is not named; may be given several times
    #[arg(long, value_name = "NAME", value_parser = scenarios())]
    scenario: Vec<Scenario>,
    /// How many times each scenario is played
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// The seed of the random numbers
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The signal that tells the server to stop
    #[arg(long, default_value = "TERM", value_name = "NAME")]
    signal: Signal,
    /// Seconds from the signal to SIGKILL
    #[arg(long, default_value = "30", value_name = "SECONDS", value_parser = seconds)]
    grace: Duration,
    /// Seconds from the signal until no new connection is routed to the server
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    propagation: Duration,
    /// Seconds that a client waits for an answer
    #[arg(long, default_value = "10", value_name = "SECONDS", value_parser = seconds)]
    patience: Duration,
    /// Set this variable to the port, instead of `{port}` in the command
    #[arg(long, value_name = "NAME")]
    port_env: Option<String>,
    /// The server has this port, instead of a free one each time
    #[arg(long)]
    port: Option<u16>,
    /// The route of most requests: answers GET quickly
    #[arg(long, default_value = "/", value_name = "ROUTE")]
    path: String,
    /// A route that takes 10 to 500 ms to answer GET
    #[arg(long, value_name = "ROUTE")]
    slow: Option<String>,
    /// A route that takes a body of 64 KiB by POST
    #[arg(long, value_name = "ROUTE")]
    upload: Option<String>,
    /// A route whose answer has several MB
    #[arg(long, value_name = "ROUTE")]
    download: Option<String>,
    /// A route of a WebSocket
    #[arg(long, value_name = "ROUTE")]
    websocket: Option<String>,
    /// A route of an event stream
    #[arg(long, value_name = "ROUTE")]
    events: Option<String>,
    /// The server writes `drill-request=<number>`, the header's number, when it enters a handler
    #[arg(long, action = ArgAction::SetTrue)]
    contract: bool,
    /// The same, into this file
    #[arg(long, value_name = "PATH")]
    contract_file: Option<PathBuf>,
    /// Print the outcome as JSON
    #[arg(long, action = ArgAction::SetTrue)]
    pub(crate) json: bool,
    /// The server: its program and arguments, with {port} for the port
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

type Set = fn(Drill, &str) -> Drill;

impl Args {
    pub(crate) fn drill(&self) -> Drill {
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]);
        let mut drill = Drill::new(command)
            .runs(self.runs)
            .seed(self.seed)
            .signal(self.signal)
            .grace(self.grace)
            .propagation(self.propagation)
            .patience(self.patience)
            .path(&self.path);
        if !self.scenario.is_empty() {
            drill = drill.scenarios(self.scenario.iter().copied());
        }
        if let Some(port) = self.port {
            drill = drill.port(port);
        }
        if self.contract {
            drill = drill.contract(Contract::Output);
        }
        let with_text: [(&Option<String>, Set); 6] = [
            (&self.port_env, |drill, name| drill.port_env(name)),
            (&self.slow, |drill, route| drill.slow_route(route)),
            (&self.upload, |drill, route| drill.upload_route(route)),
            (&self.download, |drill, route| drill.download_route(route)),
            (&self.websocket, |drill, route| drill.websocket_route(route)),
            (&self.events, |drill, route| drill.events_route(route)),
        ];
        for (given, set) in with_text {
            if let Some(text) = given {
                drill = set(drill, text);
            }
        }
        match &self.contract_file {
            Some(path) => drill.contract_file(path),
            None => drill,
        }
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
}

fn scenarios() -> impl TypedValueParser<Value = Scenario> {
    let all = Scenario::ALL.iter();
    let all = all.map(|one| PossibleValue::new(one.name()).help(one.about()));
    PossibleValuesParser::new(all).try_map(|name| name.parse::<Scenario>())
}
