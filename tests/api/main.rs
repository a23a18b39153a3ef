//! The public API, as a list that is committed: whoever changes it sees what, and so does the reviewer.
//!
//! rustdoc says what is public (its JSON); `listing` makes lines of that, `render` writes types as Rust does.

#![cfg(target_os = "linux")]

mod listing;
mod render;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// The version of rustdoc's JSON that `listing` and `render` read. It is not stable, so each may be another.
const FORMAT: u64 = 57;

/// Set to write the list anew.
const UPDATE: &str = "LAMEDUCK_API";

#[test]
fn public_api_is_the_one_that_is_committed() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/api/all_features.txt");
    let documented = document();
    if documented["format_version"] != FORMAT {
        let other = &documented["format_version"];
        println!(
            "the public API was not checked: rustdoc's JSON is of version {other}, not {FORMAT}"
        );
        return;
    }
    let listed = listing::of(&documented);
    let text = listed
        .iter()
        .map(|line| format!("{line}\n"))
        .collect::<String>();
    if std::env::var_os(UPDATE).is_some() {
        std::fs::write(&file, text).expect("there is room for a file");
        return;
    }

    let committed = std::fs::read_to_string(&file).expect("it is committed");
    let changes = changes(&committed, &text);
    assert!(
        changes.is_empty(),
        "the public API has changed:\n{}\nif that is meant: {UPDATE}=update cargo test --all-features --test api",
        changes.join("\n")
    );
}

/// What rustdoc says of the crate, in a target directory of its own: the variable that lets it say so changes what is built.
fn document() -> Value {
    let directory = target().join("api");
    let done = Command::new(env!("CARGO"))
        .args([
            "rustdoc",
            "--quiet",
            "--lib",
            "--all-features",
            "--target-dir",
        ])
        .arg(&directory)
        .args(["--", "-Z", "unstable-options", "--output-format", "json"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env_remove("RUSTDOCFLAGS")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .status()
        .expect("cargo is there");
    assert!(done.success(), "rustdoc documents the crate");
    let json = std::fs::read(directory.join("doc/lameduck.json")).expect("rustdoc has written it");
    serde_json::from_slice(&json).expect("it is JSON")
}

/// This test is `target/debug/deps/api-…`.
fn target() -> PathBuf {
    let test = std::env::current_exe().expect("a test has a path");
    test.ancestors()
        .nth(3)
        .expect("it lies in the target directory")
        .to_owned()
}

fn changes(committed: &str, listed: &str) -> Vec<String> {
    let (before, after): (BTreeSet<_>, BTreeSet<_>) =
        (committed.lines().collect(), listed.lines().collect());
    let gone = before.difference(&after).map(|line| format!("- {line}"));
    let new = after.difference(&before).map(|line| format!("+ {line}"));
    gone.chain(new).collect()
}

#[test]
fn changes_are_named() {
    assert_eq!(changes("a\nb\n", "a\nb\n"), [""; 0]);
    assert_eq!(changes("a\nb\n", "b\nc\n"), ["- a", "+ c"]);
}
