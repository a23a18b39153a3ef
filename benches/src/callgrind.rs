//! Counting instructions with callgrind.
//!
//! A workload is run twice, `n` times and `2n` times, in processes of their own. The difference is what `n` times cost, and
//! start-up is in both.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// Whether it is installed.
pub fn is_there() -> bool {
    let version = Command::new("valgrind").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

/// Instructions for one time of a workload.
pub fn instructions(workload: &str, n: u64) -> f64 {
    instructions_after(0, workload, n)
}

/// The mean over some [pasts](crate::work::live_before) of the heap.
pub fn mean_instructions(workload: &str, n: u64) -> f64 {
    let each = (1..=PASTS).map(|past| instructions_after(past, workload, n));
    each.sum::<f64>() / PASTS as f64
}

const PASTS: u64 = 3;

fn instructions_after(past: u64, workload: &str, n: u64) -> f64 {
    let total = |times| -> u64 { run(workload, times, past).by_file.values().sum() };
    let (once, twice) = (total(n), total(2 * n));
    assert!(once < twice, "{workload}: twice as often was not more");
    (twice - once) as f64 / n as f64
}

/// Instructions for one time of a workload, by the file whose line they belong to. What is inlined counts for the file that
/// it was written in.
pub fn by_file(workload: &str, n: u64) -> BTreeMap<String, f64> {
    by(workload, n, |profile| profile.by_file)
}

/// The same, by file and line.
pub fn by_line(workload: &str, n: u64) -> BTreeMap<(String, u32), f64> {
    by(workload, n, |profile| profile.by_line)
}

fn by<K: Ord>(
    workload: &str,
    n: u64,
    part: impl Fn(Profile) -> BTreeMap<K, u64>,
) -> BTreeMap<K, f64> {
    let once = part(run(workload, n, 0));
    let twice = part(run(workload, 2 * n, 0));
    let each = twice.into_iter().map(|(key, twice)| {
        let once = once.get(&key).copied().unwrap_or(0);
        (key, (twice as f64 - once as f64) / n as f64)
    });
    each.collect()
}

struct Profile {
    by_file: BTreeMap<String, u64>,
    by_line: BTreeMap<(String, u32), u64>,
}

fn run(workload: &str, times: u64, past: u64) -> Profile {
    let out = out_file();
    let program = std::env::current_exe().expect("this program has a path");
    let output = Command::new("valgrind")
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(program)
        .args(["work", workload, &times.to_string(), &past.to_string()])
        .output()
        .expect("valgrind is there");
    assert!(
        output.status.success(),
        "{workload} under valgrind:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let profile = read(&out);
    let _ = fs::remove_file(out);
    profile
}

fn out_file() -> PathBuf {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("lameduck-callgrind-{}-{next}", std::process::id());
    std::env::temp_dir().join(name)
}

/// Reads callgrind's own format ("Callgrind Format Specification"): self costs only.
fn read(out: &Path) -> Profile {
    let text = fs::read_to_string(out).expect("callgrind has written it");
    let mut names: BTreeMap<String, String> = BTreeMap::new();
    let mut profile = Profile {
        by_file: BTreeMap::new(),
        by_line: BTreeMap::new(),
    };
    let mut file = String::new();
    let mut line = 0_u32;
    let mut is_call = false;
    for text in text.lines() {
        if let Some((key, value)) = text.split_once('=') {
            match key {
                "fl" | "fi" | "fe" => file = full_name(&mut names, value),
                // The next line is the inclusive cost of what was called.
                "calls" => is_call = true,
                // Of the same numbering as the files above.
                "cfi" | "cfl" => drop(full_name(&mut names, value)),
                _ => {}
            }
            continue;
        }
        let Some((position, cost)) = text.split_once(' ') else {
            continue;
        };
        let Some(next) = moved(line, position) else {
            continue;
        };
        line = next;
        if std::mem::take(&mut is_call) {
            continue;
        }
        let Ok(cost) = cost.trim().parse::<u64>() else {
            continue;
        };
        *profile.by_file.entry(file.clone()).or_default() += cost;
        *profile.by_line.entry((file.clone(), line)).or_default() += cost;
    }
    // The last line. Without it the file was cut short, by a full disk say, and every figure would be wrong.
    let total = text.lines().find_map(|line| line.strip_prefix("totals: "));
    let total: Option<u64> = total.and_then(|total| total.trim().parse().ok());
    let sum = profile.by_file.values().sum();
    assert_eq!(total, Some(sum), "{} is not whole", out.display());
    profile
}

/// `(12) src/main.rs` the first time, `(12)` from then on.
fn full_name(names: &mut BTreeMap<String, String>, value: &str) -> String {
    let Some((number, name)) = value.split_once(')') else {
        return value.to_owned();
    };
    let name = name.trim();
    if !name.is_empty() {
        names.insert(number.to_owned(), name.to_owned());
    }
    names.get(number).cloned().unwrap_or_default()
}

/// `17`, or relative to the line before: `+3`, `-2`, `*`.
fn moved(line: u32, position: &str) -> Option<u32> {
    let (sign, number) = position.split_at(position.len().min(1));
    match sign {
        "*" => Some(line),
        "+" => Some(line + number.parse::<u32>().ok()?),
        "-" => Some(line - number.parse::<u32>().ok()?),
        _ => position.parse().ok(),
    }
}
