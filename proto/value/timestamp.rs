//! Points in time, such as `2026-11-23T18:00:00Z`.

use std::ops::RangeInclusive;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use prost_types::Timestamp;

use super::{Value, ValueError, ValueType};

/// The seconds of the years 1 to 9999 in UTC: what RFC 3339 and protobuf's Timestamp can both say.
const SECONDS: RangeInclusive<i64> = -62_135_596_800..=253_402_300_799;

const GRAMMAR: ValueError = ValueError::Grammar {
    value_type: ValueType::Timestamp,
    rule: "a date and time of RFC 3339 with T, Z or an offset, and no leap second, such as 2026-11-23T18:00:00Z",
};

/// Reads a `timestamp`.
pub(super) fn parse(text: &[u8]) -> Result<Timestamp, ValueError> {
    if !has_shape(text) {
        return Err(GRAMMAR);
    }
    let text = str::from_utf8(text).map_err(|_| GRAMMAR)?;
    let time: Timestamp = text.parse().map_err(|_| GRAMMAR)?;
    if SECONDS.contains(&time.seconds) { Ok(time) } else { Err(GRAMMAR) }
}

/// Whether the text is written as RFC 3339 wants it; the parser of `prost_types` then judges the calendar,
/// but would also take a lower-case `t`, a space, a missing zone, a leap second and the year 0.
fn has_shape(text: &[u8]) -> bool {
    let Some((date_time, rest)) = text.split_at_checked("0000-00-00T00:00:00".len()) else { return false };
    let zone = match rest.strip_prefix(b".") {
        None => rest,
        Some(fraction) => {
            let digits = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
            if !(1..=9).contains(&digits) {
                return false;
            }
            &fraction[digits..]
        }
    };
    fits(date_time, b"0000-00-00T00:00:00")
        && !date_time.starts_with(b"0000")
        && !date_time.ends_with(b"60")
        && (zone == b"Z" || fits(zone, b"+00:00") || fits(zone, b"-00:00"))
}

/// Whether the text is the pattern, in which `0` stands for any digit.
fn fits(text: &[u8], pattern: &[u8]) -> bool {
    let same = |(byte, sample): (&u8, &u8)| byte == sample || *sample == b'0' && byte.is_ascii_digit();
    text.len() == pattern.len() && text.iter().zip(pattern).all(same)
}

impl Value for SystemTime {
    const READS: &'static [ValueType] = &[ValueType::Timestamp];
    const WRITES: ValueType = ValueType::Timestamp;

    fn from_text(_: ValueType, text: &Bytes) -> Result<Self, ValueError> {
        parse(text)?.try_into().map_err(|_| ValueError::too_wide::<Self>())
    }

    fn to_text(&self) -> Result<Bytes, ValueError> {
        let outside = ValueError::OutOfRange { target: ValueType::Timestamp.name() };
        let distance = self.duration_since(UNIX_EPOCH).unwrap_or_else(|before| before.duration());
        // Beyond this the conversion below could panic.
        if distance.as_secs() > SECONDS.end().unsigned_abs() {
            return Err(outside);
        }
        let time = Timestamp::from(*self);
        if SECONDS.contains(&time.seconds) { Ok(time.to_string().into()) } else { Err(outside) }
    }
}
