//! 1. Taking and dropping a guard.

use crate::callgrind;
use crate::table::{Table, at_most, heading};
use crate::timing::nanoseconds;
use crate::work::guard::subjects;

const TIMES: u64 = 20_000;

pub fn run() {
    heading("1. Taking and dropping a guard");
    let mut table = Table::new([
        "",
        "instructions",
        "ns, 1 thread: best",
        "median",
        "worst",
        "ns, 2 threads: median",
        "2 threads / 1",
    ]);
    let mut tracker = 0.0;
    let mut ours = [0.0; 3];
    let mut empty = 0.0;
    for subject in subjects() {
        let name = subject.name;
        let instructions = match callgrind::is_there() {
            true => callgrind::instructions(&format!("guard/{name}"), TIMES),
            false => f64::NAN,
        };
        let one = nanoseconds(&subject, 1);
        let two = nanoseconds(&subject, 2);
        let ratio = two.median / one.median;
        match name {
            "an empty loop" => empty = instructions,
            "TaskTracker token" => tracker = one.median,
            "lameduck guard" => ours = [instructions, one.median, ratio],
            _ => {}
        }
        table.row([
            name.to_owned(),
            format!("{instructions:.0}"),
            format!("{:.1}", one.best),
            format!("{:.1}", one.median),
            format!("{:.1}", one.worst),
            format!("{:.1}", two.median),
            format!("{ratio:.2}"),
        ]);
    }
    table.print();
    println!("The loop itself is {empty:.0} of the instructions.");
    if callgrind::is_there() {
        at_most(
            "guard, instructions without the loop's",
            ours[0] - empty,
            30.0,
            "",
        );
    }
    at_most("guard, time / TaskTracker's", ours[1] / tracker, 1.0, "x");
    at_most("guard, 2 threads / 1", ours[2], 1.1, "x");
}
