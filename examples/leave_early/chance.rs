//! What chance can do: how far a count can be believed, and what no simulation sees.

use crate::clock::{Column, MIN, QUIET, SECOND};

/// The quiet times that are looked at, and the least that must have come in each.
const WINDOWS: i32 = 20;
const LEAST: u32 = 14;

/// With 95 % confidence the chance of what was seen `seen` times of `all` is below this.
pub(crate) fn at_most(seen: u64, all: u64) -> f64 {
    let (seen, all) = (seen as f64, all as f64);
    if seen == 0.0 {
        // The rule of three.
        return (3.0 / all).min(1.0);
    }
    // Wilson's, one-sided.
    const Z: f64 = 1.645;
    let share = seen / all;
    let middle = share + Z * Z / (2.0 * all);
    let half = Z * (share * (1.0 - share) / all + Z * Z / (4.0 * all * all)).sqrt();
    ((middle + half) / (1.0 + Z * Z / all)).min(1.0)
}

/// The chance that steady traffic of `rate` a second is left while it is routed here: that it has proved enough, and a silence
/// comes in what remains of LameDuck all the same. `part` of it is still routed here, and never moves. The sum over when the
/// silence begins is a bound from above.
pub(crate) fn of_steady(rate: f64, part: f64, column: Column) -> f64 {
    let seconds = |millis| millis as f64 / SECOND as f64;
    let quiet = seconds(QUIET);
    let proved = (1.0 - below(LEAST, rate * quiet)).powi(WINDOWS);
    let later = seconds(column.lame_duck - MIN);
    let rate = rate * part;
    let silent = (-rate * quiet).exp() * (1.0 + rate * later);
    proved * silent.min(1.0)
}

/// The worst of all rates, and its chance.
pub(crate) fn worst_of_steady(part: f64, column: Column) -> (f64, f64) {
    let rates = (1..=2000).map(|tenth| f64::from(tenth) / 10.0);
    rates
        .map(|rate| (rate, of_steady(rate, part, column)))
        .fold(
            (0.0, 0.0),
            |worst, one| {
                if one.1 > worst.1 { one } else { worst }
            },
        )
}

/// The chance that fewer than `least` come where `mean` are expected.
fn below(least: u32, mean: f64) -> f64 {
    let mut term = (-mean).exp();
    let mut sum = 0.0;
    for count in 0..least {
        sum += term;
        term *= mean / f64::from(count + 1);
    }
    sum.min(1.0)
}
