//! Benchmarks of `lameduck`, beside what people use today. See `docs/performance.md`.

pub mod callgrind;
pub mod crowd;
pub mod h2load;
pub mod loaded;
pub mod parts;
pub mod pictures;
pub mod process;
pub mod served;
pub mod servers;
pub mod svg;
pub mod table;
pub mod timing;
pub mod wire;
pub mod work;
