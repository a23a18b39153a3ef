//! A number of the plan: its value, where it came from, and how it is written.

use std::fmt;
use std::time::Duration;

use super::Platform;

/// Ten years. A later deadline than this could not be added to every clock's now.
pub(super) const LONGEST: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// A number and where it came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setting {
    pub(super) value: Duration,
    pub(super) origin: Origin,
}

impl Setting {
    pub(super) const fn new(value: Duration, origin: Origin) -> Self {
        Setting { value, origin }
    }

    pub(super) const fn by_hand(value: Duration) -> Self {
        Setting::new(value, Origin::Set)
    }

    pub(super) const fn derived(value: Duration) -> Self {
        Setting::new(value, Origin::Derived)
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", human(self.value), self.origin)
    }
}

/// Where a number came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Set,
    Variable(&'static str),
    Platform(Platform),
    Derived,
    Assumed,
    Local,
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Origin::Set => "set",
            Origin::Variable(name) => name,
            Origin::Platform(platform) => return write!(f, "default of {platform}"),
            Origin::Derived => "derived",
            Origin::Assumed => "assumed",
            Origin::Local => "local",
            Origin::Default => "default",
        })
    }
}

pub(super) fn total(settings: &[Setting]) -> Duration {
    settings.iter().map(|setting| setting.value).sum()
}

/// Digits, or digits, a dot and digits. Digits past nanoseconds are truncated; overflow becomes `Duration::MAX`.
pub(super) fn parse(text: &str) -> Option<Duration> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if !is_digits(whole) || !is_digits(fraction) {
        return None;
    }

    // Only digits are left, so what does not parse is too much.
    let Ok(seconds) = whole.parse() else {
        return Some(Duration::MAX);
    };
    let nanos = format!("{fraction:0<9.9}").parse().ok()?;
    Some(Duration::new(seconds, nanos))
}

/// Exact seconds: what [`parse`] reads back.
pub(super) fn decimal(duration: Duration) -> String {
    let text = format!("{}.{:09}", duration.as_secs(), duration.subsec_nanos());
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// Seconds to the millisecond, with the unit; exact if nothing would be left of them.
pub(super) fn human(duration: Duration) -> String {
    let rounded = format!("{:.3}", duration.as_secs_f64());
    match rounded.trim_end_matches('0').trim_end_matches('.') {
        "0" | "" => format!("{} s", decimal(duration)),
        rounded => format!("{rounded} s"),
    }
}
