//! What is shown: the announcement, the matrix, and the last line.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use crate::args::Args;
use crate::matrix::Matrix;
use crate::run::Run;

pub(crate) fn announcement(args: &Args) -> String {
    let graces: Vec<String> = args.graces.iter().map(|grace| whole(*grace)).collect();
    format!(
        "A service suffers one fault and gets SIGTERM, as a real process, on this machine. It has to be gone by itself before the \
         grace period is over.\n\
         \n\
         faults         {}\n\
         grace periods  {}\n\
         runs of each   {}, {} at a time\n\
         seed           {}",
        args.abuses.len(),
        graces.join(", "),
        args.runs,
        args.parallel,
        args.seed,
    )
}

pub(crate) const LEGEND: &str = "\
Each cell: runs x longest time from SIGTERM to the exit, and its part of the time that there was. That is the grace period;
but a process that is continued beyond its hard deadline has 250 ms from there.
";

/// Each cell: how many runs, the longest time from SIGTERM to the exit, and its part of the time that there was.
pub(crate) fn table(args: &Args, matrix: &Matrix) -> String {
    let mut table = format!("{:<27}", "fault");
    for grace in &args.graces {
        let _ = write!(table, "{:>19}", whole(*grace));
    }
    let _ = writeln!(table, "   exit codes");
    for abuse in &args.abuses {
        let _ = write!(table, "{:<27}", abuse.key);
        let of_abuse = |run: &&Run| std::ptr::eq(run.settings.abuse, *abuse);
        let runs = || matrix.runs.iter().filter(of_abuse);
        for grace in &args.graces {
            let runs: Vec<&Run> = runs().filter(|run| run.settings.grace == *grace).collect();
            let _ = write!(table, "{:>19}", cell(&runs));
        }
        let codes: BTreeSet<String> = runs().map(code).collect();
        let codes: Vec<String> = codes.into_iter().collect();
        let failed = runs().filter(|run| !run.faults().is_empty()).count();
        let verdict = match failed {
            0 => "ok".to_owned(),
            failed => format!("{failed} FAILED"),
        };
        let _ = writeln!(table, "   {:<10}  {verdict}", codes.join(", "));
    }
    table
}

/// `fault_matrix: 600 runs, all gone in time; the worst took 98.4 % of its grace period: …`
pub(crate) fn last_line(matrix: &Matrix) -> String {
    let all = matrix.runs.len();
    let late = matrix.runs.iter().filter(|run| run.is_late()).count();
    let failed = matrix.failures().len();
    let worst = matrix.runs.iter().max_by(|one, other| {
        let (one, other) = (one.share(), other.share());
        one.total_cmp(&other)
    });
    let worst = worst.map_or_else(String::new, |run| {
        format!(
            "; worst {:.3} s of {:.3} s ({:.1} %), {}",
            run.took.as_secs_f64(),
            run.limit.as_secs_f64(),
            run.share() * 100.0,
            run.settings.abuse.key
        )
    });
    let repeated = match matrix.repeated {
        0 => String::new(),
        repeated => format!(", {repeated} repeated on a machine that was late"),
    };
    format!("fault_matrix: {all} runs, {late} past their time, {failed} failed{repeated}{worst}")
}

fn cell(runs: &[&Run]) -> String {
    let worst = runs.iter().max_by_key(|run| run.took);
    worst.map_or_else(
        || "-".to_owned(),
        |run| {
            let (took, share) = (run.took.as_secs_f64(), run.share() * 100.0);
            format!("{} x {took:.2} s {share:>4.0} %", runs.len())
        },
    )
}

fn code(run: &Run) -> String {
    run.code
        .map_or_else(|| "killed".to_owned(), |code| code.to_string())
}

fn whole(duration: Duration) -> String {
    format!("{} s", duration.as_secs())
}
