//! The termination log: what `kubectl describe pod` says of the end.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Mutex, OnceLock, PoisonError};

/// The longest line, in bytes. The kubelet shows the last 4 KiB of the file, and two lines may come: the summary, and the
/// watchdog's.
const LONGEST_LINE: usize = 2048;

/// A container's termination log, if there is one.
pub(crate) struct TerminationLog {
    path: Mutex<PathBuf>,
    file: OnceLock<Option<File>>,
}

impl TerminationLog {
    pub(crate) fn set_path(&self, path: PathBuf) {
        *self.path.lock().unwrap_or_else(PoisonError::into_inner) = path;
    }

    /// Opens it before it is needed: at the end there may be no time for that.
    pub(crate) fn open(&self) {
        self.file();
    }

    /// Opened once, never created: outside Kubernetes there is no such file, and none is wanted.
    fn file(&self) -> Option<&File> {
        let opened = self.file.get_or_init(|| {
            let path = self.path.lock().unwrap_or_else(PoisonError::into_inner);
            let opened = OpenOptions::new().append(true).open(&*path);
            if let Err(error) = &opened {
                tracing::debug!(target: "lameduck", path = %path.display(), %error, "no termination log");
            }
            opened.ok()
        });
        opened.as_ref()
    }

    pub(crate) fn is_there(&self) -> bool {
        self.file().is_some()
    }

    /// Appends a line. What is too long is cut.
    pub(crate) fn write(&self, line: &str) {
        let Some(mut file) = self.file() else {
            return;
        };
        // One write, so that two lines never mix.
        let line = format!("{}\n", cut(&format!("lameduck: {line}")));
        if let Err(error) = file.write_all(line.as_bytes()) {
            tracing::debug!(target: "lameduck", %error, "the termination log cannot be written");
        }
    }
}

impl Default for TerminationLog {
    /// Where Kubernetes has it by default.
    fn default() -> Self {
        TerminationLog {
            path: Mutex::new(PathBuf::from("/dev/termination-log")),
            file: OnceLock::new(),
        }
    }
}

fn cut(line: &str) -> String {
    const MARK: &str = "…";
    // With its end it has that length.
    if line.len() < LONGEST_LINE {
        return line.to_owned();
    }
    let mut end = LONGEST_LINE - MARK.len() - 1;
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{MARK}", &line[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_lines_fit_what_is_shown_of_the_termination_log() {
        for line in ["x".repeat(2_047), "x".repeat(2_048), "é…".repeat(3_000)] {
            let cut = cut(&line);

            assert!(cut.len() < LONGEST_LINE, "{}", cut.len());
            assert_eq!(cut == line, line.len() < LONGEST_LINE);
        }
    }
}
