//! Rows 21 to 38: values and types.

use datastream::header;
use tonic::{Code, Request};
use tonic_types::StatusExt as _;

use super::{MARKER, assert_hides, assert_invalid, assert_not_logged, assert_serves, server};
use crate::wire::{announced, data, unannounced};

/// Row, type, and what is no value of it.
const REFUSED: &[(&str, &str, &[u8])] = &[
    ("23", "int", b""),
    ("23", "int", b" 1"),
    ("23", "int", b"1 "),
    ("23", "int", b"1\n"),
    ("23", "int", b"+1"),
    ("23", "int", b"01"),
    ("23", "int", b"-0"),
    ("23", "int", b"1.0"),
    ("23", "int", b"1e3"),
    ("23", "int", b"0x10"),
    ("23", "int", "\u{ff11}".as_bytes()),
    ("23", "int", b"abc"),
    ("24", "int", b"9223372036854775808"),
    ("24", "int", b"-9223372036854775809"),
    ("24", "int", &[b'9'; 400]),
    ("26", "float", b"NaN"),
    ("26", "float", b"inf"),
    ("26", "float", b"-Infinity"),
    ("27", "float", b"1e400"),
    ("27", "float", b"1e-400"),
    ("27", "float", &[b'9'; 5000]),
    ("28", "float", b".5"),
    ("28", "float", b"5."),
    ("28", "float", b"1_000"),
    ("28", "float", b"1,5"),
    ("29", "bool", b"True"),
    ("29", "bool", b"TRUE"),
    ("29", "bool", b"1"),
    ("29", "bool", b"yes"),
    ("29", "bool", b"on"),
    ("29", "bool", b"t"),
    ("29", "bool", b""),
    ("30", "string", b"\xff\xfe"),
    ("30", "text", b"\xc3\x28"),
    ("31", "json", &[b'['; 10_000]),
    ("32", "json", br#"{"a":1,"a":2}"#),
    ("32", "json", br#"{"a":{"b":1,"b":2}}"#),
    ("32", "json", b"{} x"),
    ("32", "json", b"NaN"),
    ("32", "json", b"\xef\xbb\xbf{}"),
    ("32", "json", br#""\ud800""#),
    ("32", "json", b""),
    ("33", "duration", b"1d"),
    ("33", "duration", b"-5s"),
    ("33", "duration", b"1e9h"),
    ("33", "duration", b"5"),
    ("33", "duration", b"99999999999h"),
    ("33", "timestamp", b"99999-01-01T00:00:00Z"),
    ("33", "timestamp", b"2026-02-30T00:00:00Z"),
    ("33", "timestamp", b"2026-01-01"),
];

/// Row, type, and what may look odd and is fine.
const ACCEPTED: &[(&str, &str, &[u8])] = &[
    ("24", "int", b"9223372036854775807"),
    ("24", "int", b"-9223372036854775808"),
    // That it fits no u16 is for the client to find.
    ("25", "int", b"70000"),
    ("28", "float", b"-0.0"),
    ("28", "float", b"1E5"),
    ("30", "bytes", b"\xff\xfe"),
    ("30", "string", b""),
    ("32", "json", b" {\"a\": [1, null]} "),
    ("33", "duration", b"1m30s"),
    ("33", "timestamp", b"9999-12-31T23:59:59Z"),
];

#[tokio::test]
async fn d61_a_value_outside_the_grammar_of_its_type_is_refused_and_never_echoed() {
    let (_server, _, wire) = server().await;
    for (row, value_type, value) in REFUSED {
        let case = &format!("row {row}, {value_type} {:.20?}", String::from_utf8_lossy(value));
        let status = wire.push(data("a", value_type, *value)).await.expect_err(case);
        assert_invalid(case, &status, "value");
        assert!(status.message().contains(value_type) || *value_type == "text", "{case}: {status:?}");
        if value.len() >= 4 {
            assert_hides(case, &status, value);
        }
    }
    assert!(wire.sync(unannounced(["a"])).await.data.is_empty(), "nothing of all that was written");
    assert_serves(&wire).await;
}

#[tokio::test]
async fn a_value_inside_the_grammar_is_taken_as_it_is() {
    let (_server, _, wire) = server().await;
    for (i, (row, value_type, value)) in ACCEPTED.iter().enumerate() {
        let key = &format!("row/{row}/{i}");
        wire.push(data(key, value_type, *value)).await.unwrap_or_else(|status| panic!("row {row}: {status}"));
        let synced = wire.sync(unannounced([key])).await;
        let held = &synced.data[key.as_str()];
        assert_eq!((held.value.as_ref(), held.value_type.as_str()), (*value, *value_type), "row {row}");
    }
}

#[tokio::test]
async fn a_value_reaches_neither_error_nor_log_whatever_is_wrong_with_it() {
    let (_server, _, wire) = server().await;
    wire.push_int("typed", 1).await;
    let long = MARKER.repeat((1 << 20) / MARKER.len() + 1);
    let json = [format!("{{\"{MARKER}\":1,\"{MARKER}\":2}}"), format!("[{MARKER}]"), format!("\"{MARKER}")];
    let mut cases: Vec<_> = json.iter().map(|value| ("new", "json", value.clone())).collect();
    for value_type in ["int", "float", "bool", "json", "duration", "timestamp", "quux", ""] {
        cases.push(("new", value_type, MARKER.to_owned()));
    }
    cases.push(("new", "string", long));
    cases.push(("typed", "string", MARKER.to_owned()));
    cases.push(("typed", "", MARKER.to_owned()));
    cases.push(("not//a/key", "string", MARKER.to_owned()));
    for (key, value_type, value) in cases {
        let case = &format!("{key} as {value_type:?}");
        let status = wire.push(data(key, value_type, value)).await.expect_err(case);
        assert_hides(case, &status, MARKER.as_bytes());
    }
    wire.push(data("new", "string", MARKER)).await.expect("a good value is taken");
    assert_not_logged(MARKER);
}

#[tokio::test]
async fn row_21_a_value_above_the_limit_is_refused_before_the_store_sees_it() {
    let (_server, _, wire) = server().await;
    wire.push(data("a", "bytes", vec![b'x'; 1 << 20])).await.expect("the limit itself is fine");
    let status = wire.push(data("a", "bytes", vec![b'x'; (1 << 20) + 1])).await.expect_err("row 21");
    assert_invalid("row 21", &status, "value");
}

/// Fixed by the transport: tonic says OUT_OF_RANGE where the gRPC documents say RESOURCE_EXHAUSTED.
#[tokio::test]
async fn row_22_a_message_above_the_limit_of_the_transport_is_refused() {
    let (_server, _, wire) = server().await;
    let status = wire.push(data("a", "bytes", MARKER.repeat(1 << 19))).await.expect_err("row 22");
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert_hides("row 22", &status, MARKER.as_bytes());
    assert_serves(&wire).await;
}

#[tokio::test]
async fn d09_row_35_an_unknown_type_is_refused_on_a_push() {
    let (_server, _, wire) = server().await;
    for value_type in ["quux", "INT", "int ", "Int", "integer", "a\u{202e}b"] {
        let status = wire.push(data("a", value_type, "1")).await.expect_err(value_type);
        assert_invalid(value_type, &status, "value_type");
        assert!(!status.message().contains('\u{202e}'), "the name is escaped");
    }
}

#[tokio::test]
async fn row_36_an_empty_type_keeps_that_of_the_key() {
    let (_server, _, wire) = server().await;
    let status = wire.push(data("a", "", "1")).await.expect_err("a new key needs a type");
    assert_invalid("row 36", &status, "value_type");
    wire.push_int("a", 1).await;
    wire.push(data("a", "", "2")).await.expect("row 36");
    assert_eq!(wire.sync(unannounced(["a"])).await.data["a"].value_type, "int");
    let status = wire.push(data("a", "", "x")).await.expect_err("it is no int");
    assert_invalid("row 36", &status, "value");
}

#[tokio::test]
async fn row_37_a_change_of_the_type_must_be_meant() {
    let (_server, _, wire) = server().await;
    wire.push(data("a", "text", "1")).await.expect("it is taken");
    wire.push(data("a", "string", "2")).await.expect("two names of one type");
    let status = wire.push(data("a", "int", "3")).await.expect_err("row 37");
    assert_eq!(status.code(), Code::FailedPrecondition);
    let info = status.get_details_error_info().expect("it has details");
    assert_eq!((info.reason.as_str(), info.metadata["key"].as_str()), ("TYPE_CHANGE", "a"));
    let mut request = Request::new(data("a", "int", "3"));
    request.metadata_mut().insert(header::RETYPE, "1".parse().expect("it is ASCII"));
    wire.service().push_update(request).await.expect("it is meant");
    assert_eq!(wire.sync(unannounced(["a"])).await.data["a"].value_type, "int");
}

#[tokio::test]
async fn row_38_a_value_that_stands_is_fine_and_no_event() {
    let (_server, _, wire) = server().await;
    let first = wire.push_int("a", 1).await;
    let mut stream = wire.subscribe(announced(["a"])).await;
    stream.next().await;
    assert_eq!(wire.push_int("a", 1).await, first);
    wire.push_int("a", 2).await;
    assert_eq!(stream.delivery().await.to_string(), "Change a=2", "nothing came before it");
}
