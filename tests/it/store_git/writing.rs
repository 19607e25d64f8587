//! A commit is one commit of the branch, made on what the branch holds by then.

use super::*;
use datastream_server::store::{Action, RequestId};

fn named(id: &str, operation: Operation) -> Commit {
    Commit { request: Some(RequestId { id: id.into(), digest: 7 }), ..Commit::one(operation) }
}

#[tokio::test]
async fn a_batch_is_one_commit_with_its_author_and_its_reason() {
    let repository = Repository::holding(&[("gone", "1"), ("stays", "1")]);
    let store = opened(&repository).await;
    let batch = Commit {
        operations: vec![put("a/b", 1), put("c", 2), Operation::delete("gone")],
        author: "Ada <ada@example.com>".to_owned(),
        message: "raise the limit\n\nbecause".to_owned(),
        ..Commit::default()
    };
    let position = store.commit(batch).await.expect("commit");
    assert_eq!((position.revision, repository.commits()), (3, 2));
    assert_eq!(
        repository.git(&["log", "-1", "--format=%an <%ae>|%cn|%B", "main"]),
        "Ada <ada@example.com>|datastream|raise the limit\n\nbecause"
    );
    assert_eq!(repository.git(&["ls-tree", "-r", "--name-only", "main"]), ".datastream.toml\na/b\nc\nstays");
    assert_eq!(repository.git(&["show", "main:.datastream.toml"]), "[types]\n\"a/b\" = \"int\"\nc = \"int\"");
    let page = history(&store, None).await;
    let told: Vec<_> =
        page.changes.iter().map(|logged| (&*logged.change.key, &*logged.author, &*logged.message)).collect();
    assert_eq!(
        told[..3],
        ["gone", "c", "a/b"].map(|key| (key, "Ada <ada@example.com>", "raise the limit\n\nbecause"))
    );
    assert_eq!(told[3..], ["stays", "gone"].map(|key| (key, "A Person <person@example.com>", "by hand")));
    commit(&store, [put("c", 3)]).await;
    assert_eq!(repository.git(&["log", "-1", "--format=%s|%an", "main"]), "Set c|datastream");
}

/// A client that writes JSON, or a text, into a file of that kind leaves no trace in the types file.
#[tokio::test]
async fn an_extension_says_the_type_and_needs_no_entry() {
    let repository = Repository::holding(&[("app.json", "{}"), ("README.md", "x")]);
    let store = opened(&repository).await;
    commit(&store, [Operation::put("app.json", "json", "[1]"), Operation::put("README.md", "string", "y")])
        .await;
    assert_eq!(held(&store, "app.json").await.as_deref(), Some(".json:[1]"));
    let end = commit(&store, [Operation::put("new.json", "json", "1")]).await;
    assert_eq!(commit(&store, [Operation::put("new.json", "json", "1")]).await, end, "it stands");
    assert_eq!(repository.git(&["ls-tree", "-r", "--name-only", "main"]), "README.md\napp.json\nnew.json");
}

/// Each value has the type that it had when it was written.
#[tokio::test]
async fn the_history_tells_the_types_of_its_time() {
    let repository = Repository::empty();
    let store = opened(&repository).await;
    commit(&store, [put("a", 1)]).await;
    let action = Action::Put { value: "x".into(), value_type: Some("string".into()), retype: true };
    commit(&store, [Operation { key: "a".into(), action, expected_revision: None }]).await;
    commit(&store, [Operation::delete("a")]).await;
    let fresh = opened(&repository).await;
    let page = history(&fresh, Some("a")).await;
    let told: Vec<_> = page
        .changes
        .iter()
        .map(|logged| logged.change.value.as_ref().map(|stored| &*stored.value_type))
        .collect();
    assert_eq!(told, [None, Some("string"), Some("int")]);
    assert_eq!(repository.git(&["show", "main:.datastream.toml"]), "[types]", "no entry outlives its key");
}

/// Others' commits to other keys are no obstacle; to the same key they are, and nothing of theirs is lost.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_race_is_tried_again_and_the_same_key_is_a_conflict() {
    let repository = Repository::empty();
    let (one, two) = (beside(&repository).await, beside(&repository).await);
    commit(&one, [put("shared", 0)]).await;
    let writers = [(one, "one"), (two, "two")].map(|(store, name)| {
        tokio::spawn(async move {
            let mut won = 0;
            for n in 0..15 {
                commit(&store, [put(&format!("{name}/{n}"), n)]).await;
                let operations = vec![put("shared", format!("{}{n}", name.len() + won))];
                match store.commit(Commit { operations, ..Commit::default() }).await {
                    Ok(_) => won += 1,
                    Err(CommitError::Refused { key, why: Refused::Conflict { .. } }) => {
                        assert_eq!(key.as_deref(), Some("shared"))
                    }
                    Err(error) => panic!("{error:?}"),
                }
            }
            won
        })
    });
    let mut won = 0;
    for writer in writers {
        won += writer.await.expect("the writer");
    }
    let store = opened(&repository).await;
    assert_eq!(keys(&store).await.len(), 31);
    let shared = history(&store, Some("shared")).await.changes.len();
    assert!(
        shared <= won + 1 && won > 0,
        "{shared} of {won}: each that was acknowledged is there, or wrote what stood"
    );
    assert_eq!(repository.git(&["fsck", "--strict", "--no-dangling"]), "");
}

/// Its name is in the commit, so any server of the branch knows it, after a restart too.
#[tokio::test]
async fn a_request_is_known_to_every_server_of_the_branch() {
    let repository = Repository::empty();
    let made =
        opened(&repository).await.commit(named("one/ü", put("a", 1).expecting(0))).await.expect("commit");
    let other = opened(&repository).await;
    commit(&other, [put("a", 2)]).await;
    assert_eq!(other.commit(named("one/ü", put("a", 1).expecting(0))).await.expect("the same answer"), made);
    let reused =
        Commit { request: Some(RequestId { id: "one/ü".into(), digest: 8 }), ..Commit::one(put("b", 1)) };
    assert!(matches!(other.commit(reused).await, Err(CommitError::Reused)));
    assert_eq!(repository.commits(), 2);
    let message = &history(&other, Some("a")).await.changes[1].message;
    assert_eq!(message, "Set a", "the request is not for people");
}

#[tokio::test]
async fn a_batch_may_exchange_a_file_for_a_folder() {
    let repository = Repository::holding(&[("a", "1"), ("b/c", "1"), ("b/d", "1")]);
    let store = opened(&repository).await;
    commit(&store, [put("a/x", 1), Operation::delete("a")]).await;
    let half = Commit { operations: vec![put("b", 1), Operation::delete("b/c")], ..Commit::default() };
    let refusal = store.commit(half).await.expect_err("b/d is there");
    assert!(
        matches!(&refusal, CommitError::Refused { why: Refused::InTheWay { by }, .. } if by == "`b/d`"),
        "{refusal:?}"
    );
    let both = Commit { operations: vec![put("n", 1), put("n/m", 1)], ..Commit::default() };
    store.commit(both).await.expect_err("both are new");
    commit(&store, [put("b", 1), Operation::delete("b/c"), Operation::delete("b/d")]).await;
    assert_eq!(keys(&store).await, ["a/x", "b"]);
    assert_eq!(repository.git(&["fsck", "--strict", "--no-dangling"]), "");
}

/// What a key is called, what it holds, and who wrote it why.
#[tokio::test]
async fn whatever_may_be_written_comes_back_as_it_was() {
    let repository = Repository::empty();
    let store = opened(&repository).await;
    let long = format!("{}/{}", "x".repeat(250), "y".repeat(250));
    let keys = [
        "a\"b",
        "-x",
        "--upload-pack=x",
        "a b",
        "$(id)",
        "refs/heads/main",
        "HEAD",
        ":(glob)*",
        "a.b",
        "#",
        &long,
    ];
    for (n, key) in keys.iter().enumerate() {
        let commit = Commit {
            author: "e<v>i\nl".to_owned(),
            message: format!("{}\nfrom x\nM 100644 inline evil\ndata 1\nx\n", "m".repeat(n * 100)),
            ..Commit::one(Operation::put(key, "bytes", vec![0, b'\n', 255, n as u8]))
        };
        store.commit(commit).await.unwrap_or_else(|error| panic!("{key}: {error:?}"));
    }
    let fresh = opened(&repository).await;
    assert_eq!(super::keys(&fresh).await.len(), keys.len());
    for (n, key) in keys.iter().enumerate() {
        let page = history(&fresh, Some(key)).await;
        let [only] = &page.changes[..] else { panic!("{key}: {page:?}") };
        assert_eq!(only.change.value.as_ref().expect("a value").value[..], [0, b'\n', 255, n as u8]);
        assert_eq!(only.author, "e <v i l>");
    }
    assert_eq!(repository.git(&["fsck", "--no-dangling"]), "");
}

/// Who reads it would take it for a file that is kept elsewhere, and the key would be gone for everybody.
#[tokio::test]
async fn a_value_that_would_be_taken_for_a_pointer_of_git_lfs_is_refused() {
    let repository = Repository::holding(&[("a", "1")]);
    let store = opened(&repository).await;
    let begins = "version https://git-lfs.github.com/spec/";
    let text = |key, text: &str| Operation::put(key, "text/plain", text.to_owned());
    let pointer = format!("{begins}v1\noid sha256:00\nsize 5\n");
    for (key, value) in [("a", &*pointer), ("b", &pointer), ("a", begins)] {
        let operations = vec![text("c", "1"), text(key, value)];
        let pushed = store.commit(Commit { operations, ..Commit::default() }).await;
        let Err(CommitError::Refused { key: Some(named), why: Refused::Value(why) }) = pushed else {
            panic!("{key}: {pushed:?}")
        };
        assert_eq!(&*named, key);
        assert!(why.to_string().contains("Git LFS") && !why.to_string().contains("github"), "{why}");
    }
    assert_eq!((repository.commits(), super::keys(&store).await), (1, vec!["a".to_owned()]));
    let long = format!("{begins}{}", "x".repeat(1024 - begins.len()));
    for value in [&*long, "version"] {
        commit(&store, [text("a", value)]).await;
        assert_eq!(held(&store, "a").await, Some(format!("text/plain:{value}")), "it is a text as others");
    }
}

#[tokio::test]
async fn sample_settings_are_written_once_in_the_life_of_a_repository() {
    let repository = Repository::empty();
    let seed = || Commit { operations: vec![put("a", 1)], ..Commit::default() };
    let store = opened(&repository).await;
    assert!(store.seed(seed()).await.expect("seed"));
    commit(&store, [Operation::delete("a")]).await;
    let again = opened(&repository).await;
    assert!(!again.seed(seed()).await.expect("seed"));
    assert!(super::keys(&again).await.is_empty());
}
