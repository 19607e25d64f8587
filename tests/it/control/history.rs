//! What was, and how the server is.

use std::sync::Arc;

use datastream::position::Position;
use datastream::proto::{Change, CommitRequest, HistoryRequest, HistoryResponse, StatusRequest};
use datastream_server::Config;
use datastream_server::store::{Commit, CommitError, Retention, Since, Snapshot, Store, StoreError};
use datastream_server::stores::MemoryStore;
use datastream_server::stores::sqlite::SqliteStore;
use datastream_server::testing::TestServer;
use rusqlite::Connection;
use tonic::Code;

use super::{Control, delete, put};
use crate::bad_input::assert_invalid;
use crate::wire::{Wire, announced, within};

/// A server on each store, and for SQLite its file.
async fn servers() -> Vec<(TestServer, Arc<dyn Store>, Wire, Control, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = SqliteStore::open(&folder.path().join("settings.db")).expect("a new file");
    let stores: [(Arc<dyn Store>, _); 2] =
        [(Arc::new(MemoryStore::new()), None), (Arc::new(file), Some(folder))];
    let mut servers = Vec::new();
    for (store, folder) in stores {
        let server = TestServer::start_with(store.clone(), Config::default());
        let wire = Wire::to(&server.url()).await;
        let control = Control::of(&wire);
        servers.push((server, store, wire, control, folder));
    }
    servers
}

impl Control {
    async fn page(&self, key: &str, page_size: u32, page_token: &str) -> HistoryResponse {
        let (key, page_token) = (key.to_owned(), page_token.to_owned());
        let request = HistoryRequest { key, page_size, page_token };
        self.0.clone().history(request).await.expect("it has a history").into_inner()
    }

    async fn history(&self, key: &str) -> Vec<String> {
        self.page(key, 0, "").await.changes.iter().map(told).collect()
    }

    async fn authored(&self, operations: Vec<datastream::proto::Operation>, author: &str, message: &str) {
        let (author, message) = (author.to_owned(), message.to_owned());
        let request = CommitRequest { operations, author, message, ..CommitRequest::default() };
        self.make(request).await.expect("commit");
    }
}

/// `a=1 (who: why)`, or `a-` for a deletion.
fn told(change: &Change) -> String {
    let data = change.data.as_ref().expect("a change says what");
    assert!(data.updated_at.is_some() && data.revision > 0);
    let position = change.position.as_ref().expect("a change has a position");
    assert!(position.revision >= data.revision);
    let value =
        if data.deleted { "-".to_owned() } else { format!("={}", String::from_utf8_lossy(&data.value)) };
    format!("{}{value} ({}: {})", data.key, change.author, change.message)
}

#[tokio::test]
async fn a_history_tells_what_who_and_why_newest_first() {
    for (_server, _store, _wire, control, _folder) in servers().await {
        control.authored(vec![put("a", "int", "1"), put("b/c", "int", "1")], "ada", "begin").await;
        control.authored(vec![put("a", "int", "2")], "bob", "more").await;
        control.authored(vec![delete("a"), put("b/d", "int", "2")], "eve", "").await;
        control
            .authored(vec![put("b!", "int", "3"), put("b", "int", "3"), put("b0", "int", "3")], "", "")
            .await;
        assert_eq!(control.history("a").await, ["a- (eve: )", "a=2 (bob: more)", "a=1 (ada: begin)"]);
        assert_eq!(control.history("b/").await, ["b/d=2 (eve: )", "b/c=1 (ada: begin)"]);
        assert_eq!(control.history("").await.len(), 8);
        assert_eq!(control.history("absent").await, [""; 0]);
    }
}

#[tokio::test]
async fn a_history_comes_in_pages_that_leave_out_nothing() {
    for (_server, _store, wire, control, _folder) in servers().await {
        for n in 1..=7 {
            wire.push_int("a", n).await;
            wire.push_int("b", n).await;
        }
        let (mut told_of, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = control.page("a", 3, &token).await;
            told_of.extend(page.changes.iter().map(told));
            pages += 1;
            token = page.next_page_token;
            if token.is_empty() {
                break;
            }
        }
        let all: Vec<_> = (1..=7).rev().map(|n| format!("a={n} (: )")).collect();
        assert_eq!((told_of, pages), (all, 3));
        let wrong = HistoryRequest { page_token: "x".to_owned(), ..HistoryRequest::default() };
        assert_invalid("token", &control.0.clone().history(wrong).await.expect_err("no token"), "page_token");
        let wrong = HistoryRequest { key: "a//b".to_owned(), ..HistoryRequest::default() };
        assert_invalid("key", &control.0.clone().history(wrong).await.expect_err("no key"), "key");
    }
}

/// Three values of a megabyte do not fit into one message.
#[tokio::test]
async fn a_page_of_large_values_fits_into_a_message() {
    for (_server, _store, _wire, control, _folder) in servers().await {
        for fill in [b'x', b'y', b'z'] {
            control.commit([put("a", "string", vec![fill; 1 << 20])]).await.expect("commit");
        }
        let mut page = control.page("a", 0, "").await;
        let mut changes = page.changes.len();
        while !page.next_page_token.is_empty() {
            page = control.page("a", 0, &page.next_page_token).await;
            assert!(!page.changes.is_empty(), "each page brings something");
            changes += page.changes.len();
        }
        assert_eq!(changes, 3);
    }
}

/// Up to a hundred, and the latest whatever its age.
#[tokio::test]
async fn a_history_keeps_so_many_values_of_a_key_and_the_latest_always() {
    for (_server, store, wire, control, _folder) in servers().await {
        for n in 1..=120 {
            wire.push_int("often", n).await;
        }
        wire.push_int("seldom", 1).await;
        wire.push_int("end", 1).await;
        let kept = Retention { positions: std::time::Duration::ZERO, ..Retention::default() };
        store.compact(kept).await.expect("compact");
        assert_eq!(control.history("often").await.len(), 100);
        assert_eq!(control.history("often").await[99], "often=21 (: )");
        let latest = Retention { history: std::time::Duration::ZERO, ..kept };
        store.compact(latest).await.expect("compact");
        assert_eq!(control.history("often").await, ["often=120 (: )"]);
        assert_eq!(control.history("seldom").await, ["seldom=1 (: )"]);
        assert_eq!(wire.sync(announced([""; 0])).await.data.len(), 3);
    }
}

#[tokio::test]
async fn a_history_tells_of_what_others_wrote() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("settings.db");
    let server =
        TestServer::start_with(Arc::new(SqliteStore::open(&path).expect("a new file")), Config::default());
    let wire = Wire::to(&server.url()).await;
    let control = Control::of(&wire);
    let mut stream = wire.subscribe(announced(["a"])).await;
    stream.delivery().await;
    let write = "INSERT INTO data (key, value, value_type) VALUES ('a', '1', 'int'), ('a//b', '1', 'int')";
    Connection::open(&path).expect("the file").execute(write, []).expect("a write");
    within("the write arrives", stream.delivery()).await;
    assert_eq!(control.history("").await, ["a=1 (: )"], "what is no key is not served");
    let page = control.page("", 1, "").await;
    assert_eq!((page.changes.len(), &*page.next_page_token), (1, ""), "a page is empty only at the end");
}

#[tokio::test]
async fn a_status_tells_what_the_server_holds_and_what_it_added() {
    for (_server, _store, wire, control, folder) in servers().await {
        let position = wire.push_int("a", 1).await;
        let status =
            || async { control.0.clone().status(StatusRequest {}).await.expect("status").into_inner() };
        let before = status().await;
        assert_eq!(before.store, if folder.is_some() { "sqlite" } else { "memory" });
        assert_eq!((before.keys, &before.position), (1, &Some(position)));
        assert_eq!((before.subscriptions, before.source_age), (0, None));
        assert_eq!(before.history_changes, Some(1));
        let _stream = wire.subscribe(announced(["a"])).await;
        for n in 0..50 {
            control.commit([put("text", "string", format!("{n:0>1000}"))]).await.expect("commit");
        }
        control.commit([delete("text")]).await.expect("commit");
        wire.push_int("b", 1).await;
        control.commit([delete("b")]).await.expect("commit");
        let after = status().await;
        assert_eq!((after.keys, after.subscriptions), (1, 1));
        assert!(after.history_bytes > before.history_bytes, "{before:?} {after:?}");
    }
}

#[tokio::test]
async fn a_store_without_a_history_says_so() {
    let server = TestServer::start_with(Arc::new(Plain(MemoryStore::new())), Config::default());
    let control = Control::of(&Wire::to(&server.url()).await);
    let status = control.0.clone().history(HistoryRequest::default()).await.expect_err("it has none");
    assert_eq!(status.code(), Code::Unimplemented);
    let status = control.0.clone().status(StatusRequest {}).await.expect("status").into_inner();
    assert_eq!((status.history_changes, status.history_bytes, &*status.store), (None, None, "other"));
}

/// A store that has only what it must have.
struct Plain(MemoryStore);

#[async_trait::async_trait]
impl Store for Plain {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.0.load().await
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        self.0.changes(after).await
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        self.0.commit(commit).await
    }

    async fn seed(&self, commit: Commit) -> Result<bool, CommitError> {
        self.0.seed(commit).await
    }

    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        self.0.compact(retention).await
    }

    async fn rung(&self) {
        self.0.rung().await;
    }
}
