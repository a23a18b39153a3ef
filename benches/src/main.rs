//! Runs the benchmarks: all of them, or those that are named.

use std::process::ExitCode;
use std::time::Duration;

use lameduck_benches::{callgrind, loaded, parts, pictures, served, table, work};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["work", workload, times, past] => {
            work::live_before(number(past));
            work::run(workload, number(times));
        }
        ["count", workload, times] => {
            let instructions = callgrind::instructions(workload, number(times));
            println!("{workload}: {instructions:.1}");
        }
        ["files", workload, times] => {
            for (file, instructions) in callgrind::by_file(workload, number(times)) {
                println!("{instructions:9.1} {file}");
            }
        }
        ["lines", workload, times] => {
            for ((file, line), instructions) in callgrind::by_line(workload, number(times)) {
                println!("{instructions:9.1} {file}:{line}");
            }
        }
        // The processes that the parts start.
        ["serve", server, spread] => served::run(server, Duration::from_millis(number(spread))),
        ["load", server, nodelay, core] => {
            let id = number(core) as usize;
            core_affinity::set_for_current(core_affinity::CoreId { id });
            loaded::run(server, nodelay == "true");
        }
        ["leave", peer] => parts::exit::leave(peer),
        ["gate"] => {
            (parts::GATE.run)();
            if !table::missed().is_empty() {
                return ExitCode::FAILURE;
            }
        }
        ["pictures"] => pictures::draw(),
        ["--help"] => help(),
        ref names => return suite(names),
    }
    ExitCode::SUCCESS
}

fn suite(names: &[&str]) -> ExitCode {
    let unknown = |name: &&&str| parts::ALL.iter().all(|part| part.name != **name);
    if let Some(name) = names.iter().find(unknown) {
        eprintln!("no such part: {name}");
        help();
        return ExitCode::FAILURE;
    }
    let wanted = |part: &&parts::Part| names.is_empty() || names.contains(&part.name);
    parts::ALL
        .iter()
        .filter(wanted)
        .for_each(|part| (part.run)());
    let missed = table::missed();
    println!("\n{} missed their target", missed.len());
    for line in missed {
        println!("  {line}");
    }
    ExitCode::SUCCESS
}

fn number(text: &str) -> u64 {
    text.parse().expect("a number")
}

fn help() {
    println!("suite [PART ...]                 runs these parts, or all:");
    for part in parts::ALL {
        println!("  {:12} {}", part.name, part.about);
    }
    println!(
        "suite gate                       {}; fails if one is above",
        parts::GATE.about
    );
    println!("suite pictures                   draws those in docs/");
    println!(
        "suite count WORKLOAD TIMES       instructions for one time, e.g. request/http1/router/lameduck 1000"
    );
    println!("suite files WORKLOAD TIMES       the same by source file");
    println!("suite lines WORKLOAD TIMES       the same by source line");
}
