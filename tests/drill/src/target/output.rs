//! What a server writes: its last lines, and which handlers it says were entered.

use std::collections::{BTreeSet, VecDeque};
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::settings::Contract;

const TAIL: usize = 30;
/// A process that the server has started may keep its output open.
const PATIENCE: Duration = Duration::from_secs(1);

/// What stands before a request's number in a line of the contract.
const MARK: &str = "drill-request=";

#[derive(Debug)]
pub(crate) struct Output {
    said: Mutex<Said>,
    /// The contract's file, and how long it was when the server started.
    file: Option<(PathBuf, u64)>,
}

#[derive(Debug, Default)]
struct Said {
    tail: VecDeque<String>,
    entered: BTreeSet<u64>,
    readers: Vec<JoinHandle<()>>,
}

impl Output {
    pub(crate) fn new(contract: Option<&Contract>) -> Self {
        let file = match contract {
            Some(Contract::File(path)) => {
                let length = fs::metadata(path).map_or(0, |file| file.len());
                Some((path.clone(), length))
            }
            _ => None,
        };
        Output {
            said: Mutex::default(),
            file,
        }
    }

    /// Reads lines until the stream ends.
    pub(super) fn read(self: &Arc<Self>, stream: impl AsyncRead + Unpin + Send + 'static) {
        let output = Arc::clone(self);
        let reader = tokio::spawn(async move {
            let mut lines = BufReader::new(stream).split(b'\n');
            while let Ok(Some(line)) = lines.next_segment().await {
                output.line(&String::from_utf8_lossy(&line));
            }
        });
        self.said().readers.push(reader);
    }

    fn line(&self, line: &str) {
        let mut said = self.said();
        said.entered.extend(number(line));
        if said.tail.len() == TAIL {
            said.tail.pop_front();
        }
        said.tail.push_back(line.to_owned());
    }

    /// The last lines.
    pub(crate) fn tail(&self) -> String {
        let lines: Vec<_> = self.said().tail.iter().cloned().collect();
        lines.join("\n")
    }

    /// Waits for the rest of what a server that has left wrote.
    pub(crate) async fn ended(&self) {
        let readers = std::mem::take(&mut self.said().readers);
        for reader in readers {
            let _ = timeout(PATIENCE, reader).await;
        }
    }

    /// The requests whose handlers were entered, as far as the server has said.
    pub(crate) fn entered(&self) -> BTreeSet<u64> {
        let Some((path, length)) = &self.file else {
            return self.said().entered.clone();
        };
        let text = fs::read(path).unwrap_or_default();
        let start = usize::try_from(*length).unwrap_or(usize::MAX);
        // A file that is shorter was begun anew.
        let new = text.get(start..).unwrap_or(&text);
        String::from_utf8_lossy(new)
            .lines()
            .filter_map(number)
            .collect()
    }

    fn said(&self) -> MutexGuard<'_, Said> {
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn number(line: &str) -> Option<u64> {
    let (_, behind) = line.split_once(MARK)?;
    let digits = behind.trim_start_matches('"');
    let end = digits.find(|c: char| !c.is_ascii_digit());
    digits[..end.unwrap_or(digits.len())].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn number_stands_behind_its_mark_in_any_format() {
        assert_eq!(number("drill-request=17"), Some(17));
        assert_eq!(
            number(r#"INFO app: entered drill-request="18" path=/"#),
            Some(18)
        );
        assert_eq!(number(r#"{"message":"drill-request=19"}"#), Some(19));
        assert_eq!(number("drill-request="), None);
        assert_eq!(number("19"), None);
    }
}
