//! Durations as people write them.

use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error};

/// A duration in ms, written with a unit: `500ms`, `90s`, `10m`, `4h`, `14d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Millis(pub i64);

impl Millis {
    /// As the standard library's type.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0.max(0).unsigned_abs())
    }
}

impl<'de> Deserialize<'de> for Millis {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_ms(&text).map(Millis).map_err(|reason| D::Error::custom(format!("'{text}' is no duration: {reason}")))
    }
}

/// Reads `90s` and the like as ms; the error says what is wrong.
pub fn parse_ms(text: &str) -> Result<i64, String> {
    let duration = humantime::parse_duration(text.trim()).map_err(|error| error.to_string())?;
    i64::try_from(duration.as_millis()).map_err(|_| "too long".to_owned())
}

/// Writes ms the same way; from a minute on to the second, below with fractions.
pub fn show_ms(ms: i64) -> String {
    let ms = ms.max(0).unsigned_abs();
    let rounded = if ms >= 60_000 { (ms + 500) / 1000 * 1000 } else { ms };
    humantime::format_duration(Duration::from_millis(rounded)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes() {
        for (text, ms) in [("500ms", 500), ("90s", 90_000), ("10m", 600_000), ("4h", 14_400_000), ("1h 30m", 5_400_000)]
        {
            assert_eq!(parse_ms(text), Ok(ms));
        }
        assert!(parse_ms("90").is_err() && parse_ms("-1s").is_err() && parse_ms("soon").is_err());
        assert_eq!(show_ms(162_000), "2m 42s");
        assert_eq!(show_ms(675), "675ms");
        assert_eq!(show_ms(14_400_000), "4h");
    }
}
