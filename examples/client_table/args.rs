//! The command line.

use crate::column::Column;
use crate::moment::Moment;
use crate::protocol::Protocol;
use crate::scene::Scene;
use crate::shape::{Cast, Shape};

pub(crate) const HELP: &str = "\
client_table: clients of every shape, caught in the middle of their actions by every phase, over every version of HTTP

  --short           the most telling cells, in less than half a minute
  --only SUBSTRING  cells whose name has it, such as `HTTP/2 Close read`; `--list` shows the names
  --server NAME     lameduck, axum or hyper-util: that server alone
  --runs N          how often each cell is played (1)
  --seed N          what is left to chance comes from it (1)
  --parallel N      so many servers at a time (16)
  --list            the cells' names, and nothing is played
  --help            this
";

/// What is going to be done.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) short: bool,
    pub(crate) only: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) runs: usize,
    pub(crate) seed: u64,
    pub(crate) parallel: usize,
    pub(crate) list: bool,
}

impl Default for Args {
    fn default() -> Self {
        Args {
            short: false,
            only: String::new(),
            columns: Column::ALL.to_vec(),
            runs: 1,
            seed: 1,
            parallel: 16,
            list: false,
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
                "--short" => args.short = true,
                "--only" => args.only = value()?,
                "--server" => {
                    let key = value()?;
                    let column = Column::parse(&key).ok_or(format!("{key} is no server"))?;
                    args.columns = vec![column];
                }
                "--runs" => args.runs = number(&option, &value()?, 1, 1000)? as usize,
                "--seed" => args.seed = number(&option, &value()?, 0, u64::MAX)?,
                "--parallel" => args.parallel = number(&option, &value()?, 1, 64)? as usize,
                "--list" => args.list = true,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("{option} is unknown; try --help")),
            }
        }
        match args.scenes().is_empty() {
            true => Err(format!("no cell's name has {:?}; try --list", args.only)),
            false => Ok(Some(args)),
        }
    }

    /// Every scene of one run, with the clients that were asked for. Those of lameduck come first.
    pub(crate) fn scenes(&self) -> Vec<Scene> {
        let mut scenes = Vec::new();
        for &column in &self.columns {
            for protocol in Protocol::ALL {
                for moment in Moment::ALL {
                    for cast in Cast::ALL {
                        scenes.extend(self.scenes_of(column, protocol, moment, cast));
                    }
                }
            }
        }
        scenes
    }

    /// One scene with all who can share a server, and one for each who cannot.
    fn scenes_of(
        &self,
        column: Column,
        protocol: Protocol,
        moment: Moment,
        cast: Cast,
    ) -> Vec<Scene> {
        // Without SIGTERM they would have no end.
        let is_endless = cast == Cast::Stuck && moment == Moment::Normal;
        if is_endless || !moment.exists_for(column) {
            return Vec::new();
        }
        if self.short && !is_telling(column, protocol, moment, cast) {
            return Vec::new();
        }
        let scene = |shapes: Vec<Shape>| Scene {
            column,
            protocol,
            moment,
            cast,
            shapes,
        };
        let nobody = scene(Vec::new());
        let wanted = |shape: &Shape| {
            shape.cast() == cast
                && shape.exists_in(protocol)
                && shape.exists_at(moment, column)
                && (!self.short || shape.is_telling())
                && format!("{nobody} {shape}").contains(&self.only)
        };
        let wanted = Shape::ALL.into_iter().filter(wanted);
        let (alone, together): (Vec<Shape>, Vec<Shape>) =
            wanted.partition(|shape| shape.is_alone_at(moment));
        let alone = alone.into_iter().map(|shape| vec![shape]);
        let casts = alone.chain([together]).filter(|shapes| !shapes.is_empty());
        casts.map(scene).collect()
    }
}

/// Whether a scene is in the short table. One of a peer is enough to see that clients can lose.
fn is_telling(column: Column, protocol: Protocol, moment: Moment, cast: Cast) -> bool {
    match column {
        Column::Lameduck => {
            !protocol.is_tls() && matches!(moment, Moment::LameDuck | Moment::Close)
        }
        Column::Axum => {
            protocol == Protocol::Http1 && moment == Moment::Drain && cast == Cast::Ending
        }
        Column::HyperUtil => {
            protocol == Protocol::Http2 && moment == Moment::Drain && cast == Cast::Ending
        }
    }
}

fn number(option: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or(format!("{option} wants a number from {least} to {most}"))
}
