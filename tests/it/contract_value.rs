//! The grammars of values, and which Rust type reads which.

use std::any::type_name;
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use datastream::value::{Json, Text, Value, ValueError, ValueType, check, decode, encode, same_type};
use serde::{Deserialize, Serialize};

/// A text of each type, in its grammar.
const SAMPLES: [(ValueType, &str); 8] = [
    (ValueType::Int, "5"),
    (ValueType::Float, "0.5"),
    (ValueType::Bool, "true"),
    (ValueType::String, "some text"),
    (ValueType::Json, r#"{"a":1}"#),
    (ValueType::Bytes, "\u{1}raw"),
    (ValueType::Duration, "1m30s"),
    (ValueType::Timestamp, "2026-11-23T18:00:00Z"),
];

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Pool {
    size: u8,
    hosts: Vec<String>,
}

fn read<T: Value>(value_type: &str, text: impl AsRef<[u8]>) -> Result<T, ValueError> {
    decode(value_type, &Bytes::copy_from_slice(text.as_ref()))
}

/// Asserts that `check` takes each text of a type, and that it takes none of the others.
fn assert_grammar(value_type: ValueType, good: &[&str], bad: &[&str]) {
    for text in good {
        assert_eq!(check(value_type.name(), text.as_bytes()), Ok(value_type), "{value_type} {text:.80}");
    }
    for text in bad {
        let error = check(value_type.name(), text.as_bytes()).expect_err(text);
        let typed = matches!(&error, ValueError::Grammar { value_type: of, .. } if *of == value_type)
            || matches!(error, ValueError::Json { .. } if value_type == ValueType::Json);
        assert!(typed, "{value_type} {text:.80}: {error:?}");
    }
}

#[test]
fn an_int_has_one_text() {
    let good = ["0", "5", "-5", "10", "9223372036854775807", "-9223372036854775808"];
    let long = "9".repeat(400);
    let bad = [
        "",
        " 1",
        "1 ",
        "\n1",
        "+1",
        "01",
        "-01",
        "-0",
        "--1",
        "-",
        "1.0",
        "1e3",
        "0x10",
        "\u{ff11}",
        "1_000",
        "1,5",
        "9223372036854775808",
        "-9223372036854775809",
        &long,
    ];
    assert_grammar(ValueType::Int, &good, &bad);
}

#[test]
fn a_float_is_a_finite_json_number_that_does_not_vanish() {
    let integer = format!("0.{}", "3".repeat(5000));
    let digits = format!("{}e-4999", "3".repeat(5000));
    let zeros = format!("0.{}e-4000", "0".repeat(5000));
    let good = [
        "0",
        "-0",
        "-0.0",
        "0.5",
        "5",
        "1E5",
        "1e+5",
        "1e-5",
        "-1.5e300",
        "5e-324",
        "1.7976931348623157e308",
        "0e400",
        "0.0e-400",
        &integer,
        &digits,
        &zeros,
    ];
    let vanishing = format!("0.{}1", "0".repeat(5000));
    let bad = [
        "",
        " 1",
        "1 ",
        "1\n",
        "+1",
        ".5",
        "5.",
        "01",
        "-",
        "1e",
        "1e+",
        "1_000",
        "1,5",
        "0x1p3",
        "NaN",
        "nan",
        "inf",
        "Infinity",
        "-Infinity",
        "1e400",
        "-1e400",
        "1e-400",
        "-1e-400",
        "0.5 1",
        "[1]",
        "\"1\"",
        "true",
        "null",
        "\u{ff11}",
        &vanishing,
    ];
    assert_grammar(ValueType::Float, &good, &bad);
}

#[test]
fn a_bool_is_true_or_false() {
    let bad = ["", "True", "TRUE", "1", "0", "yes", "no", "on", "off", "t", "f", " true", "true\n"];
    assert_grammar(ValueType::Bool, &["true", "false"], &bad);
}

#[test]
fn a_string_is_utf8_and_bytes_are_anything() {
    assert_grammar(ValueType::String, &["", " ", "a\0b\n", "\u{feff}\u{1f680}"], &[]);
    for text in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xc0\x80"] {
        assert!(matches!(
            check("string", text),
            Err(ValueError::Grammar { value_type: ValueType::String, .. })
        ));
        assert_eq!(check("bytes", text), Ok(ValueType::Bytes));
    }
    assert_eq!(check("bytes", b""), Ok(ValueType::Bytes));
}

#[test]
fn json_is_strict() {
    let good = [
        "null",
        "true",
        "-0.5e3",
        r#""text""#,
        "[]",
        "{}",
        r#" {"a": [1, {"a": 2}], "b": {"a": null}} "#,
        r#""\ud83d\ude80""#,
        r#"{"": 1, "A": 1, "a": 1}"#,
    ];
    let number = "1".repeat(10 << 20);
    let bad = [
        "",
        " ",
        "nul",
        "NaN",
        "Infinity",
        "'a'",
        "{a: 1}",
        "[1,]",
        r#"{"a":1,}"#,
        "[1] []",
        "{} x",
        "1 2",
        "\u{feff}1",
        r#""\ud800""#,
        r#""\udc00 ""#,
        r#"{"\ud800": 1}"#,
        "\"a\nb\"",
        "\"\0\"",
        "// a\n1",
        "01",
        "+1",
        "1e400",
        "[1",
        &number,
    ];
    assert_grammar(ValueType::Json, &good, &bad);
    assert!(matches!(check("json", b"\"\xff\""), Err(ValueError::Json { .. })));
    assert!(matches!(check("json", b"[\n\n  tru]"), Err(ValueError::Json { line: 3, .. })));
}

#[test]
fn json_refuses_a_member_twice_at_any_depth() {
    let texts = [
        r#"{"a":1,"a":1}"#,
        r#"{"a":1,"b":2,"a":3}"#,
        r#"[{"x":{"a":1,"\u0061":2}}]"#,
        r#"{"x":[[{"":1,"":1}]]}"#,
        r#"{"a":{},"a":{}}"#,
    ];
    for text in texts {
        let error = check("json", text.as_bytes()).expect_err(text);
        assert!(error.to_string().contains("same member twice"), "{text}: {error}");
    }
}

#[test]
fn json_is_at_most_64_deep() {
    let nested =
        |open: &str, inner: &str, close: &str, depth| open.repeat(depth) + inner + &close.repeat(depth);
    for (open, inner, close) in
        [("[", "", "]"), ("[", "1", "]"), (r#"{"a":"#, "1", "}"), ("[ ", "\"s\"", " ]")]
    {
        assert_eq!(check("json", nested(open, inner, close, 64).as_bytes()), Ok(ValueType::Json));
        for depth in [65, 100, 129, 10_000, 1_000_000] {
            let error = check("json", nested(open, inner, close, depth).as_bytes()).expect_err("too deep");
            assert!(error.to_string().contains("64 deep"), "{depth}: {error}");
        }
    }
    assert!(check("json", "[".repeat(1_000_000).as_bytes()).is_err());
}

#[test]
fn a_duration_names_its_units_once_and_largest_first() {
    let good = [
        "0s",
        "0h",
        "5s",
        "90s",
        "1m30s",
        "1h",
        "250ms",
        "1h2m3s4ms5us6ns",
        "1h6ns",
        "1h0m",
        "2562047h",
        "9223372036854775807ns",
        "2562047h47m16s854ms775us807ns",
    ];
    let bad = [
        "",
        "5",
        "s",
        "1d",
        "-5s",
        "+5s",
        "1e9h",
        "1.5s",
        "05s",
        "00s",
        "1s1m",
        "1s1s",
        "1h 5m",
        " 5s",
        "5s ",
        "5 s",
        "5S",
        "5sec",
        "5\u{b5}s",
        "\u{ff15}s",
        "1h5",
        "h5",
        "9223372036854775808ns",
        "2562048h",
        "2562047h47m16s854ms775us808ns",
        "18446744073709551616ns",
        "99999999999999999999h",
    ];
    assert_grammar(ValueType::Duration, &good, &bad);
}

#[test]
fn a_timestamp_is_rfc_3339() {
    let good = [
        "2026-11-23T18:00:00Z",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59.999999999Z",
        "2024-02-29T00:00:00Z",
        "2000-02-29T00:00:00Z",
        "2026-11-23T18:00:00.5+05:30",
        "2026-11-23T18:00:00-00:00",
        "1969-12-31T23:59:59.9Z",
        "2026-11-23T18:00:00+23:59",
    ];
    let bad = [
        "",
        "2026-11-23",
        "2026-11-23T18:00:00",
        "2026-11-23t18:00:00Z",
        "2026-11-23T18:00:00z",
        "2026-11-23 18:00:00Z",
        "2026-11-23T18:00Z",
        "2026-11-23T18:00:00.Z",
        "2026-11-23T18:00:00.1234567891Z",
        "2026-11-23T18:00:00,5Z",
        "2026-11-23T18:00:00+0530",
        "2026-11-23T18:00:00+05",
        "2026-11-23T18:00:00 Z",
        "2026-11-23T18:00:00Z ",
        "2026-11-23T18:00:00+24:00",
        "2026-11-23T18:00:00+05:60",
        "2026-11-23T23:59:60Z",
        "2016-12-31T23:59:60Z",
        "2026-11-23T18:60:00Z",
        "2026-11-23T24:00:00Z",
        "2026-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2026-02-30T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-00-10T00:00:00Z",
        "2026-13-10T00:00:00Z",
        "2026-11-00T00:00:00Z",
        "0000-12-31T00:00:00Z",
        "0000-12-31T23:00:00-05:00",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "99999-01-01T00:00:00Z",
        "+2026-11-23T18:00:00Z",
        "-2026-11-23T18:00:00Z",
        "26-11-23T18:00:00Z",
        "2026-1-3T18:00:00Z",
        "2026-11-+3T18:00:00Z",
        "\u{ff12}026-11-23T18:00:00Z",
        "1700000000",
    ];
    assert_grammar(ValueType::Timestamp, &good, &bad);
}

#[test]
fn a_timestamp_is_read_as_the_instant_it_names() {
    let at = |seconds, nanos| UNIX_EPOCH + Duration::new(seconds, nanos);
    let cases = [
        ("1970-01-01T00:00:00Z", at(0, 0)),
        ("2001-09-09T01:46:40Z", at(1_000_000_000, 0)),
        ("2001-09-09T03:16:40+01:30", at(1_000_000_000, 0)),
        ("2001-09-08T23:46:40.25-02:00", at(1_000_000_000, 250_000_000)),
        ("1969-12-31T23:59:59.5Z", UNIX_EPOCH - Duration::from_millis(500)),
    ];
    for (text, expected) in cases {
        assert_eq!(read("timestamp", text), Ok(expected), "{text}");
    }
}

#[test]
fn each_type_has_one_name_and_aliases_mean_the_same() {
    for value_type in ValueType::ALL {
        assert_eq!(ValueType::named(value_type.name()), Some(value_type));
        assert_eq!(value_type.to_string(), value_type.name());
    }
    let names = ValueType::ALL.map(ValueType::name);
    assert_eq!(names, ["int", "float", "bool", "string", "json", "bytes", "duration", "timestamp"]);
    for alias in ["text", "text/plain", ".txt", ".md", ".toml", ".yaml", ".yml"] {
        assert!(
            same_type(alias, "string") && same_type("string", alias) && !same_type(alias, "bytes"),
            "{alias}"
        );
    }
    assert!(same_type(".json", "json") && same_type("binary", "bytes") && same_type(".bin", "binary"));
    assert!(same_type("quux", "quux") && !same_type("quux", "quuz") && !same_type("quux", "string"));
}

#[test]
fn an_unknown_type_cannot_be_pushed_but_its_bytes_can_be_read() {
    for name in ["quux", "", "INT", "int ", "integer", "json5"] {
        assert!(matches!(check(name, b"1"), Err(ValueError::UnknownType { .. })), "{name}");
        assert!(matches!(read::<i64>(name, "1"), Err(ValueError::UnknownType { .. })), "{name}");
        assert!(matches!(read::<String>(name, "1"), Err(ValueError::UnknownType { .. })), "{name}");
        assert_eq!(read::<Vec<u8>>(name, b" \xff"), Ok(b" \xff".to_vec()));
        assert_eq!(read::<Bytes>(name, b" \xff"), Ok(Bytes::from_static(b" \xff")));
    }
}

/// Asserts what `T` reads and writes, by its constants and by reading a sample of every type.
fn assert_row<T: Value + Debug>(reads: &str, writes: &str) {
    let listed = T::READS.iter().map(|value_type| value_type.name()).collect::<Vec<_>>().join(", ");
    assert_eq!((listed.as_str(), T::WRITES.name()), (reads, writes), "{}", type_name::<T>());
    for (value_type, text) in SAMPLES {
        let found = read::<T>(value_type.name(), text);
        let unreadable = matches!(found, Err(ValueError::Unreadable { .. }));
        let expected = T::READS.contains(&value_type);
        assert_eq!(unreadable, !expected, "{} of {value_type}: {found:?}", type_name::<T>());
    }
}

#[test]
fn the_table_says_which_rust_type_reads_which() {
    let scalars = "int, float, bool, string, json";
    let all = "int, float, bool, string, json, bytes, duration, timestamp";
    let text = "int, float, bool, string, duration, timestamp";
    type Row = (&'static str, &'static str, &'static str, &'static [fn(&str, &str)]);
    let rows: [Row; 10] = [
        (
            "`i8` to `i64`, `u8` to `u64`, `isize`, `usize`",
            "int",
            "int",
            &[
                assert_row::<i8>,
                assert_row::<i16>,
                assert_row::<i32>,
                assert_row::<i64>,
                assert_row::<isize>,
                assert_row::<u8>,
                assert_row::<u16>,
                assert_row::<u32>,
                assert_row::<u64>,
                assert_row::<usize>,
            ],
        ),
        ("`f32`, `f64`", "int, float", "float", &[assert_row::<f32>, assert_row::<f64>]),
        ("`bool`", "bool", "bool", &[assert_row::<bool>]),
        ("`String`", "string", "string", &[assert_row::<String>]),
        ("`Json<T>`", "json", "json", &[assert_row::<Json<serde_json::Value>>]),
        ("`serde_json::Value`", scalars, "json", &[assert_row::<serde_json::Value>]),
        ("`Bytes`, `Vec<u8>`", all, "bytes", &[assert_row::<Bytes>, assert_row::<Vec<u8>>]),
        ("`Duration`", "duration", "duration", &[assert_row::<Duration>]),
        ("`SystemTime`", "timestamp", "timestamp", &[assert_row::<SystemTime>]),
        ("`Text<T>`", text, "string", &[assert_row::<Text<String>>, assert_row::<Text<IpAddr>>]),
    ];
    for (label, reads, writes, types) in rows {
        types.iter().for_each(|assert_row| assert_row(reads, writes));
        let documented = format!("//! | {label} | {reads} | {writes} |");
        assert!(include_str!("../../proto/value.rs").lines().any(|line| line == documented), "{documented}");
    }
}

#[test]
fn a_number_that_does_not_fit_is_an_error_of_that_reader_alone() {
    assert!(check("int", b"70000").is_ok());
    assert_eq!(read("int", "70000"), Ok(70_000_i64));
    assert_eq!(read::<u16>("int", "70000"), Err(ValueError::OutOfRange { target: "u16" }));
    assert_eq!(read::<u64>("int", "-1"), Err(ValueError::OutOfRange { target: "u64" }));
    assert_eq!(read::<i8>("int", "128"), Err(ValueError::OutOfRange { target: "i8" }));
    assert_eq!(read::<f32>("float", "1e300"), Err(ValueError::OutOfRange { target: "f32" }));
    assert_eq!(read::<f32>("float", "1e-300"), Err(ValueError::OutOfRange { target: "f32" }));
    assert_eq!(read("float", "1e-300"), Ok(1e-300_f64));
    assert_eq!(read("int", "9223372036854775807"), Ok(9_223_372_036_854_775_807_i64 as f64));
    assert_eq!(read("int", "-3"), Ok(-3.0_f32));
}

#[test]
fn white_space_around_a_scalar_is_forgiven_when_reading_only() {
    assert_eq!(read("int", " 5\r\n"), Ok(5_u8));
    assert_eq!(read("float", "\t0.5 "), Ok(0.5_f64));
    assert_eq!(read("bool", "true\n"), Ok(true));
    assert_eq!(read("duration", " 5s "), Ok(Duration::from_secs(5)));
    assert_eq!(read("timestamp", " 1970-01-01T00:00:00Z\n"), Ok(UNIX_EPOCH));
    assert_eq!(read("int", " 5 "), Ok(Text(5_u8)));
    assert_eq!(read("int", " 5 "), Ok(serde_json::json!(5)));
    assert!(read::<u8>("int", "\u{a0}5").is_err() && read::<u8>("int", " ").is_err());

    assert_eq!(read::<String>("string", " a\n").as_deref(), Ok(" a\n"));
    assert_eq!(read("string", " a\n"), Ok(serde_json::json!(" a\n")));
    assert_eq!(read("string", " a\n"), Ok(Text(" a\n".to_owned())));
    assert_eq!(read("int", " 5 "), Ok(b" 5 ".to_vec()));
    for (value_type, text) in SAMPLES.into_iter().filter(|(value_type, _)| {
        !matches!(value_type, ValueType::String | ValueType::Bytes | ValueType::Json)
    }) {
        assert!(check(value_type.name(), format!("{text}\n").as_bytes()).is_err(), "{value_type}");
    }
}

#[test]
fn the_text_of_a_file_is_read_by_every_scalar() {
    for name in ["text/plain", ".txt", ".md", ".toml", ".yaml", ".yml"] {
        assert_eq!(read(name, "5\n"), Ok(5_u8), "{name}");
        assert_eq!(read(name, "0.5\n"), Ok(0.5_f64), "{name}");
        assert_eq!(read(name, "true\n"), Ok(true), "{name}");
        assert_eq!(read(name, "1m30s\n"), Ok(Duration::from_secs(90)), "{name}");
        assert_eq!(read(name, "1970-01-01T00:00:00Z\n"), Ok(UNIX_EPOCH), "{name}");
        assert_eq!(read(name, "5\n"), Ok(Text(5_u8)), "{name}");
        assert_eq!(read::<String>(name, "5\n").as_deref(), Ok("5\n"), "{name}");
        assert_eq!(read(name, "5\n"), Ok(serde_json::json!("5\n")), "{name}");
        assert_eq!(read(name, "5\n"), Ok(b"5\n".to_vec()), "{name}");
        assert!(matches!(read::<u8>(name, "05\n"), Err(ValueError::Grammar { .. })), "{name}");
        assert!(matches!(read::<Json<u8>>(name, "5"), Err(ValueError::Unreadable { .. })), "{name}");
    }
    for name in ["text", "string", ".json", "binary"] {
        assert!(matches!(read::<u8>(name, "5"), Err(ValueError::Unreadable { .. })), "{name}");
    }
}

#[test]
fn a_foreign_value_outside_the_grammar_is_refused_but_its_bytes_can_be_read() {
    for (value_type, text) in [("int", "five"), ("json", "{"), ("bool", "yes"), ("duration", "5")] {
        assert_eq!(read(value_type, text), Ok(text.as_bytes().to_vec()));
    }
    assert!(read::<i64>("int", "five").is_err() && read::<Json<serde_json::Value>>("json", "{").is_err());
    assert!(read::<Json<serde_json::Value>>("json", r#"{"a":1,"a":2}"#).is_err());
    assert!(read::<Text<String>>("int", "five").is_err() && read::<bool>("bool", "yes").is_err());
}

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
    let deep = (0..65).fold(serde_json::json!(1), |inner, _| serde_json::json!([inner]));
    assert!(matches!(encode(&deep), Err(ValueError::Json { .. })));
}

#[test]
fn no_error_contains_the_value() {
    const SECRET: &str = "hunter2";
    let json = format!(r#"{{"size": "{SECRET}", "hosts": []}}"#);
    let broken = format!(r#"{{"{SECRET}": 1, "{SECRET}": 2}}"#);
    let errors = [
        read::<i64>("int", SECRET).map(drop),
        read::<f64>("float", SECRET).map(drop),
        read::<bool>("bool", SECRET).map(drop),
        read::<String>("string", [SECRET.as_bytes(), b"\xff"].concat()).map(drop),
        read::<Duration>("duration", SECRET).map(drop),
        read::<SystemTime>("timestamp", SECRET).map(drop),
        read::<Json<Pool>>("json", &json).map(drop),
        read::<Json<Pool>>("json", &broken).map(drop),
        read::<Json<Pool>>("json", SECRET).map(drop),
        read::<Text<IpAddr>>("string", SECRET).map(drop),
        read::<i64>("string", SECRET).map(drop),
        read::<i64>("quux", SECRET).map(drop),
    ];
    for error in errors {
        let error = error.expect_err("the value is bad");
        assert!(!format!("{error} {error:?}").contains(SECRET), "{error:?}");
    }
}

#[test]
fn an_error_says_what_to_do() {
    let cases = [
        (read::<u16>("string", "5").map(drop), "the type `string` is not read as u16, which reads int"),
        (read::<u16>("quux\n", "5").map(drop), "the type `quux\\n` is unknown; only its bytes can be read"),
        (read::<u16>("int", "70000").map(drop), "outside the range of u16"),
        (read::<bool>("bool", "yes").map(drop), "not of the type bool: true or false"),
        (read::<Text<u8>>("string", "x").map(drop), "refused by u8: not a text that its FromStr takes"),
    ];
    for (result, text) in cases {
        assert_eq!(result.map_err(|error| error.to_string()), Err(text.to_owned()));
    }
    let json = read::<Json<Pool>>("json", "{\n\"size\": 300}").expect_err("300 is no u8").to_string();
    assert!(json.ends_with("the JSON does not fit it at line 2, column 11"), "{json}");
    let long = read::<u16>(&"x".repeat(10_000), "5").expect_err("the type is unknown");
    assert!(long.to_string().len() < 256);
}
