//! The command line.

use crate::traffic::Traffic;

pub(crate) const HELP: &str = "\
leave_early: how often LameDuck is left while traffic is still routed here, and what leaving early saves

  --seeds N       shutdowns of the crate for each kind of traffic and each column, on a paused clock (300)
  --drawn N       shutdowns of each rule as arithmetic, at least as many (3000)
  --seed N        all traffic comes from it (1)
  --no-processes  only what is seeded: no server is started
  --quick         some kinds of traffic, few shutdowns, a short schedule for the servers
  --help          this
";

/// What is going to be done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Args {
    pub(crate) seeds: u64,
    pub(crate) drawn: u64,
    pub(crate) seed: u64,
    pub(crate) processes: bool,
    pub(crate) quick: bool,
}

impl Args {
    /// `None` when help is asked for.
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let (mut seeds, mut drawn) = (None, None);
        let mut args = Args {
            seeds: 300,
            drawn: 3000,
            seed: 1,
            processes: true,
            quick: false,
        };
        while let Some(option) = given.next() {
            let mut value = || given.next().ok_or(format!("{option} wants a value"));
            match option.as_str() {
                "--seeds" => seeds = Some(number(&option, &value()?, 1, 10_000)?),
                "--drawn" => drawn = Some(number(&option, &value()?, 1, 100_000)?),
                "--seed" => args.seed = number(&option, &value()?, 0, u64::MAX)?,
                "--no-processes" => args.processes = false,
                "--quick" => (args.quick, args.seeds, args.drawn) = (true, 12, 200),
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("{option} is unknown; try --help")),
            }
        }
        args.seeds = seeds.unwrap_or(args.seeds);
        args.drawn = drawn.unwrap_or(args.drawn).max(args.seeds);
        Ok(Some(args))
    }

    pub(crate) fn kinds(&self) -> Vec<Traffic> {
        let mut kinds = Traffic::all();
        if self.quick {
            // Each of the promises, and one kind that breaks the rule.
            const SOME: [&str; 6] = [
                "steady, 0.5",
                "steady, 2",
                "steady, 5",
                "steady, 10",
                "steady, 20",
                "bursts, 4 min of 5 min",
            ];
            kinds.retain(|kind| SOME.contains(&kind.name));
        }
        kinds
    }
}

fn number(option: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or(format!("{option} wants a number from {least} to {most}"))
}
