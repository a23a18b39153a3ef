//! 3. The allocations of a request.

use std::process::Command;

use crate::table::{heading, note_missed};

pub fn run() {
    heading("3. The allocations of a request");
    let program = std::env::current_exe().expect("this program has a path");
    // Beside this one: its allocator counts.
    let ended = Command::new(program.with_file_name("allocations")).status();
    let ended = ended.expect("both are built together, by benches/run");
    if !ended.success() {
        note_missed("allocations: see there");
    }
}
