//! The changes that the server remembers, page after page.

use bytes::Bytes;
use datastream::proto::{Change, Data, HistoryResponse, Position};
use datastream_client::{CallError, Client, HistoryEntry};
use futures_util::{StreamExt as _, TryStreamExt as _};
use tokio::task::JoinHandle;

use crate::scripted::{Script, client};
use crate::wire::within;

fn written(revision: u64, text: &str) -> Change {
    let data = Data {
        key: "n".to_owned(),
        value: Bytes::copy_from_slice(text.as_bytes()),
        value_type: "int".to_owned(),
        updated_at: Some(std::time::SystemTime::UNIX_EPOCH.into()),
        revision,
        ..Data::default()
    };
    let position = Some(Position { revision, token: Bytes::new() });
    Change { data: Some(data), position, author: "ann".to_owned(), message: "because".to_owned() }
}

fn deleted(revision: u64) -> Change {
    let data = Data { key: "n".to_owned(), deleted: true, revision, ..Data::default() };
    Change { data: Some(data), ..Change::default() }
}

fn page<const N: usize>(changes: [Change; N], next: &str) -> HistoryResponse {
    HistoryResponse { changes: changes.into(), next_page_token: next.to_owned() }
}

fn read_all(client: &Client, key: &str) -> JoinHandle<Result<Vec<HistoryEntry>, CallError>> {
    let history = client.history(key);
    tokio::spawn(history.try_collect())
}

async fn answer(script: &mut Script, token: &str, page: HistoryResponse) {
    let (request, reply) = script.history().await;
    assert_eq!((&*request.key, request.page_size, &*request.page_token), ("n", 1000, token));
    reply.send(Ok(page)).expect("the client waits");
}

#[tokio::test(start_paused = true)]
async fn a_history_is_put_together_from_its_pages() {
    let (client, mut script) = client();
    let all = read_all(&client, "n");
    answer(&mut script, "", page([written(9, "3"), deleted(7)], "more")).await;
    answer(&mut script, "more", page([written(4, "1")], "")).await;
    let all = within("the history", all).await.expect("no panic").expect("read");
    let values: Vec<_> = all.iter().map(|entry| (entry.revision, entry.get::<i64>())).collect();
    assert_eq!(values, [(9, Ok(Some(3))), (7, Ok(None)), (4, Ok(Some(1)))]);
    assert_eq!((&*all[0].author, &*all[0].message), ("ann", "because"));
    assert_eq!(all[0].time, Some(std::time::SystemTime::UNIX_EPOCH));
    assert_eq!(all[0].position.as_ref().map(|position| position.revision), Some(9));
    assert!(!format!("{:?}", all[0]).contains('3'), "a value is not shown");
}

#[tokio::test(start_paused = true)]
async fn a_page_is_asked_for_when_it_is_read() {
    let (client, mut script) = client();
    let mut history = client.history("n");
    assert!(script.is_idle());
    let (first, ()) = tokio::join!(history.next(), answer(&mut script, "", page([written(9, "3")], "more")));
    assert_eq!(first.expect("there is one").expect("read").revision, 9);
    super::settle().await;
    assert!(script.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_history_that_does_not_lead_back_ends() {
    let pages = [
        page([], "on"),
        page([written(4, "1"), written(4, "1")], ""),
        page([written(4, "1"), written(5, "1")], ""),
        page([Change::default()], ""),
    ];
    for page in pages {
        let (client, mut script) = client();
        let all = read_all(&client, "n");
        answer(&mut script, "", page).await;
        let error = within("the history", all).await.expect("no panic").expect_err("it leads nowhere");
        assert!(matches!(error, CallError::Failed(_)), "{error:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_history_of_what_is_no_key_is_not_asked_for() {
    let (client, mut script) = client();
    let mut history = client.history("a//b");
    assert!(matches!(history.next().await, Some(Err(CallError::NotAKey { .. }))));
    assert!(history.next().await.is_none());
    assert!(script.is_idle());
}

/// An empty value would be written back as such.
#[tokio::test(start_paused = true)]
async fn a_value_that_is_too_large_to_be_served_is_not_read_as_an_empty_one() {
    let (client, mut script) = client();
    let read = read_all(&client, "n");
    let data = Data { key: "n".to_owned(), revision: 3, ..Data::default() };
    let change = Change { data: Some(data), ..Change::default() };
    answer(&mut script, "", page([change], "")).await;
    let entries = within("the history", read).await.expect("no panic").expect("it is told");
    assert!(entries[0].get::<Bytes>().is_err());
}
