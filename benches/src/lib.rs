//! Benchmarks of `lameduck`, beside what people use today. See `docs/performance.md`.

pub mod callgrind;
pub mod servers;
pub mod table;
pub mod wire;
pub mod work;
