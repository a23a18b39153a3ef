//! How event streams end.

use std::time::Duration;

use super::notices::RETRY_AFTER;
use super::spread;

/// What happens to server-sent events (`text/event-stream`) when their moment has come.
///
/// Set it with [`ShutdownCoordinator::event_streams`](crate::ShutdownCoordinator::event_streams). It holds for servers of ours
/// and under a [`DrainLayer`](crate::DrainLayer).
///
/// ```
/// use std::time::Duration;
/// use lameduck::{EventStreams, Plan, ShutdownCoordinator};
///
/// let shutdown = ShutdownCoordinator::new(Plan::immediate()).event_streams(
///     EventStreams::new()
///         .last_event("restart", "this replica is leaving")
///         .retry(Duration::from_millis(500), Duration::from_secs(5)),
/// );
/// ```
///
/// # Defaults
///
/// | setting | default |
/// |---|---|
/// | a stream ends at its moment | yes |
/// | last event | none |
/// | `retry:` | 1 to 3 s, drawn for each stream |
#[derive(Clone, Debug)]
#[must_use = "it holds only when it is given to the coordinator"]
pub struct EventStreams {
    ended: bool,
    last_event: String,
    retry: Option<(Duration, Duration)>,
}

impl EventStreams {
    /// The defaults.
    pub const fn new() -> Self {
        EventStreams {
            ended: true,
            last_event: String::new(),
            retry: Some(RETRY_AFTER),
        }
    }

    /// Ends each stream with this event. Its data may have several lines.
    ///
    /// # Panics
    ///
    /// When `name` has a line break, which an event's name cannot have.
    pub fn last_event(mut self, name: &str, data: &str) -> Self {
        assert!(
            !name.contains(['\r', '\n']),
            "an event's name has no line breaks: {name:?}"
        );
        // Each of the three ends a line of a stream (HTML, section 9.2.5).
        let data = data.replace("\r\n", "\n").replace('\r', "\n");
        let data = data.replace('\n', "\ndata: ");
        self.last_event = format!("event: {name}\ndata: {data}\n\n");
        self
    }

    /// Tells each client how long to wait before it comes back, drawn anew for each stream. An `EventSource` keeps to this
    /// until it is told another time (HTML, section 9.2.6).
    ///
    /// # Panics
    ///
    /// When `shortest` is longer than `longest`.
    pub fn retry(mut self, shortest: Duration, longest: Duration) -> Self {
        assert!(
            shortest <= longest,
            "the shortest time to come back, {shortest:?}, is longer than the longest, {longest:?}"
        );
        self.retry = Some((shortest, longest));
        self
    }

    /// Leaves the time before they come back to the clients.
    pub const fn without_retry(mut self) -> Self {
        self.retry = None;
        self
    }

    /// Ends no stream: each is counted, and cut at Close's deadline unless its handler ends it.
    pub const fn left_alone(mut self) -> Self {
        self.ended = false;
        self
    }

    #[cfg(feature = "tower")]
    pub(crate) const fn are_ended(&self) -> bool {
        self.ended
    }

    /// What is sent at the end of one stream.
    #[cfg(feature = "tower")]
    pub(crate) fn farewell(&self) -> String {
        let mut text = self.last_event.clone();
        if let Some((shortest, longest)) = self.retry {
            let wait = spread::between(shortest, longest).as_millis();
            text.push_str(&format!("retry: {wait}\n\n"));
        }
        text
    }
}

impl Default for EventStreams {
    fn default() -> Self {
        EventStreams::new()
    }
}

#[cfg(all(test, feature = "tower"))]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cases;

    /// What an `EventSource` makes of a stream (HTML, section 9.2.6): its events, by type and data, and the last `retry`.
    fn parsed(stream: &str) -> (Vec<(String, String)>, Option<u64>) {
        let stream = stream.replace("\r\n", "\n").replace('\r', "\n");
        let (mut events, mut retry) = (Vec::new(), None);
        let (mut kind, mut data) = (String::new(), String::new());
        // What is behind the last line end is no line yet.
        let whole = stream.rfind('\n').map_or("", |at| &stream[..at]);
        for line in whole.split('\n') {
            if line.is_empty() {
                if let Some(data) = data.strip_suffix('\n') {
                    let kind = if kind.is_empty() { "message" } else { &kind };
                    events.push((kind.to_owned(), data.to_owned()));
                }
                kind.clear();
                data.clear();
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut kind),
                "data" => data.extend([value, "\n"]),
                "retry" => retry = value.parse().ok().or(retry),
                _ => {}
            }
        }
        assert!(
            kind.is_empty() && data.is_empty(),
            "an event that is not over"
        );
        (events, retry)
    }

    #[test]
    fn any_last_event_is_read_as_it_was_set() {
        let texts = prop_oneof!["[\r\n: a\u{e4}]{0,12}", any::<String>()];
        let names = texts
            .clone()
            .prop_map(|name| name.replace(['\r', '\n'], ""));
        let ms = any::<u32>().prop_map(|ms| Duration::from_millis(ms.into()));
        cases::check(
            1_000,
            (names, texts, [ms.clone(), ms]),
            |(name, data, mut ms)| {
                ms.sort();
                let [shortest, longest] = ms;
                let streams = EventStreams::new()
                    .last_event(&name, &data)
                    .retry(shortest, longest);

                let farewell = streams.farewell();
                let (events, retry) = parsed(&format!("data: before\n\n{farewell}"));

                let kind = if name.is_empty() { "message" } else { &name };
                let data = data.replace("\r\n", "\n").replace('\r', "\n");
                let expected = [
                    ("message".to_owned(), "before".to_owned()),
                    (kind.to_owned(), data),
                ];
                assert_eq!(events, expected);
                let retry = Duration::from_millis(retry.unwrap());
                assert!(shortest <= retry && retry <= longest);
            },
        );
    }
}
