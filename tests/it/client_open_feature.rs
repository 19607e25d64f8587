//! Flags through the API of OpenFeature, with a real server at a real socket. The API of a test is its own, not the one of the
//! process.

use std::fmt::Debug;
use std::time::Duration;

use datastream_client::{Client, Json, Limits, OpenFeatureProvider};
use datastream_server::testing::TestServer;
use open_feature::{
    self as flags, EvaluationErrorCode as Code, EvaluationReason as Reason, EvaluationResult, OpenFeature,
    StructValue, Value,
};
use serde_json::json;

use crate::wire::within;

/// What applications hold: the flags below `flags/`, as soon as the API lets them.
async fn flags_of(client: &Client) -> flags::Client {
    let mut api = OpenFeature::default();
    within("the provider is set", api.set_provider(OpenFeatureProvider::new(client, "flags/"))).await;
    api.create_client()
}

/// Why there is no value.
fn code<T: Debug>(result: EvaluationResult<T>) -> Code {
    result.expect_err("there is no value").code
}

fn stale() -> Reason {
    Reason::Other("STALE".to_owned())
}

/// Waits until the flag `n` is this, for this reason.
async fn until(flags: &flags::Client, n: i64, reason: Reason) {
    let poll = async {
        loop {
            let details = flags.get_int_details("n", None, None).await;
            if details.is_ok_and(|details| details.value == n && details.reason.as_ref() == Some(&reason)) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within(&format!("{n}, {reason}"), poll).await;
}

fn every_type() -> TestServer {
    let server = TestServer::start()
        .with("flags/bool", true)
        .with("flags/int", 7_i64)
        .with("flags/float", 0.5)
        .with("flags/string", "7".to_owned())
        .with(
            "flags/struct",
            Json(json!({"size": 3, "ratio": 1.5, "none": null, "tags": ["a", {"b": false}]})),
        )
        .with("flags/list", Json(json!([1, 2])))
        .with("flags/below/a/folder", 1_i64)
        .with("elsewhere", true);
    server.set_raw("flags/file", "text/plain", " 12\n");
    server
}

#[tokio::test]
async fn a_flag_is_read_as_its_type_says() {
    let server = every_type();
    let flags = flags_of(&Client::connect(server.url())).await;
    assert_eq!(flags.get_bool_value("bool", None, None).await, Ok(true));
    assert_eq!(flags.get_int_value("int", None, None).await, Ok(7));
    assert_eq!(flags.get_float_value("float", None, None).await, Ok(0.5));
    assert_eq!(flags.get_float_value("int", None, None).await, Ok(7.0));
    assert_eq!(flags.get_string_value("string", None, None).await.as_deref(), Ok("7"));
    assert_eq!(flags.get_int_value("below/a/folder", None, None).await, Ok(1));
    assert_eq!(flags.get_int_value("file", None, None).await, Ok(12));
    assert_eq!(flags.get_string_value("file", None, None).await.as_deref(), Ok(" 12\n"));

    let tags =
        vec![Value::String("a".to_owned()), Value::Struct(StructValue::default().with_field("b", false))];
    let expected =
        StructValue::default().with_field("size", 3).with_field("ratio", 1.5).with_field("tags", tags);
    assert_eq!(flags.get_struct_value("struct", None, None).await, Ok(expected));
}

#[tokio::test]
async fn a_flag_of_another_type_or_without_a_value_is_left_to_the_default_of_the_application() {
    let server = every_type();
    let flags = flags_of(&Client::connect(server.url())).await;
    for name in ["int", "float", "string", "struct"] {
        assert_eq!(code(flags.get_bool_value(name, None, None).await), Code::TypeMismatch, "{name}");
    }
    for name in ["bool", "float", "string", "struct"] {
        assert_eq!(code(flags.get_int_value(name, None, None).await), Code::TypeMismatch, "{name}");
    }
    for name in ["bool", "int", "float", "struct"] {
        assert_eq!(code(flags.get_string_value(name, None, None).await), Code::TypeMismatch, "{name}");
    }
    for name in ["bool", "int", "string", "list"] {
        let result = flags.get_struct_value::<StructValue>(name, None, None).await;
        assert_eq!(code(result), Code::TypeMismatch, "{name}");
    }
    assert_eq!(code(flags.get_float_value("string", None, None).await), Code::TypeMismatch);
    for name in ["missing", "elsewhere", "below/a", "no key/", ""] {
        assert_eq!(code(flags.get_bool_value(name, None, None).await), Code::FlagNotFound, "{name}");
    }
}

#[tokio::test]
async fn a_flag_is_live_and_its_last_value_stays_without_a_server_and_says_so() {
    let mut server = TestServer::start().with("flags/n", 1_i64);
    let flags = flags_of(&Client::connect(server.url())).await;
    until(&flags, 1, Reason::Static).await;
    server.set("flags/n", 2_i64);
    until(&flags, 2, Reason::Static).await;

    server.kill();
    until(&flags, 2, stale()).await;
    server.set("flags/n", 3_i64);
    server.restart();
    until(&flags, 3, Reason::Static).await;

    server.delete("flags/n");
    let gone = async {
        while flags.get_int_value("n", None, None).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    within("it is gone", gone).await;
    assert_eq!(code(flags.get_int_value("n", None, None).await), Code::FlagNotFound);
}

#[tokio::test]
async fn an_application_that_starts_before_its_server_has_its_defaults_and_then_its_flags() {
    let mut server = TestServer::start().with("flags/n", 1_i64);
    server.kill();
    let limits = Limits::default().ready(Duration::from_millis(50));
    let client = Client::builder(server.url()).limits(limits).connect();
    let flags = flags_of(&client).await;
    assert_eq!(code(flags.get_int_value("n", None, None).await), Code::ProviderNotReady);
    server.restart();
    until(&flags, 1, Reason::Static).await;
}
