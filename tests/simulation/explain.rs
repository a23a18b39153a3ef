//! What is printed of a rule that was broken.

use std::fmt::Write as _;

use crate::oracle::Broken;
use crate::scenario::Scenario;
use crate::trace::Event;

pub(crate) fn explain(broken: &Broken, scenario: &Scenario, trace: &[Event]) -> String {
    let mut text = format!("\nbroken: {}\n  {}\n", broken.rule, broken.how);
    _ = write!(text, "the scenario:\n{scenario}what was seen:\n");
    for event in trace {
        _ = writeln!(text, "{event}");
    }
    text
}
