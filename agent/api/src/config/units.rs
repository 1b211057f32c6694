//! Values with units: durations, sizes, percents.

use std::fmt;
use std::time::Duration;

use super::problem::{Place, Wrong, nearest};
use super::section::Reader;
use super::shown::Shown;
use super::value::Setting;

impl Setting for Duration {
    fn kind() -> String {
        "duration".to_owned()
    }
    fn read(text: &str, _: &Place, _: &Reader<'_>) -> Result<Self, Wrong> {
        parse_duration(text)
    }
    fn shown(&self) -> Shown {
        Shown::Text(format_duration(*self))
    }
}

/// A duration such as `90s`, `5m`, `1h30m` or `7d`. Days have 24 hours; months and years are refused.
pub fn parse_duration(text: &str) -> Result<Duration, Wrong> {
    let hint = "write a number and a unit, such as 500ms, 60s, 5m, 1h30m or 7d";
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        return Err(Wrong::new(format!("\"{text}\" has no unit"), hint));
    }
    let wrong = || Wrong::new(format!("\"{text}\" is not a duration"), hint);
    let span: jiff::Span = text.parse().map_err(|_| wrong())?;
    let duration = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(duration).map_err(|_| Wrong::new(format!("\"{text}\" lies in the past"), hint))
}

/// The shortest text of whole units that reads back as the same duration.
pub fn format_duration(duration: Duration) -> String {
    const UNITS: [(&str, u128); 6] = [
        ("d", 86_400_000_000_000),
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("ns", 1),
    ];
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (unit, nanos) in UNITS {
        if rest >= nanos {
            text.push_str(&format!("{}{unit}", rest / nanos));
            rest %= nanos;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

/// How often something is done, or never.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Every {
    /// Never: `off`.
    #[default]
    Off,
    /// That often.
    Each(Duration),
}

impl Setting for Every {
    fn kind() -> String {
        "off or a duration".to_owned()
    }
    fn read(text: &str, _: &Place, _: &Reader<'_>) -> Result<Self, Wrong> {
        if text == "off" {
            return Ok(Self::Off);
        }
        match parse_duration(text) {
            Ok(duration) => Ok(Self::Each(duration)),
            Err(wrong) => Err(Wrong::new(wrong.what, "write off, or a duration such as 7d")),
        }
    }
    fn shown(&self) -> Shown {
        Shown::Text(match self {
            Self::Off => "off".to_owned(),
            Self::Each(duration) => format_duration(*duration),
        })
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// Units of sizes: decimal ones and binary ones.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("B", 1),
    ("kB", 1_000),
    ("KiB", 1 << 10),
    ("MB", 1_000_000),
    ("MiB", 1 << 20),
    ("GB", 1_000_000_000),
    ("GiB", 1 << 30),
    ("TB", 1_000_000_000_000),
    ("TiB", 1 << 40),
];

impl std::str::FromStr for Bytes {
    type Err = Wrong;

    /// Plain bytes (`1048576`), or a number with a unit: `5MB` is 5,000,000, `5MiB` is 5,242,880.
    fn from_str(text: &str) -> Result<Self, Wrong> {
        let hint = "write bytes as 1048576, or with a unit: 5MB (10^6), 5MiB (2^20), 1GiB";
        let wrong = || Wrong::new(format!("\"{text}\" is not a size"), hint);
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = (&text[..digits], text[digits..].trim_start());
        let factor = match unit {
            "" => 1,
            "KB" => 1_000,
            _ => match SIZE_UNITS.iter().find(|(name, _)| *name == unit) {
                Some((_, factor)) => *factor,
                None => {
                    let hint = match nearest(unit, SIZE_UNITS.iter().map(|(name, _)| *name)) {
                        Some(near) => format!("did you mean {number}{near}? {hint}"),
                        None => hint.to_owned(),
                    };
                    return Err(Wrong::new(format!("\"{text}\" is not a size"), hint));
                }
            },
        };
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        // Up to nine decimals, so that 1.5GiB is exact and nothing can overflow.
        if whole.is_empty() || fraction.len() > 9 || (number.contains('.') && (fraction.is_empty() || factor == 1)) {
            return Err(wrong());
        }
        let whole: u128 = whole.parse::<u64>().map_err(|_| wrong())?.into();
        let fraction: u128 = format!("{fraction:0<9}").parse().map_err(|_| wrong())?;
        let bytes = whole * u128::from(factor) + fraction * u128::from(factor) / 1_000_000_000;
        u64::try_from(bytes).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Bytes {
    /// With the unit that makes the number smallest and exact.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = SIZE_UNITS
            .iter()
            .filter(|(_, factor)| *factor > 1 && self.0 > 0 && self.0.is_multiple_of(*factor))
            .max_by_key(|(_, factor)| *factor);
        match unit {
            Some((name, factor)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Setting for Bytes {
    fn kind() -> String {
        "size".to_owned()
    }
    fn read(text: &str, _: &Place, _: &Reader<'_>) -> Result<Self, Wrong> {
        text.parse()
    }
    fn shown(&self) -> Shown {
        if self.0 == 0 { Shown::Number(0) } else { Shown::Text(self.to_string()) }
    }
}

/// A share of a hundred, 0 to 100.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Percent(pub u8);

impl Setting for Percent {
    fn kind() -> String {
        "percent".to_owned()
    }
    fn read(text: &str, _: &Place, _: &Reader<'_>) -> Result<Self, Wrong> {
        text.strip_suffix('%')
            .unwrap_or(text)
            .trim_end()
            .parse()
            .ok()
            .filter(|percent| *percent <= 100)
            .map(Self)
            .ok_or_else(|| Wrong::new(format!("\"{text}\" is not a percent"), "write a number from 0 to 100"))
    }
    fn shown(&self) -> Shown {
        Shown::Number(self.0.into())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // tests may stop at the first surprise
    use super::*;

    #[test]
    fn durations_read_and_print() {
        let seconds = |text| parse_duration(text).map(|d| d.as_secs());
        assert_eq!(seconds("60s"), Ok(60));
        assert_eq!(seconds("5m"), Ok(300));
        assert_eq!(seconds("1h30m"), Ok(5400));
        assert_eq!(seconds("7d"), Ok(604_800));
        assert_eq!(seconds("0s"), Ok(0));
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for text in ["1d", "1h30m", "1m30s", "500ms", "1s500ms", "0s", "7d"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
    }

    #[test]
    fn a_duration_without_a_unit_or_with_a_wrong_one_is_refused() {
        assert_eq!(parse_duration("60").unwrap_err().what, "\"60\" has no unit");
        for text in ["", "5MB", "fast", "-5s", "1 month", "60 s ago", "s"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_tell_decimal_from_binary_units() {
        let bytes = |text: &str| text.parse::<Bytes>().map(|b| b.0);
        assert_eq!(bytes("5MB"), Ok(5_000_000));
        assert_eq!(bytes("1MiB"), Ok(1_048_576));
        assert_eq!(bytes("1GiB"), Ok(1_073_741_824));
        assert_eq!(bytes("1.5GiB"), Ok(1_610_612_736));
        assert_eq!(bytes("1048576"), Ok(1_048_576));
        assert_eq!(bytes("10 kB"), Ok(10_000));
        assert_eq!(bytes("0"), Ok(0));
        for text in ["5MB", "1MiB", "1GiB", "1500kB", "0", "17B"] {
            let value: Bytes = text.parse().unwrap();
            assert_eq!(value.to_string().parse::<Bytes>().unwrap(), value, "{text}");
        }
        assert_eq!(Bytes(5_000_000).to_string(), "5MB");
    }

    #[test]
    fn a_size_with_a_doubtful_unit_is_refused_with_a_proposal() {
        for text in ["", "5M", "5mb", "MB", "1.5", "-1MB", "5 parsecs", "99999999999TiB"] {
            assert!(text.parse::<Bytes>().is_err(), "{text}");
        }
        let wrong = "5mb".parse::<Bytes>().unwrap_err();
        assert!(wrong.hint.starts_with("did you mean 5MB?"), "{wrong}");
    }
}
