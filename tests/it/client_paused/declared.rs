//! Settings that the application declares as constants.

use std::time::Duration;

use datastream::proto::{Capability, ListCapabilitiesResponse};
use datastream_client::{
    CallError, Client, Declared, Disconnect, Key, Mismatch, Origin, Text, Watch, WatchOr,
};

use super::settle;
use crate::scripted::{Script, client, deletion, state};

const MAX: Key<i64> = Key::new("max_connections", 100).describe("how many may be open at once");
const NAME: Key<String> = Key::with("name", || "unnamed".to_owned());
const PATIENCE: Key<Duration> = Key::new("patience", Duration::from_secs(5));
const RATIO: Key<f64> = Key::new("ratio", 0.5);
const WRONG: Key<bool> = Key::new("a//b", true);
const DECLARED: &[&dyn Declared] = &[&MAX, &NAME, &PATIENCE, &RATIO, &WRONG];

/// Whoever holds a static one need not give it away.
static SHARED: Key<Text<u8>> = Key::new("shared", Text(7));

async fn list(script: &mut Script, capabilities: &[(&str, &str)]) {
    let capability = |&(key, value_type): &(&str, &str)| Capability {
        key: key.to_owned(),
        value_type: value_type.to_owned(),
    };
    let capabilities = capabilities.iter().map(capability).collect();
    let answer = ListCapabilitiesResponse { capabilities, ..ListCapabilitiesResponse::default() };
    assert!(script.list().await.1.send(Ok(answer)).is_ok(), "the client waits");
}

#[tokio::test(start_paused = true)]
async fn a_declared_setting_reads_its_default_until_there_is_a_value_and_when_it_is_gone() {
    let (client, mut script) = client();
    let (max, name, shared) = (client.watch(MAX), client.watch(NAME), client.watch(&SHARED));
    assert_eq!((max.get(), name.get(), shared.get()), (100, "unnamed".to_owned(), Text(7)));
    assert_eq!(max.status().origin, Origin::Default);
    let entries = [("max_connections", 3, "int", "10"), ("name", 4, "string", "x")];
    let stream = script.accept(state(5, entries)).await;
    settle().await;
    assert_eq!((max.get(), name.get(), max.status().origin), (10, "x".to_owned(), Origin::Live));
    stream.say(deletion(6, "max_connections"));
    settle().await;
    assert_eq!((max.get(), name.get()), (100, "x".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn text_names_a_setting_of_the_type_that_the_caller_says() {
    fn of_any_type<T: datastream_client::Value>(client: &Client, key: &str) -> Watch<T> {
        client.watch::<T>(key)
    }
    let (client, mut script) = client();
    let key = String::from("max_connections");
    let handles =
        [client.watch::<i64>("max_connections"), client.watch::<i64>(&key), client.watch::<i64>(key)];
    let generic = of_any_type::<i64>(&client, MAX.name());
    let declared: WatchOr<i64> = client.watch(MAX);
    let _stream = script.accept(state(5, [("max_connections", 3, "int", "10")])).await;
    settle().await;
    assert!(handles.iter().chain([&generic, declared.watch()]).all(|handle| handle.get() == Some(10)));
}

#[tokio::test(start_paused = true)]
async fn a_check_names_each_declared_setting_that_is_missing_or_of_another_type() {
    let (client, mut script) = client();
    let answer = async {
        // An int can be read as a float; nothing else here is what it was declared to be.
        let list_of =
            [("max_connections", "string"), ("other", "int"), ("patience", "int"), ("ratio", "int")];
        list(&mut script, &list_of).await;
    };
    let (found, ()) = tokio::join!(client.check(DECLARED), answer);
    let found = found.expect("it was answered");
    let shown: Vec<_> = found.iter().map(ToString::to_string).collect();
    let expected = [
        "`max_connections` has another type",
        "`name` does not exist",
        "`patience` has another type",
        "`a//b` is no key",
    ];
    assert_eq!(shown, expected);
    assert!(matches!(&found[0], Mismatch::WrongType { source, .. } if source.to_string().contains("string")));
}

#[tokio::test(start_paused = true)]
async fn a_check_of_what_is_as_declared_finds_nothing_and_one_without_a_server_says_so() {
    let (client, mut script) = client();
    let answer = list(&mut script, &[("max_connections", "int"), ("name", "text/plain")]);
    let (found, ()) = tokio::join!(client.check(&DECLARED[..2]), answer);
    assert_eq!(found.expect("it was answered"), []);
    let lost = async {
        let (_, reply) = script.list().await;
        assert!(reply.send(Err(Disconnect::Unreachable("gone".to_owned()).into())).is_ok());
    };
    let (found, ()) = tokio::join!(client.check(&[&MAX]), lost);
    assert!(matches!(found, Err(CallError::Unreachable(_))));
}

#[test]
fn a_description_is_kept_and_no_default_is_shown() {
    let described = DECLARED.iter().map(|setting| (setting.name(), setting.description())).next();
    assert_eq!(described, Some(("max_connections", "how many may be open at once")));
    assert!(!format!("{NAME:?} {:?}", Key::with("k", || "hunter2".to_owned())).contains("unnamed"));
    assert!(!format!("{:?}", Key::new("k", 424_242)).contains("424242"));
}
