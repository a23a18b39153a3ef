//! Clients of every shape as a test: `lameduck` wrongs none of them, and the other servers do.
//!
//! Shorter than `cargo run --example client_table`, which is the whole table.

#![cfg(all(feature = "hyper", feature = "signal"))]

mod process;

use process::Process;

#[test]
fn clients_of_every_shape_get_their_due() {
    let ended = Process::example("client_table", &["--short"], &[]).wait();

    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    let last = ended.stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("lameduck: "), "{last}");
    assert!(last.contains(" clients, 0 wronged; axum: "), "{last}");
}
