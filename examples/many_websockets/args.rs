//! The command line.

use std::time::Duration;

use crate::server;

pub(crate) const HELP: &str = "\
many_websockets: a server with many open WebSockets leaves, as its clients see it

  --connections N   WebSockets in each run, 500 to 20000 (10000)
  --runs N          how often a server leaves (3)
  --spread SECONDS  the window in which they are told (5)
  --at-once         the server has no window: what the chart shows then, and that it is a failure
  --help            this
";

/// What is going to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args {
    pub(crate) connections: usize,
    pub(crate) runs: usize,
    pub(crate) spread: Duration,
    /// All are told at the begin of the window.
    pub(crate) at_once: bool,
}

impl Default for Args {
    fn default() -> Self {
        Args {
            connections: 10_000,
            runs: 3,
            spread: Duration::from_secs(5),
            at_once: false,
        }
    }
}

impl Args {
    /// `None` when help is asked for.
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut args = Args::default();
        while let Some(option) = given.next() {
            let mut value = || given.next().ok_or(format!("{option} wants a value"));
            match option.as_str() {
                // One address has 28,000 ports for its clients; and a few of them have no share of the window.
                "--connections" => args.connections = number(&option, &value()?, 500, 20_000)?,
                "--runs" => args.runs = number(&option, &value()?, 1, 100)?,
                "--spread" => args.spread = seconds(&option, &value()?)?,
                "--at-once" => args.at_once = true,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("{option} is unknown; try --help")),
            }
        }
        server::plan(args.spread).map_err(|error| error.to_string())?;
        Ok(Some(args))
    }
}

fn number(option: &str, text: &str, least: usize, most: usize) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or(format!("{option} wants a number from {least} to {most}"))
}

fn seconds(option: &str, text: &str) -> Result<Duration, String> {
    const LEAST: f64 = 0.5;
    const MOST: f64 = 60.0;
    text.parse()
        .ok()
        .filter(|seconds| (LEAST..=MOST).contains(seconds))
        .map(Duration::from_secs_f64)
        .ok_or(format!("{option} wants seconds, {LEAST} to {MOST}"))
}
