//! The fault matrix as a test: whatever holds it up, a process is gone before the grace period is over.
//!
//! Shorter than `cargo run --example fault_matrix`, which is the measurement.

#![cfg(all(feature = "hyper", feature = "signal"))]

mod process;

use std::sync::{Mutex, PoisonError};

use process::Process;

// Cases 5, 15, 16, 20, 66, 67, 73, 74, 75, 76, 84, 87, 89, and what else the list in the example's `abuse.rs` has.
#[test]
fn a_process_is_gone_before_the_grace_period_is_over_whatever_holds_it_up() {
    // Longer than the measurement's, and without a quota: how late the machine is must not decide here.
    assert_gone(&["--grace", "6", "--no-quota", "--parallel", "6"]);
}

#[test]
fn a_process_with_a_tenth_of_a_core_is_gone_before_the_shortest_grace_period_is_over() {
    let quota = [
        "quota",
        "quota-blocked",
        "quota-errors-full",
        "quota-spinning",
    ];
    let only = quota.iter().flat_map(|fault| ["--only", fault]);
    let options = only.chain(["--grace", "2", "--parallel", "4"]);
    assert_gone(&options.collect::<Vec<_>>());
}

/// One after the other: a process that spins takes the processor from the others.
static ALONE: Mutex<()> = Mutex::new(());

fn assert_gone(options: &[&str]) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let options = [options, &["--runs", "1"]].concat();

    let ended = Process::example("fault_matrix", &options, &[]).wait();

    let said = format!("{}{}", ended.stdout, ended.stderr);
    assert_eq!(ended.status.code(), Some(0), "{said}");
    let last = ended.stdout.lines().last().unwrap_or_default();
    assert!(last.starts_with("fault_matrix: "), "{last}");
    assert!(
        last.contains(" runs, 0 past their time, 0 failed"),
        "{last}"
    );
}
