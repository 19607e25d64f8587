//! What is written can be pushed, and is read as the same value.

use std::fmt::Debug;
use std::net::IpAddr;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use datastream::value::{Json, Text, Value, ValueError, ValueType, check, decode, encode};

use super::Pool;

/// Asserts that each value is written in the grammar of its type, and is the same when it is read.
fn assert_round_trip<T: Value + PartialEq + Debug>(values: impl IntoIterator<Item = T>) {
    for value in values {
        let text = value.to_text().expect("the value has a text");
        assert_eq!(check(T::WRITES.name(), &text), Ok(T::WRITES), "{value:?}");
        assert_eq!(decode::<T>(T::WRITES.name(), &text).as_ref(), Ok(&value));
        assert_eq!(encode(&value), Ok(text));
    }
}

#[test]
fn numbers_are_read_as_they_were_written() {
    assert_round_trip([i8::MIN, 0, i8::MAX]);
    assert_round_trip([i16::MIN, 0, i16::MAX]);
    assert_round_trip([i32::MIN, 0, i32::MAX]);
    assert_round_trip([i64::MIN, -1, 0, i64::MAX]);
    assert_round_trip([isize::MIN, 0, isize::MAX]);
    assert_round_trip([u8::MIN, u8::MAX]);
    assert_round_trip([u16::MIN, u16::MAX]);
    assert_round_trip([u32::MIN, u32::MAX]);
    assert_round_trip([u64::MIN, i64::MAX as u64]);
    assert_round_trip([usize::MIN, i64::MAX as usize]);
    assert_round_trip([0.0, -0.0, 0.1, 1.0, 1e16, 1e-7, 5e-324, f64::MAX, f64::MIN, f64::EPSILON]);
    assert_round_trip([0.0, 0.1, 1e-45, f32::MAX, f32::MIN, f32::MIN_POSITIVE]);
    let bits = std::iter::repeat_with(|| f64::from_bits(fastrand::u64(..))).filter(|float| float.is_finite());
    assert_round_trip(bits.take(10_000));
}

#[test]
fn other_values_are_read_as_they_were_written() {
    assert_round_trip([true, false]);
    assert_round_trip(["", " a\n", "\u{1f680}\0"].map(String::from));
    assert_round_trip([Bytes::new(), Bytes::from_static(b" \xff ")]);
    assert_round_trip([Vec::new(), b" \xff ".to_vec()]);
    assert_round_trip([serde_json::json!({"a": [1, -0.5, null, "b"], "": {}}), serde_json::json!(5)]);
    assert_round_trip([Json(Pool { size: 5, hosts: vec!["a".into()] })]);
    assert_round_trip(["127.0.0.1", "::1"].map(|text| Text(text.parse::<IpAddr>().expect("an address"))));
    assert_round_trip([Text(-5_i64)]);
}

#[test]
fn times_are_read_as_they_were_written() {
    let longest = Duration::from_nanos(i64::MAX as u64);
    let durations = std::iter::repeat_with(|| Duration::from_nanos(fastrand::u64(..=i64::MAX as u64)));
    assert_round_trip(
        [Duration::ZERO, Duration::from_nanos(1), longest].into_iter().chain(durations.take(1_000)),
    );
    // The first second of the year 1, and the last of 9999.
    let (first, end) = (Duration::from_secs(62_135_596_800), Duration::from_secs(253_402_300_800));
    let instants =
        std::iter::repeat_with(|| UNIX_EPOCH + Duration::from_nanos(fastrand::u64(..=i64::MAX as u64)));
    let bounds = [UNIX_EPOCH, UNIX_EPOCH - first, UNIX_EPOCH + end - Duration::from_nanos(1)];
    assert_round_trip(bounds.into_iter().chain(instants.take(1_000)));

    for outside in [UNIX_EPOCH - first - Duration::from_nanos(1), UNIX_EPOCH + end] {
        assert_eq!(outside.to_text(), Err(ValueError::OutOfRange { target: "timestamp" }));
    }
    let too_long = Err(ValueError::OutOfRange { target: "duration" });
    assert_eq!((longest + Duration::from_nanos(1)).to_text(), too_long);
    assert_eq!(Duration::MAX.to_text(), too_long);
}

#[test]
fn the_writers_are_canonical() {
    let cases = [(0, "0s"), (90_000, "1m30s"), (3_600_000, "1h"), (250, "250ms"), (3_600_250, "1h250ms")];
    for (millis, text) in cases {
        assert_eq!(Duration::from_millis(millis).to_text(), Ok(Bytes::from(text)));
    }
    assert_eq!((UNIX_EPOCH + Duration::from_millis(1_500)).to_text(), Ok("1970-01-01T00:00:01.500Z".into()));
    assert_eq!(1e21_f64.to_text(), Ok("1e21".into()));
}

#[test]
fn what_has_no_text_is_not_written() {
    assert_eq!((i64::MAX as u64 + 1).to_text(), Err(ValueError::OutOfRange { target: "int" }));
    assert_eq!(u64::MAX.to_text(), Err(ValueError::OutOfRange { target: "int" }));
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(matches!(float.to_text(), Err(ValueError::Grammar { value_type: ValueType::Float, .. })));
    }
    assert!(matches!(f32::NAN.to_text(), Err(ValueError::Grammar { .. })));
    assert!(matches!(encode(&Json(f64::NAN)), Err(ValueError::Refused { .. })), "JSON has no such number");
    let deep = (0..65).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    assert!(matches!(encode(&deep), Err(ValueError::Json { .. })));
}
