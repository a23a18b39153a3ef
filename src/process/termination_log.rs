//! The termination log: what `kubectl describe pod` says of the end.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// A container's termination log, if there is one.
///
/// Opened when the shutdown begins, so that its end does not wait for that.
pub(crate) struct TerminationLog(Option<File>);

impl TerminationLog {
    /// Opened, never created: outside Kubernetes there is no such file, and none is wanted.
    pub(crate) fn open(path: &Path) -> Self {
        let opened = OpenOptions::new().append(true).open(path);
        if let Err(error) = &opened {
            tracing::debug!(target: "lameduck", path = %path.display(), %error, "no termination log");
        }
        TerminationLog(opened.ok())
    }

    pub(crate) const fn is_there(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn write(&mut self, summary: &str) {
        let Some(file) = &mut self.0 else {
            return;
        };
        if let Err(error) = file.write_all(format!("lameduck: {summary}\n").as_bytes()) {
            tracing::debug!(target: "lameduck", %error, "the termination log cannot be written");
        }
    }
}
