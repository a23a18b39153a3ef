//! The parts of the suite: each measures one thing and prints its table and its verdicts.

pub mod allocations;
mod ask;
pub mod closing;
pub mod exit;
mod footprint;
mod gate;
mod guard;
mod load;
mod memory;
pub mod request;

/// A part: its name, what it measures, and how.
pub struct Part {
    pub name: &'static str,
    pub about: &'static str,
    pub run: fn(),
}

const fn part(name: &'static str, about: &'static str, run: fn()) -> Part {
    Part { name, about, run }
}

pub const ALL: [Part; 10] = [
    part("guard", "1. taking and dropping a guard", guard::run),
    part("ask", "2. asking, and waiting for the shutdown", ask::run),
    part("request", "3. a request", request::requests),
    part("allocations", "3. its allocations", allocations::run),
    part("connection", "4. a connection", request::connections),
    part("memory", "5. memory of an idle connection", memory::run),
    part("closing", "6. closing many connections", closing::run),
    part("exit", "7. from the last guard to the end", exit::run),
    part("footprint", "8. building a service", footprint::run),
    part("load", "9. real sockets under load, by h2load", load::run),
];

/// Not one of them: a few of their figures, for every change.
pub const GATE: Part = part(
    "gate",
    "instructions and allocations, against limits",
    gate::run,
);
