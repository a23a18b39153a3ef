//! Runs the benchmarks: all of them, or those that are named.

use lameduck_benches::{callgrind, work};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["work", workload, times] => work::run(workload, times.parse().expect("a number")),
        ["count", workload, times] => {
            let n = times.parse().expect("a number");
            println!("{workload}: {:.1}", callgrind::instructions(workload, n));
        }
        ["files", workload, times] => {
            let n = times.parse().expect("a number");
            for (file, instructions) in callgrind::by_file(workload, n) {
                println!("{instructions:9.1} {file}");
            }
        }
        ["lines", workload, times] => {
            let n = times.parse().expect("a number");
            for ((file, line), instructions) in callgrind::by_line(workload, n) {
                println!("{instructions:9.1} {file}:{line}");
            }
        }
        _ => todo!(),
    }
}
