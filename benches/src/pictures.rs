//! The pictures of `docs/performance.md`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use crate::parts::closing::close;
use crate::svg::{Axis, Line, chart};
use crate::timing::nanoseconds;
use crate::wire::Version;
use crate::work::guard::subjects;

const COLOURS: [&str; 5] = ["#d1495b", "#2e86ab", "#8a8d91", "#3a9d5d", "#c98a1b"];
const THREADS: [usize; 4] = [1, 2, 4, 8];
const MANY: usize = 10_000;
const SPREAD: Duration = Duration::from_secs(3);

pub fn draw() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    let write = |name: &str, svg: String| {
        let file = docs.join(name);
        fs::write(&file, svg).expect("docs can be written");
        println!("{}", file.display());
    };
    write("guard.svg", guard());
    write("closings.svg", closings());
}

fn guard() -> String {
    let shown = [
        "lameduck guard",
        "TaskTracker token",
        "Arc clone",
        "swansong guard",
        "hyper-util watcher",
    ];
    let subjects = subjects();
    let lines: Vec<Line> = shown
        .into_iter()
        .zip(COLOURS)
        .map(|(name, colour)| {
            let subject = subjects.iter().find(|subject| subject.name == name);
            let subject = subject.expect("it is one of them");
            let points =
                THREADS.map(|threads| (threads as f64, nanoseconds(subject, threads).median));
            println!("{name}: {points:.1?}");
            Line {
                name: name.to_owned(),
                colour,
                points: points.to_vec(),
            }
        })
        .collect();
    let most = lines
        .iter()
        .flat_map(|line| &line.points)
        .map(|point| point.1);
    let most = (most.fold(0.0, f64::max) / 20.0).ceil() as u32;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    chart(
        &format!("Taking and dropping a guard, {cores} cores"),
        &Axis {
            title: "threads",
            marks: THREADS.map(|threads| threads as f64).to_vec(),
        },
        &Axis {
            title: "ns of processor time each",
            marks: (0..=most).map(|mark| f64::from(mark) * 20.0).collect(),
        },
        &lines,
    )
}

fn closings() -> String {
    let of = |name: &str, server, spread, colour| {
        let closing = close(server, MANY, Version::Http2, spread);
        let ended = closing.clients.iter().map(Duration::as_secs_f64);
        // Every hundredth is enough to draw.
        let points = ended
            .enumerate()
            .map(|(number, at)| (at, (number + 1) as f64));
        let points = points.filter(|point| (point.1 as usize).is_multiple_of(100));
        Line {
            name: name.to_owned(),
            colour,
            points: std::iter::once((0.0, 0.0)).chain(points).collect(),
        }
    };
    let lines = [
        of("lameduck, spread over 3 s", "lameduck", SPREAD, COLOURS[0]),
        of(
            "lameduck, no spread",
            "lameduck",
            Duration::ZERO,
            COLOURS[4],
        ),
        of("axum::serve", "axum", Duration::ZERO, COLOURS[1]),
        of("hyper-util", "hyper-util", Duration::ZERO, COLOURS[3]),
    ];
    chart(
        "10,000 idle connections of HTTP/2: how many have closed",
        &Axis {
            title: "seconds since SIGTERM",
            marks: vec![0.0, 1.0, 2.0, 3.0, 4.0],
        },
        &Axis {
            title: "closed",
            marks: vec![0.0, 2500.0, 5000.0, 7500.0, 10000.0],
        },
        &lines,
    )
}
