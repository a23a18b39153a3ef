//! A drill for anybody's server: stops it under load, and says what its clients lost.
//!
//! It knows a server by its command line and its port, so the server may be written in any language. It starts the server, finds
//! out what it speaks, loads it, sends SIGTERM at a drawn moment, plays the cluster around it (new connections are routed to
//! it for a while, or for ever; SIGKILL comes when the grace period is over), and accounts for every request: answered, or
//! lost, when, by what, and what to change.
//!
//! As a test of a service:
//!
//! ```no_run
//! # const APP: &str = "";
//! use std::process::Command;
//!
//! use lameduck_drill::Drill;
//!
//! # /*
//! #[test]
//! # */
//! fn nothing_is_lost_when_it_stops() {
//!     # /*
//!     let app = Command::new(env!("CARGO_BIN_EXE_app"));
//!     # */ let app = Command::new(APP);
//!     let outcome = Drill::new(app).port_arg("--port").run();
//!     assert!(outcome.is_clean(), "{outcome}");
//! }
//! ```
//!
//! As a program: `lameduck-drill -- ./server --port {port}`. The README has its options, and what it cannot know.

mod attempt;
mod client;
mod cluster;
mod connect;
mod drill;
mod error;
mod fault;
mod finding;
mod judge;
mod outcome;
mod play;
mod round;
mod scenario;
mod settings;
mod speaks;
mod survey;
mod table;
mod target;
mod tls;
mod unknown;

pub use self::attempt::{Fate, Way};
pub use self::drill::Drill;
pub use self::error::DrillError;
pub use self::fault::Fault;
pub use self::finding::Finding;
pub use self::outcome::{Departure, Loss, Outcome, Score};
pub use self::scenario::Scenario;
pub use self::settings::{Contract, Signal};
pub use self::speaks::Speaks;
pub use self::target::Stop;
