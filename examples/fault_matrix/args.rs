//! The command line.

use std::fmt::Write;
use std::time::Duration;

use crate::abuse::Abuse;

const GRACES: [Duration; 4] = [
    Duration::from_secs(2),
    Duration::from_secs(3),
    Duration::from_secs(4),
    Duration::from_secs(5),
];

/// What is going to be done.
#[derive(Clone, Debug)]
pub(crate) struct Args {
    pub(crate) abuses: Vec<&'static Abuse>,
    pub(crate) graces: Vec<Duration>,
    pub(crate) runs: u64,
    pub(crate) seed: u64,
    pub(crate) parallel: u32,
}

impl Default for Args {
    fn default() -> Self {
        Args {
            abuses: Abuse::all().iter().collect(),
            graces: GRACES.to_vec(),
            runs: 2,
            seed: 1,
            parallel: 2,
        }
    }
}

impl Args {
    /// `None` when help is asked for.
    pub(crate) fn parse(mut given: impl Iterator<Item = String>) -> Result<Option<Self>, String> {
        let mut args = Args::default();
        let (mut abuses, mut graces) = (Vec::new(), Vec::new());
        while let Some(option) = given.next() {
            let mut value = || given.next().ok_or(format!("{option} wants a value"));
            match option.as_str() {
                "--only" => {
                    let key = value()?;
                    abuses.push(Abuse::find(&key).ok_or(format!("{key} is no fault"))?);
                }
                "--no-quota" => args
                    .abuses
                    .retain(|abuse| !abuse.takes_the_processor_away()),
                "--grace" => {
                    let seconds = number(&option, &value()?, 1, 60)?;
                    graces.push(Duration::from_secs(seconds));
                }
                "--runs" => args.runs = number(&option, &value()?, 1, 1000)?,
                "--seed" => args.seed = number(&option, &value()?, 0, u64::MAX)?,
                "--parallel" => args.parallel = number(&option, &value()?, 1, 64)? as u32,
                "--help" | "-h" => return Ok(None),
                _ => return Err(format!("{option} is unknown; try --help")),
            }
        }
        if !abuses.is_empty() {
            args.abuses = abuses;
        }
        if !graces.is_empty() {
            args.graces = graces;
        }
        Ok(Some(args))
    }
}

pub(crate) fn help() -> String {
    let mut help = String::from(
        "\
fault_matrix: a real service suffers a fault, is told to stop, and has to be gone before the grace period is over

  --only FAULT     that one alone; may be given again
  --no-quota       none of those that take most of the processor away: they want a machine with nothing else to do
  --grace SECONDS  that grace period alone; may be given again (2, 3, 4, 5)
  --runs N         runs of each fault with each grace period (2)
  --seed N         what is left to chance comes from it (1)
  --parallel N     so many at a time; those that spin are alone (2)
  --help           this

",
    );
    for abuse in Abuse::all() {
        let _ = writeln!(help, "  {:<26}  {}", abuse.key, abuse.what);
    }
    help
}

fn number(option: &str, text: &str, least: u64, most: u64) -> Result<u64, String> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or(format!("{option} wants a number from {least} to {most}"))
}
