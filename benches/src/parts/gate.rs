//! The gate: instructions and allocations, which do not depend on what else the machine does.

use crate::callgrind;
use crate::table::{at_most, heading};

use super::allocations;
use super::request::{costs, ratio};

const GUARDS: u64 = 20_000;
const REQUESTS: u64 = 500;
const CONNECTIONS: u64 = 100;

/// What was measured when this was last looked at. Lower it when the figure is lower.
const GUARD: f64 = 30.0;
const LAYER: f64 = 1.047;
const RATIOS: [(&str, &str, &str, f64); 6] = [
    ("request", "http1", "lameduck", 1.040),
    ("request", "http1", "lameduck-off", 1.026),
    ("request", "http2", "lameduck", 1.024),
    ("request", "http2", "lameduck-off", 1.021),
    // Its messages and its exit are followed from the first byte on, some 1,700 instructions: what was guessed is known by that.
    ("connection", "http1", "lameduck", 1.093),
    // 1.077 since half frames are bounded and responses leave together. It was 1.067 before, and its limit 1.072.
    ("connection", "http2", "lameduck", 1.050),
];
/// So much of a bare server may come on top: HTTP/2 differs by one in a hundred from run to run, because its hash tables are
/// seeded anew; and all by up to a hundred instructions from one state of the code to another, because something else is inlined.
const MARGIN: f64 = 0.03;

pub fn run() {
    heading("The gate");
    if callgrind::is_there() {
        let [guard, empty] = ["lameduck guard", "an empty loop"]
            .map(|subject| callgrind::instructions(&format!("guard/{subject}"), GUARDS));
        at_most(
            "guard, instructions without the loop's",
            guard - empty,
            GUARD * (1.0 + MARGIN),
            "",
        );
        for (part, version) in [
            ("request", "http1"),
            ("request", "http2"),
            ("connection", "http1"),
            ("connection", "http2"),
        ] {
            let limits = RATIOS.iter().filter(|it| it.0 == part && it.1 == version);
            let limits = limits.map(|it| (it.2, it.3));
            let layer = (part == "request" && version == "http1").then_some(("layer", LAYER));
            let limits: Vec<_> = limits.chain(layer).collect();
            let servers = ["bare"].into_iter().chain(limits.iter().map(|it| it.0));
            let times = match part {
                "request" => REQUESTS,
                _ => CONNECTIONS,
            };
            let costs = costs(part, version, "router", servers, times);
            for (server, limit) in limits {
                let what = format!("{part}, {version}, {server}, instructions / bare");
                at_most(&what, ratio(&costs, server), limit + MARGIN, "x");
            }
        }
    } else {
        println!("valgrind is not installed here: instructions were not counted");
    }
    allocations::run();
}
