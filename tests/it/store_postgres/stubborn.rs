//! The user's own triggers and constraints, which may speak against a push.

use datastream_server::store::{Commit, CommitError, Operation, Refused};

use super::{commit, served, state};

/// A function that a trigger calls before each row.
fn before(event: &str, body: &str) -> String {
    format!(
        "CREATE OR REPLACE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN {body} END';
         DROP TRIGGER IF EXISTS theirs ON data;
         CREATE TRIGGER theirs BEFORE {event} ON data FOR EACH ROW EXECUTE FUNCTION theirs()"
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_their_rules_refuse_is_refused_by_key_and_leaves_no_trace() {
    let (database, store) = served().await;
    commit(&store, [Operation::put("old", "int", "1")]).await;
    let put = |value: &'static str| ["other", "key"].map(|key| Operation::put(key, "int", value));
    let delete = || ["old", "key"].map(Operation::delete);
    let raise = before("INSERT OR UPDATE", "RAISE EXCEPTION ''secret 7''; RETURN NEW;");
    let cases = [
        ("ALTER TABLE data ADD CHECK (value <> '7')".to_owned(), put("7")),
        ("ALTER TABLE data ADD UNIQUE (value)".to_owned(), put("8")),
        (raise, put("9")),
        (before("INSERT", "RETURN NULL;"), put("10")),
        (before("DELETE", "RETURN NULL;"), delete()),
    ];
    for (rule, operations) in cases {
        database.psql(&format!("BEGIN; {rule}; COMMIT"));
        let refused = store.commit(Commit { operations: operations.into(), ..Commit::default() }).await;
        match refused {
            Err(CommitError::Refused { key: Some(_), why: Refused::Rules }) => {}
            other => panic!("{rule}: {other:?}"),
        }
        assert_eq!(state(&store).await, [("old".to_owned(), "1".to_owned())], "{rule}");
        database.psql("DROP TRIGGER IF EXISTS theirs ON data; ALTER TABLE data DROP CONSTRAINT IF EXISTS data_value_check,
                       DROP CONSTRAINT IF EXISTS data_value_key");
    }
}

/// Not even where a trigger gives its error a code that speaks of something else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_their_triggers_say_is_not_passed_on() {
    let (database, store) = served().await;
    for (code, is_refused) in [("55000", false), ("U0001", true), ("38000", true)] {
        let raise = format!("RAISE EXCEPTION ''secret 7'' USING ERRCODE = ''{code}''; RETURN NEW;");
        database.psql(&before("INSERT", &raise));
        let failed = store.commit(Commit::one(Operation::put("a", "int", "7"))).await.expect_err("it raises");
        let told = format!("{failed} {failed:?} {:?}", std::error::Error::source(&failed));
        assert!(!told.contains("secret"), "{told}");
        let refused = matches!(failed, CommitError::Refused { why: Refused::Rules, .. });
        assert_eq!(refused, is_refused, "{code}: {told}");
    }
}

/// It is checked when all else of the transaction is done.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_constraint_that_is_checked_late_refuses_as_well() {
    let (database, store) = served().await;
    database.psql(
        "CREATE TABLE known (key text PRIMARY KEY); INSERT INTO known VALUES ('known');
                   ALTER TABLE data ADD FOREIGN KEY (key) REFERENCES known DEFERRABLE INITIALLY DEFERRED",
    );
    commit(&store, [Operation::put("known", "int", "1")]).await;
    let refused = store.commit(Commit::one(Operation::put("unknown", "int", "1"))).await;
    assert!(matches!(refused, Err(CommitError::Refused { why: Refused::Rules, .. })), "{refused:?}");
    assert_eq!(state(&store).await.len(), 1);
}

/// What is told to others is what the row is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_changes_a_value_is_followed() {
    let (database, store) = served().await;
    database.psql(&before("INSERT OR UPDATE", "NEW.value := ''0''; RETURN NEW;"));
    commit(&store, [Operation::put("a", "int", "7")]).await;
    assert_eq!(state(&store).await, [("a".to_owned(), "0".to_owned())]);
    let refused = store.commit(Commit::one(Operation::put("a", "int", "7"))).await;
    assert!(
        matches!(refused, Err(CommitError::Refused { why: Refused::Rules, .. })),
        "nothing comes of it: {refused:?}"
    );
}

/// It writes the row once more, inside the statement that wrote it first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_that_runs_after_and_writes_the_row_again_is_followed() {
    let (database, store) = served().await;
    database.psql(
        "CREATE FUNCTION theirs() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NEW.value <> '0' THEN UPDATE data SET value = '0' WHERE key = NEW.key; END IF; RETURN NULL; END $$;
         CREATE TRIGGER a_first AFTER INSERT OR UPDATE ON data FOR EACH ROW EXECUTE FUNCTION theirs()",
    );
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        database.psql(&format!(
            "BEGIN ISOLATION LEVEL {level}; INSERT INTO data VALUES ('a', '7', 'int'); COMMIT"
        ));
        assert_eq!(state(&store).await, [("a".to_owned(), "0".to_owned())], "{level}");
        database.psql("DELETE FROM data");
    }
}

/// Who refers to a row keeps nobody from changing its value.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_row_that_others_refer_to_can_be_changed_meanwhile() {
    let (database, store) = served().await;
    commit(&store, [Operation::put("a", "int", "1")]).await;
    database.psql("CREATE TABLE refers (key text REFERENCES data)");
    let other = database.connect().await;
    other.batch_execute("BEGIN; INSERT INTO refers VALUES ('a')").await.expect("it is open");
    commit(&store, [Operation::put("a", "int", "2")]).await;
    other.batch_execute("COMMIT").await.expect("nothing speaks against it");
    let refused = store.commit(Commit::one(Operation::delete("a"))).await;
    assert!(matches!(refused, Err(CommitError::Refused { why: Refused::Rules, .. })), "{refused:?}");
}
