//! 2. Asking whether the shutdown has begun, and waiting for it.

use crate::callgrind;
use crate::table::{Table, at_most, heading};
use crate::timing::nanoseconds;
use crate::work::{Subject, ask};

const TIMES: u64 = 20_000;

pub fn run() {
    heading("2. Asking whether the shutdown has begun");
    let asked = measure("ask", ask::questions());
    heading("2. A wake-up that is not about the shutdown: waiting for it is polled again");
    let woken = measure("wake", ask::wake_ups());
    let of = |of: &[(&str, f64)], name| of.iter().find(|it| it.0 == name).map_or(0.0, |it| it.1);
    // The peer that reads an atomic and can tell more than yes or no, as `phase` can.
    let changed = of(&asked, "watch has_changed");
    let ours = of(&asked, "lameduck is_shutting_down");
    at_most(
        "is_shutting_down, time / watch::has_changed",
        ours / changed,
        1.0,
        "x",
    );
    let token = of(&woken, "CancellationToken cancelled");
    let ours = of(&woken, "lameduck reached");
    at_most(
        "reached, time / CancellationToken::cancelled",
        ours / token,
        1.1,
        "x",
    );
    let ours = of(&woken, "lameduck Watched");
    at_most(
        "a connection's wake-up, time / CancellationToken::cancelled",
        ours / token,
        1.0,
        "x",
    );
}

fn measure(part: &str, subjects: Vec<Subject>) -> Vec<(&'static str, f64)> {
    let mut table = Table::new([
        "",
        "instructions",
        "ns, 1 thread: best",
        "median",
        "ns, 2 threads: median",
        "2 threads / 1",
    ]);
    let mut medians = Vec::new();
    for subject in subjects {
        let name = subject.name;
        let instructions = match callgrind::is_there() {
            true => callgrind::instructions(&format!("{part}/{name}"), TIMES),
            false => f64::NAN,
        };
        let one = nanoseconds(&subject, 1);
        let two = nanoseconds(&subject, 2);
        medians.push((name, one.median));
        table.row([
            name.to_owned(),
            format!("{instructions:.0}"),
            format!("{:.1}", one.best),
            format!("{:.1}", one.median),
            format!("{:.1}", two.median),
            format!("{:.2}", two.median / one.median),
        ]);
    }
    table.print();
    medians
}
