//! Which Rust type reads which value, and what the errors say.

mod grammar;
mod writing;

use std::any::type_name;
use std::fmt::Debug;
use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use datastream::value::{Json, Text, Value, ValueError, ValueType, check, decode, same_type};
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
