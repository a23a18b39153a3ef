//! 8. What it costs to build: a small service with this crate and without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::table::{Table, heading};

const WITHOUT: &str = include_str!("../footprint/without.rs");
const WITH: &str = include_str!("../footprint/with.rs");

/// What both need, as an axum service with a graceful shutdown does.
const DEPENDENCIES: &str = r#"
tokio = { version = "1.45", features = ["macros", "net", "rt-multi-thread", "signal"] }
"#;

struct Footprint {
    crates: usize,
    /// By the clock, and of all processors: the latter does not count what else the machine builds.
    seconds: f64,
    worked: f64,
    bytes: u64,
}

pub fn run() {
    heading("8. A small axum service, built from nothing (release profile)");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = root.parent().expect("benches is a folder of the crate");
    const AXUM: &str = "axum = \"0.8.9\"\n";
    const HTTP2: &str = "axum = { version = \"0.8.9\", features = [\"http2\"] }\n";
    let with = format!("{AXUM}lameduck = {{ path = {ours:?} }}\n");
    let built = [
        ("axum's graceful shutdown, HTTP/1 only", WITHOUT, AXUM),
        ("axum's graceful shutdown, with HTTP/2", WITHOUT, HTTP2),
        ("lameduck, with HTTP/2", WITH, &with),
    ];
    let built = built.map(|(name, main, dependency)| (name, measure(root, main, dependency)));
    let mut table = Table::new([
        "",
        "crates",
        "seconds of processors",
        "seconds by the clock",
        "size of the program, KiB",
    ]);
    for (name, it) in &built {
        table.row([
            (*name).to_owned(),
            it.crates.to_string(),
            format!("{:.1}", it.worked),
            format!("{:.1}", it.seconds),
            (it.bytes / 1024).to_string(),
        ]);
    }
    table.print();
    for (name, it) in &built[..2] {
        let ours = &built[2].1;
        println!(
            "beside {name}: {} crates more, {:.2}x the work, {:.2}x the size",
            ours.crates - it.crates,
            ours.worked / it.worked,
            ours.bytes as f64 / it.bytes as f64
        );
    }
}

fn measure(root: &Path, main: &str, dependency: &str) -> Footprint {
    let package = root.join("target/footprint");
    let _ = fs::remove_dir_all(&package);
    fs::create_dir_all(package.join("src")).expect("it can be written");
    let manifest = format!(
        "[package]\nname = \"service\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n[workspace]\n\n[dependencies]\n{DEPENDENCIES}{dependency}"
    );
    let write = |file: PathBuf, text: &str| fs::write(file, text).expect("it can be written");
    write(package.join("Cargo.toml"), &manifest);
    write(package.join("src/main.rs"), main);
    // The same versions as everything here.
    let _ = fs::copy(root.join("Cargo.lock"), package.join("Cargo.lock"));
    let cargo = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO"))
            .current_dir(&package)
            .env("CARGO_TARGET_DIR", package.join("target"))
            .env_remove("RUSTFLAGS")
            .args(arguments)
            .output()
            .expect("cargo is there");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo {arguments:?}: {said}");
        output.stdout
    };
    let tree = cargo(&["tree", "-e", "normal", "--prefix", "none", "--no-dedupe"]);
    let tree = String::from_utf8_lossy(&tree).into_owned();
    let mut crates: Vec<&str> = tree.lines().collect();
    crates.sort_unstable();
    crates.dedup();
    // What has to be downloaded is no part of the time.
    cargo(&["fetch"]);
    let start = (Instant::now(), worked());
    cargo(&["build", "--release"]);
    let seconds = start.0.elapsed().as_secs_f64();
    let worked = worked() - start.1;
    let program = package.join("target/release/service");
    Footprint {
        crates: crates.len(),
        seconds,
        worked,
        bytes: fs::metadata(program).expect("it was built").len(),
    }
}

/// Processor time of the processes that this one has waited for, in seconds (proc_pid_stat(5): `cutime` and `cstime`).
fn worked() -> f64 {
    const TICKS: f64 = 100.0;
    let stat = fs::read_to_string("/proc/self/stat").expect("this is Linux");
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields = after_name.split_whitespace().skip(13).take(2);
    let ticks = fields.filter_map(|field| field.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS
}
