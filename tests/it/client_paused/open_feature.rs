//! The flags of OpenFeature, as the provider gives them.

use std::fs;
use std::path::Path;
use std::time::Duration;

use datastream::proto::DataResponse;
use datastream_client::{Client, Disconnect, Limits, OpenFeatureProvider};
use futures_util::FutureExt as _;
use open_feature::provider::{FeatureProvider as _, ProviderStatus, ResolutionDetails};
use open_feature::{
    EvaluationContext, EvaluationErrorCode as Code, EvaluationReason as Reason, EvaluationResult,
    FlagMetadataValue,
};

use super::{pass, settle};
use crate::captured_log;
use crate::scripted::{self, Script, Subscribed, change, client, state};

/// What nobody may read in a text.
const SECRET: &str = "hunter2";

async fn followed(entries: DataResponse) -> (OpenFeatureProvider, Subscribed, Script) {
    let (client, mut script) = client();
    let flags = OpenFeatureProvider::new(&client, "flags");
    let stream = script.accept(entries).await;
    stream.open(Some(Duration::from_secs(3600)));
    settle().await;
    (flags, stream, script)
}

fn context() -> EvaluationContext {
    EvaluationContext::default().with_targeting_key("somebody")
}

/// An evaluation needs no second look: it waits for nothing.
fn now<T>(evaluation: impl Future<Output = T>) -> T {
    evaluation.now_or_never().expect("an evaluation is a local read")
}

fn int(flags: &OpenFeatureProvider, name: &str) -> EvaluationResult<ResolutionDetails<i64>> {
    now(flags.resolve_int_value(name, &context()))
}

/// The value, its reason and its variant.
fn brief<T>(details: EvaluationResult<ResolutionDetails<T>>) -> (T, Reason, Option<String>) {
    let details = details.expect("there is a value");
    (details.value, details.reason.expect("there is a reason"), details.variant)
}

fn code<T: std::fmt::Debug>(result: EvaluationResult<T>) -> Code {
    let error = result.expect_err("there is no value");
    let text = error.message.expect("it says why");
    assert!(!text.contains(SECRET), "a value never reaches an error: {text}");
    error.code
}

fn metadata<T>(details: EvaluationResult<ResolutionDetails<T>>, name: &str) -> Option<FlagMetadataValue> {
    let details = details.expect("there is a value");
    details.flag_metadata.expect("there are metadata").values.remove(name)
}

fn text(text: &str) -> Option<FlagMetadataValue> {
    Some(text.into())
}

fn stale() -> Reason {
    Reason::Other("STALE".to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_flag_says_what_it_is_and_where_it_is_from() {
    let (flags, _stream, _script) = followed(state(5, [("flags/n", 3, "int", "10")])).await;
    assert_eq!(brief(int(&flags, "n")), (10, Reason::Static, Some("3".to_owned())));
    assert_eq!(metadata(int(&flags, "n"), "revision"), Some(FlagMetadataValue::Int(3)));
    assert_eq!(metadata(int(&flags, "n"), "value_type"), text("int"));
    assert_eq!(metadata(int(&flags, "n"), "origin"), text("live"));
    assert_eq!(metadata(int(&flags, "n"), "refused"), None);
    let Some(FlagMetadataValue::Float(before)) = metadata(int(&flags, "n"), "age_seconds") else {
        panic!("it was confirmed")
    };
    pass(Duration::from_secs(7)).await;
    let age = metadata(int(&flags, "n"), "age_seconds");
    assert_eq!(age, Some(FlagMetadataValue::Float(before + 7.0)));
    assert_eq!((flags.status(), &*flags.metadata().name), (ProviderStatus::Ready, "datastream"));
}

#[tokio::test(start_paused = true)]
async fn the_last_good_value_of_each_type_stays_beside_one_that_cannot_be_read() {
    captured_log::capture();
    let (flags, stream, _script) =
        followed(state(5, [("flags/of_n", 3, "int", "10"), ("flags/other", 3, "bool", "true")])).await;
    stream.say(change(6, [("flags/of_n", 6, "int", SECRET)]));
    settle().await;
    assert_eq!(brief(int(&flags, "of_n")), (10, stale(), Some("3".to_owned())));
    let refused = metadata(int(&flags, "of_n"), "refused");
    let Some(FlagMetadataValue::String(why)) = refused else { panic!("it says why") };
    assert!(why.contains("decimal whole number") && !why.contains(SECRET), "{why}");
    assert_eq!(code(now(flags.resolve_bool_value("of_n", &context()))), Code::TypeMismatch);
    assert_eq!(
        now(flags.resolve_bool_value("other", &context())).map(|flag| flag.reason),
        Ok(Some(Reason::Static))
    );
    assert_eq!(flags.status(), ProviderStatus::Ready, "a bad value concerns no other");
    let lines = captured_log::lines_with("flags/of_n");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(!lines[0].contains(SECRET), "a value never reaches the log");

    stream.say(change(7, [("flags/of_n", 7, "string", SECRET)]));
    settle().await;
    assert_eq!(
        brief(int(&flags, "of_n")).0,
        10,
        "it is another type now, which harms no reader of the old one"
    );
    let string = now(flags.resolve_string_value("of_n", &context()));
    assert_eq!(brief(string), (SECRET.to_owned(), Reason::Static, Some("7".to_owned())));

    stream.say(change(8, [("flags/of_n", 8, "int", "11")]));
    settle().await;
    assert_eq!(brief(int(&flags, "of_n")), (11, Reason::Static, Some("8".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_flag_that_never_had_a_good_value_says_why() {
    let (flags, _stream, _script) = followed(state(
        5,
        [
            ("flags/n", 3, "int", SECRET),
            ("flags/json", 3, "json", "{\"hunter2\":"),
            ("flags/null", 3, "json", "{\"a\": [null, \"hunter2\"]}"),
            ("flags/new", 3, "type of tomorrow", SECRET),
            ("flags/large", 3, "json", "{\"a\": 18446744073709551615}"),
        ],
    ))
    .await;
    assert_eq!(code(int(&flags, "n")), Code::ParseError);
    assert_eq!(code(int(&flags, "new")), Code::TypeMismatch);
    let structure = |name: &'static str| now(flags.resolve_struct_value(name, &context()));
    assert_eq!(code(structure("json")), Code::ParseError);
    assert_eq!(code(structure("null")), Code::TypeMismatch);
    let large = structure("large").expect("it is the nearest float").value.fields.remove("a");
    assert_eq!(large.and_then(|large| large.as_f64()), Some(18_446_744_073_709_551_615.0));
}

#[tokio::test(start_paused = true)]
async fn before_the_first_state_nothing_is_ready_and_initialize_waits_for_it_and_not_for_ever() {
    let (handed, mut script) = scripted::transport();
    let limits = Limits::default().ready(Duration::from_secs(3)).sync(Duration::from_secs(60));
    let client = Client::with_transport(handed, limits);
    let mut flags = OpenFeatureProvider::new(&client, "flags/");
    assert_eq!((code(int(&flags, "n")), flags.status()), (Code::ProviderNotReady, ProviderStatus::NotReady));
    let began = tokio::time::Instant::now();
    flags.initialize(&context()).await;
    assert_eq!(began.elapsed().as_secs(), 3);
    assert_eq!((code(int(&flags, "n")), flags.status()), (Code::ProviderNotReady, ProviderStatus::NotReady));

    let initialize = async {
        flags.initialize(&context()).await;
        began.elapsed()
    };
    let answer = async {
        pass(Duration::from_secs(1)).await;
        script.accept(state(5, [("flags/n", 3, "int", "10")])).await
    };
    let (took, _stream) = tokio::join!(initialize, answer);
    assert_eq!(took.as_secs(), 4, "it is ready as soon as the state is there");
    assert_eq!((brief(int(&flags, "n")).0, flags.status()), (10, ProviderStatus::Ready));
}

#[tokio::test(start_paused = true)]
async fn what_an_earlier_run_kept_is_cached_until_the_server_is_there() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("cache");
    let (flags, mut script) = keeping(&path);
    let stream = script.accept(state(5, [("flags/n", 3, "int", "10")])).await;
    settle().await;
    assert_eq!(brief(int(&flags, "n")).1, Reason::Static);
    drop((flags, stream));
    while script.next().await.is_some() {}
    settle().await;

    let (mut flags, mut script) = keeping(&path);
    flags.initialize(&context()).await;
    assert_eq!(brief(int(&flags, "n")), (10, Reason::Cached, Some("3".to_owned())));
    assert_eq!(metadata(int(&flags, "n"), "origin"), text("cache"));
    assert_eq!(flags.status(), ProviderStatus::STALE);
    let stream = script.subscribe().await;
    stream.open(None);
    stream.say(scripted::resume(6, [("flags/n", 6, "int", "11")]));
    settle().await;
    assert_eq!(brief(int(&flags, "n")), (11, Reason::Static, Some("6".to_owned())));
    assert_eq!(flags.status(), ProviderStatus::Ready);
}

fn keeping(path: &Path) -> (OpenFeatureProvider, Script) {
    let (handed, script) = scripted::transport();
    let client = Client::builder("http://here:1").cache_file(path).connect_over(handed);
    (OpenFeatureProvider::new(&client, "flags/"), script)
}

#[tokio::test(start_paused = true)]
async fn an_override_of_the_operator_is_the_flag_while_it_lasts() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("overrides.json");
    fs::write(&path, r#"{"flags/n": 12, "flags/text": 13}"#).expect("the folder can be written");
    let (handed, mut script) = scripted::transport();
    let client = Client::builder("http://here:1").override_file(&path).connect_over(handed);
    let flags = OpenFeatureProvider::new(&client, "flags/");
    let live = [("flags/n", 3, "int", "10"), ("flags/text", 3, "string", "ten")];
    let _stream = script.accept(state(5, live)).await;
    settle().await;
    assert_eq!(brief(int(&flags, "n")), (12, Reason::Static, None));
    assert_eq!(brief(int(&flags, "text")).0, 13);
    assert_eq!(metadata(int(&flags, "n"), "origin"), text("override"));

    fs::write(&path, r#"{"flags/n": "twelve"}"#).expect("the folder can be written");
    pass(Duration::from_secs(2)).await;
    assert_eq!(brief(int(&flags, "n")), (10, stale(), Some("3".to_owned())), "what lies below it is read");
    assert_eq!(code(int(&flags, "text")), Code::TypeMismatch, "an override does not outlive its end");
    fs::remove_file(&path).expect("it is there");
    pass(Duration::from_secs(2)).await;
    assert_eq!(brief(int(&flags, "n")), (10, Reason::Static, Some("3".to_owned())));
}

#[tokio::test(start_paused = true)]
async fn a_lost_server_makes_flags_stale_and_one_that_refuses_an_error_and_both_keep_the_values() {
    let (flags, stream, mut script) = followed(state(5, [("flags/n", 3, "int", "10")])).await;
    stream.end(Disconnect::Broken("gone".to_owned()));
    settle().await;
    assert_eq!((brief(int(&flags, "n")).0, brief(int(&flags, "n")).1), (10, stale()));
    assert_eq!(flags.status(), ProviderStatus::STALE);
    let refused = Disconnect::Refused { code: "PERMISSION_DENIED", text: "no".to_owned(), retry_after: None };
    script.subscribe().await.end(refused);
    settle().await;
    assert_eq!((brief(int(&flags, "n")).0, brief(int(&flags, "n")).1), (10, stale()));
    assert_eq!(flags.status(), ProviderStatus::Error);
}

#[tokio::test(start_paused = true)]
async fn what_may_not_be_read_is_no_missing_flag() {
    for denied in ["flags/secret", "flags/"] {
        let (client, mut script) = client();
        let flags = OpenFeatureProvider::new(&client, "flags/");
        let (_, first) = script.sync().await;
        let answer = DataResponse { denied: vec![denied.to_owned()], ..state(5, []) };
        first.send(Ok(answer)).expect("the client waits");
        settle().await;
        let why = code(int(&flags, "secret"));
        assert!(matches!(&why, Code::General(why) if why.contains("may not be read")), "{denied}: {why}");
        let is_other_missing = code(int(&flags, "other")) == Code::FlagNotFound;
        assert_eq!(is_other_missing, denied == "flags/secret");
    }
}

#[tokio::test(start_paused = true)]
async fn a_prefix_that_is_none_fails_each_evaluation_and_says_so() {
    let (client, _script) = client();
    let mut flags = OpenFeatureProvider::new(&client, "");
    flags.initialize(&context()).await;
    assert!(matches!(code(int(&flags, "n")), Code::General(why) if why.contains("no key")));
    assert_eq!(flags.status(), ProviderStatus::NotReady);
}

#[test]
fn a_fixed_client_has_fixed_flags_without_a_runtime() {
    let settings = Client::fixed([("flags/n", 10_i64.into())]);
    let flags = OpenFeatureProvider::new(&settings, "flags/");
    assert_eq!(brief(int(&flags, "n")).1, Reason::Static);
    assert_eq!(metadata(int(&flags, "n"), "origin"), text("fixed"));
    settings.set("flags/n", 11_i64);
    assert_eq!(brief(int(&flags, "n")).0, 11);
    settings.delete("flags/n");
    assert_eq!(code(int(&flags, "n")), Code::FlagNotFound);
}
