//! Counts the allocations of one request.

fn main() {}
