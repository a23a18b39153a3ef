//! 8. What it costs to build: a small service with this crate and without it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use crate::table::{Table, at_most, heading};

const WITHOUT: &str = include_str!("../footprint/without.rs");
const WITH: &str = include_str!("../footprint/with.rs");

/// What both need, as an axum service with a graceful shutdown does.
const DEPENDENCIES: &str = r#"
axum = "0.8.9"
tokio = { version = "1.45", features = ["macros", "net", "rt-multi-thread", "signal"] }
"#;

struct Footprint {
    crates: usize,
    seconds: f64,
    bytes: u64,
}

pub fn run() {
    heading("8. A small axum service, built from nothing (release profile)");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = root.parent().expect("benches is a folder of the crate");
    let dependency = format!("lameduck = {{ path = {ours:?} }}\n");
    let without = measure(root, "without", WITHOUT, "");
    let with = measure(root, "with", WITH, &dependency);
    let mut table = Table::new(["", "crates", "seconds", "size of the program, KiB"]);
    for (name, it) in [("axum's graceful shutdown", &without), ("lameduck", &with)] {
        table.row([
            name.to_owned(),
            it.crates.to_string(),
            format!("{:.1}", it.seconds),
            (it.bytes / 1024).to_string(),
        ]);
    }
    table.print();
    println!("{} crates more", with.crates - without.crates);
    at_most(
        "build time with / without",
        with.seconds / without.seconds,
        1.25,
        "x",
    );
    at_most(
        "size with / without",
        with.bytes as f64 / without.bytes as f64,
        1.25,
        "x",
    );
}

fn measure(root: &Path, name: &str, main: &str, dependency: &str) -> Footprint {
    let package = root.join("target/footprint").join(name);
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
    let start = Instant::now();
    cargo(&["build", "--release"]);
    let seconds = start.elapsed().as_secs_f64();
    let program = package.join("target/release/service");
    Footprint {
        crates: crates.len(),
        seconds,
        bytes: fs::metadata(program).expect("it was built").len(),
    }
}
