//! How a report is logged: as one event whose fields can be searched, and for people as the page, line by line.

use std::time::Duration;

use super::Report;
use crate::plain::{self, LONGEST_TEXT};

impl Report {
    /// Logs the report: its numbers with the summary as message, at `info` if it is clean and at `warn` if not; its page at `debug`.
    pub(crate) fn log(&self, summary: &str) {
        let hooks_failed = self.hooks().filter(|hook| !hook.outcome.is_done()).count();
        let per_second: Vec<String> = self.traffic.per_second.iter().map(u64::to_string).collect();
        let per_second = (!per_second.is_empty()).then(|| per_second.join(" "));
        // One event, whose level is a constant of its place.
        macro_rules! event {
            ($level:ident) => {
                tracing::$level!(
                    target: "lameduck",
                    reason = %plain::line(format_args!("{}", self.reason), LONGEST_TEXT),
                    clean = self.is_clean(),
                    exit_code = self.code(),
                    took_ms = milliseconds(self.took),
                    budget_ms = milliseconds(self.budget),
                    served = self.traffic.served,
                    refused = self.traffic.refused,
                    cut = self.cut,
                    last_arrival_ms = self.traffic.last_arrival.map(milliseconds),
                    per_second = per_second.map(display),
                    connections_closed = self.connections.closed,
                    connections_cut = self.connections.cut,
                    long_told = self.long.told,
                    long_cut = self.long.cut,
                    hooks_failed,
                    tasks_failed = self.failed_tasks(),
                    "{summary}"
                )
            };
        }
        match self.is_clean() {
            true => event!(info),
            false => event!(warn),
        }
        if tracing::enabled!(target: "lameduck", tracing::Level::DEBUG) {
            for line in self.to_string().lines() {
                tracing::debug!(target: "lameduck", "{line}");
            }
        }
    }
}

pub(crate) fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
