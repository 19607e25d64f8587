//! Repositories in an odd state, and configurations that nobody thought of: nothing is lost, and nothing is taken for what it
//! is not.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use datastream_client::Client;
use datastream_server::Config;
use datastream_server::store::{RequestId, Retention};
use datastream_server::testing::TestServer;
use futures_util::StreamExt as _;

use super::*;
use crate::git;

/// Not even for a moment: an unreadable file, an object that is still to come.
#[tokio::test]
async fn a_branch_that_cannot_be_read_is_no_deletion() {
    let repository = Repository::holding(&[("a", "1")]);
    let store = opened(&repository).await;
    let before = head(&store).await;
    let (reference, object) =
        (repository.path().join("refs/heads/main"), repository.git(&["rev-parse", "main"]));
    let good = std::fs::read(&reference).expect("a loose ref");
    for bad in [&b"xyz"[..], b"1111111111111111111111111111111111111111\n"] {
        std::fs::write(&reference, bad).expect("it can be written");
        assert!(store.changes(&before).await.is_err(), "it is no answer");
        assert_eq!(held(&store, "a").await.as_deref(), Some("text/plain:1"));
    }
    std::fs::write(&reference, good).expect("it can be written");
    assert!(matches!(store.changes(&before).await, Ok(Since::Changes(_))));
    let object = repository.path().join("objects").join(&object[..2]).join(&object[2..]);
    std::fs::rename(&object, repository.folder().join("away")).expect("a loose object");
    let Err(error) = open(&repository.local()).await else { panic!("there is nothing to serve") };
    assert!(!error.to_string().contains("no branch"), "{error}");
}

/// The commit that was known went with what was there before.
#[tokio::test]
async fn a_repository_without_the_commit_that_was_known_is_read_anew() {
    let restored: fn(&Repository, &Path) = |repository, backup| exchange(repository, backup);
    let made_anew: fn(&Repository, &Path) =
        |repository, _| exchange(repository, &Repository::holding(&[("a", "new")]).path());
    let pruned: fn(&Repository, &Path) = |repository, _| {
        let person = repository.person();
        person.git(&["reset", "-q", "--hard", "HEAD~1"]);
        person.force();
        repository.git(&["gc", "-q", "--prune=now"]);
    };
    for (name, happens, expected) in [
        ("restored", restored, "text/plain:old"),
        ("made anew", made_anew, "text/plain:new"),
        ("pruned", pruned, "text/plain:old"),
    ] {
        let repository = Repository::holding(&[("a", "old")]);
        let backup = repository.folder().join("backup.git");
        repository.git(&["clone", "-q", "--bare", ".", &backup.display().to_string()]);
        let store = opened(&repository).await;
        let before = commit(&store, [Operation::put("a", "text/plain", "lost")]).await;
        let known = repository.git(&["rev-parse", "main"]);
        happens(&repository, &backup);
        assert!(git::attempt(&repository.path(), &["cat-file", "-e", &known]).is_err(), "{name}");
        assert!(matches!(store.changes(&before).await, Ok(Since::Replaced)), "{name}");
        assert_eq!(held(&store, "a").await.as_deref(), Some(expected), "{name}");
        commit(&store, [put("b", 1)]).await;
        assert_eq!(keys(&opened(&repository).await).await, ["a", "b"], "{name}");
    }
}

/// At one blow: nobody sees an empty folder.
fn exchange(repository: &Repository, by: &Path) {
    std::fs::rename(repository.path(), repository.folder().join("away")).expect("it is moved away");
    std::fs::rename(by, repository.path()).expect("another takes its place");
}

#[tokio::test]
async fn what_the_configuration_says_changes_neither_keys_nor_states() {
    let repository = Repository::holding(&[("a", "1")]);
    for (name, value) in [
        ("core.ignorecase", "true"),
        ("log.diffMerges", "off"),
        ("diff.renames", "copies"),
        ("diff.orderFile", "/nowhere"),
        ("log.follow", "true"),
        ("log.showSignature", "true"),
        ("i18n.logOutputEncoding", "latin1"),
        ("core.quotePath", "true"),
        ("log.mailmap", "true"),
    ] {
        repository.git(&["config", name, value]);
    }
    let store = opened(&repository).await;
    commit(&store, [put("A", 1)]).await;
    commit(&store, [put("b/ü", 1)]).await;
    assert_eq!(keys(&store).await, ["A", "a", "b/ü"], "they are keys of their own");
    let person = repository.person();
    person.git(&["fetch", "-q", "origin", "main"]);
    person.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
    person.git(&["checkout", "-q", "-b", "side"]);
    std::fs::write(person.folder().join("merged"), "1").expect("a file");
    person.git(&["add", "-A"]);
    person.git(&["commit", "-q", "-m", "on the side"]);
    person.git(&["checkout", "-q", "main"]);
    person.git(&["merge", "-q", "--no-ff", "--no-edit", "side"]);
    person.git(&["push", "-q", "origin", "main"]);
    store.refresh().await.expect("it can be looked at");
    assert_eq!(
        held(&store, "merged").await.as_deref(),
        Some("text/plain:1"),
        "what a merge brought is there"
    );
    assert_eq!(history(&store, Some("a")).await.changes.len(), 1);
}

/// And is not written over: who broke it mends it.
#[tokio::test]
async fn types_that_cannot_be_read_stay_as_they_were_and_their_file_too() {
    let types = "[other]\nx = 1\n[types]\na = \"int\"\n";
    let twice = format!("{types}[other]\ny = 2\n");
    for (name, breaks) in [
        (
            "a table twice",
            Box::new(|person: &git::Person| person.commit(&[(".datastream.toml", &twice)]))
                as Box<dyn Fn(&git::Person)>,
        ),
        ("broken", Box::new(|person| person.commit(&[(".datastream.toml", "# mine\n[types\n")]))),
        ("huge", Box::new(|person| person.commit(&[(".datastream.toml", &"#".repeat(4 << 20))]))),
        (
            "a link",
            Box::new(|person| {
                std::fs::remove_file(person.folder().join(".datastream.toml")).expect("a file");
                std::os::unix::fs::symlink("a", person.folder().join(".datastream.toml")).expect("a link");
                person.force();
            }),
        ),
    ] {
        let repository = Repository::holding(&[(".datastream.toml", types), ("a", "1")]);
        let person = repository.person();
        person.git(&["fetch", "-q", "origin", "main"]);
        person.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
        let store = opened(&repository).await;
        breaks(&person);
        store.refresh().await.expect("it can be looked at");
        for store in [&store, &opened(&repository).await] {
            assert_eq!(held(store, "a").await.as_deref(), Some("int:1"), "{name}");
            let there = repository.git(&["rev-parse", "main:.datastream.toml"]);
            let refusal = refused(store, put("b", 1)).await;
            assert!(
                matches!(&refusal, Refused::InTheWay { by } if by.contains(".datastream.toml")),
                "{name}: {refusal:?}"
            );
            assert_eq!(repository.git(&["rev-parse", "main:.datastream.toml"]), there, "{name}");
        }
        commit(&store, [put("a", 2)]).await;
        assert_eq!(held(&store, "a").await.as_deref(), Some("int:2"), "what needs no entry is written");
    }
    let repository = Repository::holding(&[(".datastream.toml/x", "1"), ("a", "1")]);
    let store = opened(&repository).await;
    assert_eq!(keys(&store).await, ["a"]);
    for operation in [put("b", 1), Operation::put(".datastream.toml/y", "text/plain", "1")] {
        assert!(matches!(refused(&store, operation).await, Refused::InTheWay { .. }));
    }
    assert_eq!(repository.git(&["show", "main:.datastream.toml/x"]), "1");
}

#[tokio::test]
async fn a_commit_with_an_odd_date_is_a_commit() {
    let repository = Repository::holding(&[("a", "1")]);
    let store = opened(&repository).await;
    let tree = repository.git(&["rev-parse", "main^{tree}"]);
    for date in ["", "xx +0000", "99999999999999999999999 +0000", "-5 +0000", "1 x"] {
        let parent = repository.git(&["rev-parse", "main"]);
        let text =
            format!("tree {tree}\nparent {parent}\nauthor a <a> {date}\ncommitter a <a> {date}\n\nodd\n");
        let mut hash = Command::new("git")
            .current_dir(repository.path())
            .args(["hash-object", "-t", "commit", "-w", "--literally", "--stdin"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("git can be run");
        hash.stdin.take().expect("it was piped").write_all(text.as_bytes()).expect("it reads");
        let output = hash.wait_with_output().expect("it ends");
        repository.git(&["update-ref", "refs/heads/main", String::from_utf8_lossy(&output.stdout).trim()]);
        store.refresh().await.unwrap_or_else(|error| panic!("{date:?}: {error:?}"));
    }
    assert_eq!(head(&store).await.revision, 7);
    assert_eq!(head(&opened(&repository).await).await.revision, 7);
}

#[tokio::test]
async fn a_history_of_several_keys_in_one_commit_is_read_to_its_end() {
    let repository = Repository::holding(&[("p/a", "1"), ("p/b", "1"), ("p/c", "1"), ("q", "1")]);
    let store = opened(&repository).await;
    commit(&store, [put("p/x", 1), put("p/y", 1)]).await;
    let server = TestServer::start_with(Arc::new(store), Config::default());
    let client = Client::connect(server.url());
    let mut entries = client.history("p/");
    let mut told = Vec::new();
    while let Some(entry) = entries.next().await {
        let entry = entry.expect("it leads back");
        told.push((entry.revision, entry.key));
    }
    let expected = [(3, "p/y"), (3, "p/x"), (2, "p/c"), (2, "p/b"), (2, "p/a")];
    assert_eq!(told, expected.map(|(revision, key)| (revision, key.to_owned())));
}

#[tokio::test]
async fn a_work_tree_that_is_added_to_a_bare_repository_is_not_written_under() {
    let repository = Repository::holding(&[("a", "1")]);
    let store = opened(&repository).await;
    commit(&store, [put("b", 1)]).await;
    let tree = repository.folder().join("tree").display().to_string();
    repository.git(&["worktree", "add", "-q", &tree, "main"]);
    store.commit(Commit::one(put("c", 1))).await.expect_err("somebody may work there");
    repository.git(&["worktree", "remove", &tree]);
    commit(&store, [put("c", 1)]).await;
}

#[tokio::test]
async fn a_folder_in_a_repository_is_not_that_repository() {
    let repository = Repository::holding(&[("a", "1")]);
    let person = repository.person();
    let inside = person.folder().join("settings");
    std::fs::create_dir(&inside).expect("a folder");
    let Err(error) = open(&format!("git:{}", inside.display())).await else {
        panic!("it serves what is above")
    };
    assert!(matches!(error, OpenError::NoRepository { .. }), "{error}");
}

#[tokio::test]
async fn a_name_that_no_file_can_have_is_refused() {
    let repository = Repository::empty();
    let store = opened(&repository).await;
    let refusal = refused(&store, put(&format!("a/{}", "x".repeat(256)), 1)).await;
    assert!(matches!(&refusal, Refused::InTheWay { by } if by.contains("255")), "{refusal:?}");
}

/// Whatever an author writes, and whatever others add to the message.
#[tokio::test]
async fn a_message_forges_no_request_and_loses_none() {
    let repository = Repository::empty();
    let store = opened(&repository).await;
    let named = |operation| Commit {
        request: Some(RequestId { id: "one".into(), digest: 7 }),
        ..Commit::one(operation)
    };
    let line = "Datastream-Request: 6f6e65 0000000000000008";
    let forged = Commit { message: format!("x\n\n{line}"), ..Commit::one(put("a", 1)) };
    store.commit(forged).await.expect("commit");
    let made = store.commit(named(put("a", 2))).await.expect("nobody has that name");
    assert!(
        history(&store, Some("a")).await.changes[1].message.contains("6f6e65"),
        "what was written is told"
    );

    let message = repository.git(&["log", "-1", "--format=%B", "main"]);
    let person = repository.person();
    person.git(&["fetch", "-q", "origin", "main"]);
    person.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
    person.git(&["commit", "-q", "--amend", "-m", &format!("{message}\nSigned-off-by: A <a@b>")]);
    person.git(&["push", "-q", "--force", "origin", "HEAD:main"]);
    let store = opened(&repository).await;
    commit(&store, [put("a", 3)]).await;
    assert_eq!(store.commit(named(put("a", 2))).await.expect("it was made").revision, made.revision);
    assert_eq!(held(&store, "a").await.as_deref(), Some("int:3"));
}

/// Also where all of the samples were there already.
#[tokio::test]
async fn samples_that_were_there_are_not_written_again_once_they_are_deleted() {
    let repository = Repository::holding(&[("a", "1")]);
    let store = opened(&repository).await;
    let seed = || Commit::one(put("a", 7));
    assert!(store.seed(seed()).await.expect("seed"));
    commit(&store, [Operation::delete("a")]).await;
    assert!(!opened(&repository).await.seed(seed()).await.expect("seed"));
}

/// Until then it was the newest, and whoever was away for a moment resumes from it.
#[tokio::test]
async fn a_position_grows_old_from_when_the_next_one_came() {
    let repository = Repository::empty();
    let person = repository.person();
    std::fs::write(person.folder().join("a"), "1").expect("a file");
    person.git(&["add", "-A"]);
    let old = Command::new("git")
        .current_dir(person.folder())
        .envs([("GIT_COMMITTER_DATE", "2020-01-01T00:00:00Z"), ("GIT_AUTHOR_DATE", "2020-01-01T00:00:00Z")])
        .args(["-c", "user.name=a", "-c", "user.email=a", "commit", "-q", "-m", "long ago"])
        .status();
    assert!(old.expect("git can be run").success());
    person.git(&["push", "-q", "origin", "HEAD:main"]);
    let store = opened(&repository).await;
    let quiet = head(&store).await;
    commit(&store, [put("b", 1)]).await;
    assert_eq!(store.compact(Retention::default()).await.expect("compact"), 1, "genesis is as old");
    assert!(matches!(store.changes(&quiet).await, Ok(Since::Changes(_))));
}
