//! Text from outside, as a terminal and a log may show it.
//!
//! A client chooses the path and the method that a report names its request by. So a name is short, and has no character that
//! moves a cursor, ends a line, or changes the direction of the text around it.

use std::fmt::{self, Write};

/// How many characters a name has at most.
const LONGEST: usize = 200;

/// In place of a character that is not plain.
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Whether a character only stands for itself: no control, line end, or mark or override of direction (UAX #9).
pub(crate) fn is_plain(it: char) -> bool {
    let line_end = matches!(it, '\u{2028}' | '\u{2029}');
    let direction = matches!(
        it,
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
    );
    !it.is_control() && !line_end && !direction
}

/// How many characters of a text of the application's, such as a reason or an error, are printed at most.
pub(crate) const LONGEST_TEXT: usize = 400;

/// How many characters of an error or a panic's message are kept.
pub(crate) const LONGEST_ERROR: usize = 4_096;

/// An error or a panic's message, to be kept: as it is, and cut if it is long.
///
/// # Panics
///
/// If `error` cannot be printed, as `to_string` does.
pub(crate) fn error(error: impl fmt::Display) -> String {
    let mut kept = Bounded::new(LONGEST_ERROR, None);
    let printed = write!(kept, "{error}");
    if kept.is_cut {
        kept.text.push('…');
    } else {
        printed.expect("an error can be printed");
    }
    kept.text
}

/// A name from outside: plain, and cut if it is long.
pub(crate) fn name(text: fmt::Arguments<'_>) -> String {
    let mut name = Bounded::new(LONGEST, Some(REPLACEMENT));
    // It fails when it has enough.
    if name.write_fmt(text).is_err() {
        name.text.push('…');
    }
    name.text
}

/// One plain line of at most `longest` characters, the last of which says whether something was cut off. Line ends and what else
/// is not plain become spaces.
pub(crate) fn line(text: fmt::Arguments<'_>, longest: usize) -> String {
    let mut line = Bounded::new(longest, Some(' '));
    if line.write_fmt(text).is_err() {
        line.text.pop();
        line.text.push('…');
    }
    line.text
}

/// Takes characters until it is full: nobody makes the whole of a long text first.
struct Bounded {
    text: String,
    room: usize,
    /// In place of what is not plain, if it is not to stay.
    replacement: Option<char>,
    is_cut: bool,
}

impl Bounded {
    const fn new(room: usize, replacement: Option<char>) -> Self {
        Bounded {
            text: String::new(),
            room,
            replacement,
            is_cut: false,
        }
    }
}

impl Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = text.char_indices().nth(self.room);
        let fits = end.map_or(text, |(end, _)| &text[..end]);
        self.room -= fits.chars().count();
        match self.replacement {
            None => self.text.push_str(fits),
            Some(replacement) => {
                let plain = |it| if is_plain(it) { it } else { replacement };
                self.text.extend(fits.chars().map(plain));
            }
        }
        if fits.len() < text.len() {
            self.is_cut = true;
            return Err(fmt::Error);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cases;

    #[test]
    fn name_is_cut_at_a_character_when_it_is_too_long() {
        let fits = "ä".repeat(LONGEST);
        let long = "ä".repeat(LONGEST + 1);

        assert_eq!(name(format_args!("{fits}")), fits);
        assert_eq!(name(format_args!("{long}")), format!("{fits}…"));
        assert_eq!(name(format_args!("GET {}", "a".repeat(60_000))).len(), 203);
    }

    #[test]
    fn what_moves_a_cursor_or_turns_a_text_is_replaced() {
        let odd = "/\u{202e}gpj\u{2069}\u{9b}2J\r\n\u{200f}\u{61c}\u{feff}x";

        assert_eq!(name(format_args!("{odd}")), "/�gpj��2J����\u{feff}x");
    }

    #[test]
    fn line_is_cut_at_a_character_when_it_is_too_long() {
        assert_eq!(line(format_args!("ä\nä"), 3), "ä ä");
        assert_eq!(line(format_args!("ä\nää"), 3), "ä …");
    }

    #[test]
    fn error_stays_as_it_is_and_is_cut_at_a_character_when_it_is_too_long() {
        let fits = "ä\n".repeat(LONGEST_ERROR / 2);

        assert_eq!(error(&fits), fits);
        assert_eq!(error(format!("{fits}x")), format!("{fits}…"));
    }

    #[test]
    fn error_that_goes_on_when_nothing_more_is_taken_is_cut() {
        struct Deaf;
        impl fmt::Display for Deaf {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                for _ in 0..=LONGEST_ERROR {
                    let _ = f.write_str("x");
                }
                Ok(())
            }
        }

        assert_eq!(error(Deaf), "x".repeat(LONGEST_ERROR) + "…");
    }

    #[test]
    fn any_name_is_short_and_plain_and_a_good_one_stays() {
        let odd = "[\u{0}-\u{20}\u{7f}-\u{a0}\u{61c}\u{200b}-\u{2070}a-z]{0,300}";
        let texts = prop_oneof![odd, any::<String>()];
        cases::check(1_000, texts, |text| {
            let name = name(format_args!("{text}"));

            assert!(name.chars().count() <= LONGEST + 1, "{name:?}");
            assert!(name.chars().all(is_plain), "{name:?}");
            if text.chars().count() <= LONGEST && text.chars().all(is_plain) {
                assert_eq!(name, text);
            }
        });
    }
}
