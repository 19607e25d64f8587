//! Lengths of time, such as `1m30s`.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;

use super::{Value, ValueError, ValueType};

/// The units and their nanoseconds, the largest first.
const UNITS: [(&str, u64); 6] = [
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1_000),
    ("ns", 1),
];

/// The longest duration, some 292 years: what every language's duration can hold.
const MAX_NANOS: u64 = i64::MAX as u64;

const GRAMMAR: ValueError = ValueError::Grammar {
    value_type: ValueType::Duration,
    rule: "whole numbers with h, m, s, ms, us, ns, the largest unit first, such as 1m30s, and at most 292 years",
};

/// Reads a `duration`.
pub(super) fn parse(text: &[u8]) -> Result<Duration, ValueError> {
    let text = str::from_utf8(text).map_err(|_| GRAMMAR)?;
    nanoseconds(text).filter(|nanos| *nanos <= MAX_NANOS).map(Duration::from_nanos).ok_or(GRAMMAR)
}

fn nanoseconds(mut text: &str) -> Option<u64> {
    let mut units = UNITS.as_slice();
    let mut total = 0_u64;
    loop {
        let (number, rest) = split_where(text, |character| !character.is_ascii_digit());
        let (name, rest) = split_where(rest, |character| character.is_ascii_digit());
        let unit = units.iter().position(|(unit, _)| *unit == name)?;
        if number.len() > 1 && number.starts_with('0') {
            return None;
        }
        let part = number.parse::<u64>().ok()?.checked_mul(units[unit].1)?;
        total = total.checked_add(part)?;
        // What was used, and what is larger, may not come again.
        units = &units[unit + 1..];
        text = rest;
        if text.is_empty() {
            return Some(total);
        }
    }
}

/// Splits before the first character that `ends` the first part.
fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

impl Value for Duration {
    const READS: &'static [ValueType] = &[ValueType::Duration];
    const WRITES: ValueType = ValueType::Duration;

    fn from_text(_: ValueType, text: &Bytes) -> Result<Self, ValueError> {
        parse(text)
    }

    fn to_text(&self) -> Result<Bytes, ValueError> {
        let too_long = ValueError::OutOfRange { target: ValueType::Duration.name() };
        let mut rest =
            u64::try_from(self.as_nanos()).ok().filter(|nanos| *nanos <= MAX_NANOS).ok_or(too_long)?;
        let mut text = String::new();
        for (unit, nanos) in UNITS {
            if rest >= nanos {
                write!(text, "{}{unit}", rest / nanos).expect("writing to a string does not fail");
                rest %= nanos;
            }
        }
        Ok(if text.is_empty() { Bytes::from_static(b"0s") } else { text.into() })
    }
}
