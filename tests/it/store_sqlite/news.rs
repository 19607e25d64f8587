//! What the store tells of its own commits spares a look, and hides nothing that others wrote.

use datastream_server::store::{Commit, News, Operation, Store};
use datastream_server::stores::sqlite::SqliteStore;

use super::reconciled::{reaches, until};
use super::replaced::{left_behind, put_in_place};
use super::{File, changes, commit, head, told};

#[tokio::test]
async fn news_are_what_changes_would_say() {
    let file = File::new();
    let (store, foreign) = (file.store(), file.foreign());
    for value in 0..100 {
        let before = head(&store).await;
        let _ = store.news();
        let theirs = "INSERT OR REPLACE INTO data (key, value) VALUES ('theirs', ?1)";
        foreign.execute(theirs, [value]).expect("a write");
        let operations = [Operation::put("ours", "int", value.to_string()), Operation::delete("theirs")];
        let after = commit(&store, operations).await;
        // Where the reader was quicker, it rang for the foreign write, and only a look says what that was.
        let Some(News { after: from, batch }) = store.news() else { continue };
        let asked = changes(&store, &before).await;
        assert_eq!((&from, &batch.position), (&before, &after));
        assert_eq!((batch.positions, batch.changes), (asked.positions, asked.changes));
        assert!(store.news().is_none(), "it is told once");
        return;
    }
    panic!("it never told of its commits");
}

/// Commits, and hears what that rings for.
async fn next(store: &SqliteStore) -> Option<News> {
    commit(store, [Operation::delete("ours")]).await;
    let _ = store.news();
    commit(store, [Operation::put("ours", "int", "2")]).await;
    store.news()
}

/// Rings that nobody heard yet are one.
#[tokio::test]
async fn what_others_wrote_since_is_looked_for() {
    let file = File::new();
    let store = file.store();
    commit(&store, [Operation::put("ours", "int", "1")]).await;
    store.rung().await;
    file.foreign().execute("INSERT INTO data (key, value) VALUES ('theirs', 7)", []).expect("a write");
    store.rung().await;
    assert!(store.news().is_none(), "it rang for them as well");
    until("it tells of a commit again", async || next(&store).await, Option::is_some).await;
}

/// What others left in the log is no reason to refuse a push.
#[tokio::test]
async fn what_cannot_be_read_is_not_told() {
    let file = File::new();
    let store = file.store();
    let script = "INSERT INTO data (key, value) VALUES ('theirs', 7);
        UPDATE datastream_log SET value = 'no blob' WHERE key = 'theirs'";
    file.foreign().execute_batch(script).expect("a write");
    commit(&store, [Operation::put("ours", "int", "1")]).await;
    assert!(store.news().is_none());
}

/// The end of a transaction is what makes it durable, and it may fail.
#[tokio::test]
async fn what_was_not_made_is_not_told() {
    let file = File::new();
    let script = "CREATE TABLE owners (key TEXT PRIMARY KEY);
        CREATE TABLE data (key TEXT PRIMARY KEY REFERENCES owners (key) DEFERRABLE INITIALLY DEFERRED,
          value BLOB, value_type TEXT, updated_at DATETIME)";
    file.foreign().execute_batch(script).expect("tables");
    let store = file.store();
    let _ = store.news();
    let put = Commit::one(Operation::put("nobody's", "int", "1"));
    assert!(store.commit(put).await.is_err(), "the key refers to nothing");
    assert!(store.news().is_none());
}

#[tokio::test]
async fn of_a_file_that_is_no_more_nothing_is_told() {
    let file = File::new();
    let (store, copy, before) = left_behind(&file).await;
    let expected = put_in_place(&copy, &file);
    assert!(reaches(&store, expected, &before).await);
    assert!(store.news().is_none());
}

/// Who would read it holds up the writer. Here a trigger of somebody else writes it, in the transaction of a push. Where
/// the reader sees that first nothing is told anyway: so some times.
#[tokio::test]
async fn much_that_others_wrote_is_not_told() {
    for _ in 0..10 {
        let file = File::new();
        let store = file.store();
        let script = "CREATE TABLE much (i);
            WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000)
              INSERT INTO much SELECT i FROM n;
            CREATE TRIGGER theirs AFTER INSERT ON data WHEN NEW.key = 'much' BEGIN
              INSERT INTO data (key, value) SELECT 'theirs/' || i, i FROM much; END";
        file.foreign().execute_batch(script).expect("a table and a trigger");
        until("it tells of its commits", async || next(&store).await, Option::is_some).await;
        let before = head(&store).await;
        commit(&store, [Operation::put("much", "int", "1")]).await;
        assert!(store.news().is_none());
        assert_eq!(changes(&store, &before).await.changes.len(), 2001);
        let news = until("it tells of the next commit", async || next(&store).await, Option::is_some).await;
        let news = news.expect("it does");
        assert_eq!(told(&news.batch.changes), [("ours", Some(("int", &b"2"[..])))]);
    }
}
