//! A number of pods, or a percentage of the replicas.

use std::fmt;
use std::str::FromStr;

/// What `maxSurge` and `maxUnavailable` are given as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Amount {
    Pods(u64),
    Percent(u64),
}

impl Amount {
    pub(crate) const fn rounded_up(self, replicas: u64) -> u64 {
        match self {
            Amount::Pods(pods) => pods,
            Amount::Percent(percent) => (replicas * percent).div_ceil(100),
        }
    }

    pub(crate) const fn rounded_down(self, replicas: u64) -> u64 {
        match self {
            Amount::Pods(pods) => pods,
            Amount::Percent(percent) => replicas * percent / 100,
        }
    }

    /// Zero as it is given, before any rounding.
    pub(crate) const fn is_zero(self) -> bool {
        matches!(self, Amount::Pods(0) | Amount::Percent(0))
    }
}

impl FromStr for Amount {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, is_percent) = match text.strip_suffix('%') {
            Some(number) => (number, true),
            None => (text, false),
        };
        // A sign would be accepted by `parse`. What fits into 32 bits can be multiplied with any number of replicas.
        let number = Some(number)
            .filter(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
            .and_then(|number| number.parse::<u32>().ok())
            .ok_or(format!(
                "`{text}` is neither a number of pods such as 3 nor a percentage such as 25%"
            ))?;
        Ok(match is_percent {
            true => Amount::Percent(number.into()),
            false => Amount::Pods(number.into()),
        })
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Amount::Pods(pods) => write!(f, "{pods}"),
            Amount::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn number_and_percentage_are_read_and_written_back() {
        for text in ["0", "3", "0%", "25%", "100%", "150%"] {
            let amount: Amount = text.parse().expect(text);

            assert_eq!(amount.to_string(), text);
        }
    }

    #[test]
    fn anything_else_is_refused_by_name() {
        for text in [
            "",
            "%",
            "-1",
            "+1",
            "-5%",
            "2.5%",
            "25 %",
            "25%%",
            "%25",
            "half",
            "20Percent",
            "4294967296",
        ] {
            let error = text.parse::<Amount>().expect_err(text);

            assert!(
                error.starts_with(&format!("`{text}` is neither")),
                "{error}"
            );
        }
    }

    #[test]
    fn only_percentages_are_rounded() {
        let replicas = 10;

        assert_eq!(Amount::Percent(25).rounded_up(replicas), 3);
        assert_eq!(Amount::Percent(25).rounded_down(replicas), 2);
        assert_eq!(Amount::Percent(50).rounded_up(replicas), 5);
        assert_eq!(Amount::Percent(50).rounded_down(replicas), 5);
        assert_eq!(Amount::Pods(7).rounded_up(replicas), 7);
        assert_eq!(Amount::Pods(7).rounded_down(replicas), 7);
    }
}
