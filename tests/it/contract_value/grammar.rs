//! The grammars of the value types.

use std::time::{Duration, UNIX_EPOCH};

use datastream::value::{ValueError, ValueType, check};

use super::read;

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
    let thirds = format!("0.{}", "3".repeat(5000));
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
        &thirds,
        &digits,
        &zeros,
    ];
    let vanishing = format!("0.{}1", "0".repeat(5000));
    let nested = "[".repeat(1_000_000);
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
        &nested,
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
