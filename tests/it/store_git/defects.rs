//! The defects of the original's git store, each of which must not come back.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

fn remote(repository: &Repository, name: &str) -> String {
    repository.remote(name)
}

/// Opens a store whose mirror another had: the tasks of that end a moment after it.
async fn free(text: &str) -> Result<GitStore, OpenError> {
    let opens = async {
        loop {
            match open(text).await {
                Err(OpenError::MirrorInUse(_)) => tokio::task::yield_now().await,
                opened => return opened,
            }
        }
    };
    tokio::time::timeout(DEADLINE, opens).await.expect("the mirror is let go")
}

#[tokio::test]
async fn d36_a_mirror_is_private_and_used_again() {
    let repository = Repository::holding(&[("a", "1")]);
    let mirror = repository.folder().join("one");
    let store = open(&remote(&repository, "one")).await.expect("a mirror");
    let mode = std::fs::metadata(&mirror).expect("a folder").permissions().mode();
    assert_eq!(mode & 0o077, 0, "nobody else may look into it: {mode:o}");
    let Err(error) = open(&remote(&repository, "one")).await else { panic!("two servers have one mirror") };
    assert!(matches!(error, OpenError::MirrorInUse(_)), "{error}");
    open(&remote(&repository, "two")).await.expect("another mirror");
    drop(store);
    let other = Repository::holding(&[("a", "1")]);
    let text = format!("git+file://{}?mirror={}#main", other.path().display(), mirror.display());
    let Err(error) = free(&text).await else { panic!("the mirror of another remote") };
    assert!(matches!(error, OpenError::OtherMirror { .. }), "{error}");
    free(&remote(&repository, "one")).await.expect("it is used again");
}

#[tokio::test]
async fn d37_a_branch_that_goes_away_ends_nothing() {
    let repository = Repository::holding(&[("a", "1")]);
    let store = opened(&repository).await;
    let before = head(&store).await;
    repository.git(&["update-ref", "-d", "refs/heads/main"]);
    assert!(matches!(store.changes(&before).await, Ok(Since::Replaced)), "it is another history");
    assert!(store.load().await.expect("load").changes.is_empty());
    commit(&store, [put("a", 2)]).await;
    assert_eq!(held(&store, "a").await.as_deref(), Some("int:2"));
}

/// And the key grammar, which the server checks before, would not let such a key come here.
#[tokio::test]
async fn d38_a_push_writes_no_file_outside_of_the_repository() {
    let repository = Repository::empty();
    let store = opened(&repository).await;
    let outside = repository.folder().join("evil");
    let absolute = outside.display().to_string();
    for key in [
        "../evil",
        &absolute,
        "x/../../evil",
        ".git/hooks/post-update",
        "x/.GIT/config",
        ".gitmodules",
        "x/.gitModules",
        "git~1/config",
        ".git ./config",
        ".git::$INDEX_ALLOCATION/config",
    ] {
        let pushed = store.commit(Commit::one(put(key, 1))).await;
        assert!(pushed.is_err(), "{key}: {pushed:?}");
        assert!(!outside.exists(), "{key}");
    }
    assert!(!repository.path().join("hooks/post-update").exists());
    commit(&store, [put("good", 1)]).await;
}

#[tokio::test]
async fn d39_what_is_read_is_in_the_commit_and_nowhere_else() {
    let repository = Repository::holding(&[("a", "1")]);
    repository.git(&["config", "remote.origin.url", "https://me:secret@host/"]);
    let store = opened(&repository).await;
    assert_eq!(keys(&store).await, ["a"]);
    for key in [".git/config", "config", "HEAD", "../settings.git/config"] {
        assert_eq!(held(&store, key).await, None);
    }
}

#[tokio::test]
async fn d40_a_push_that_the_remote_does_not_take_is_an_error_and_shown_nowhere() {
    let repository = Repository::holding(&[("a", "1")]);
    let hook = repository.path().join("hooks/pre-receive");
    std::fs::write(&hook, "#!/bin/sh\necho no >&2\nexit 1\n").expect("a hook");
    std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).expect("it can be run");
    let store = open(&remote(&repository, "mirror")).await.expect("a mirror");
    let before = head(&store).await;
    store.commit(Commit::one(put("b", 1))).await.expect_err("the hook declines it");
    store.refresh().await.expect("it can be looked at");
    assert_eq!((head(&store).await, repository.commits()), (before, 1));
    std::fs::remove_file(&hook).expect("the hook");
    commit(&store, [put("b", 1)]).await;
    assert_eq!(repository.git(&["show", "main:b"]), "1", "what is acknowledged is there");
}

#[tokio::test]
async fn d41_pushes_that_come_together_are_commits_of_their_own() {
    let repository = Repository::empty();
    let store = beside(&repository).await;
    let pushes = (0..8).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { commit(&store, [put(&format!("k{n}"), n)]).await })
    });
    futures_util::future::try_join_all(pushes).await.expect("each is made");
    assert_eq!(repository.commits(), 8);
    let changed = repository.git(&["log", "--format=", "--name-only", "main", "--", ":!.datastream.toml"]);
    assert_eq!(
        changed.lines().filter(|line| !line.is_empty()).count(),
        8,
        "each changes its own key: {changed}"
    );
    for commit in repository.git(&["log", "--format=%an|%s", "main"]).lines() {
        assert!(commit.starts_with("datastream|Set k"), "{commit}");
    }
}

/// However many ask.
#[tokio::test]
async fn d42_those_who_ask_together_share_a_look() {
    let repository = Repository::holding(&[("a", "1")]);
    let store = Arc::new(open(&remote(&repository, "mirror")).await.expect("a mirror"));
    let heard = repository.folder().join("mirror/datastream-heard");
    let touched = || std::fs::metadata(&heard).expect("it was heard").modified().expect("a time");
    let before = touched();
    repository.person().commit(&[("a", "2")]);
    let asked = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.refresh().await })
    });
    for asked in futures_util::future::join_all(asked).await {
        asked.expect("it does not panic").expect("it can be looked at");
    }
    assert_eq!(
        held(&store, "a").await.as_deref(),
        Some("text/plain:2"),
        "each saw what was there when it asked"
    );
    assert!(touched() > before);
}

#[tokio::test]
async fn d43_one_bad_file_holds_up_no_other_and_a_deletion_is_told() {
    let repository = Repository::holding(&[("a", "1"), ("b", "1")]);
    let store = opened(&repository).await;
    let before = head(&store).await;
    let person = repository.person();
    person.git(&["fetch", "-q", "origin", "main"]);
    person.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
    std::os::unix::fs::symlink("a", person.folder().join("bad")).expect("a symbolic link");
    std::fs::remove_file(person.folder().join("b")).expect("a file");
    std::fs::write(person.folder().join("a"), "2").expect("a file");
    person.force();
    let Since::Changes(batch) = store.changes(&before).await.expect("changes") else { panic!("one history") };
    let mut told: Vec<_> =
        batch.changes.iter().map(|change| (&*change.key, change.value.is_some())).collect();
    told.sort_unstable();
    assert_eq!(told, [("a", true), ("b", false)]);
}

#[tokio::test]
async fn d44_a_value_comes_with_the_time_and_the_type_of_its_commit_wherever_it_is_asked_for() {
    let repository = Repository::holding(&[("a.json", "{}")]);
    let store = opened(&repository).await;
    let change = store.load().await.expect("load").changes.remove(0);
    let logged = history(&store, Some("a.json")).await.changes.remove(0);
    assert_eq!(change, logged.change);
    let seconds = repository.git(&["log", "-1", "--format=%ct", "main"]).parse().expect("seconds");
    assert_eq!(change.time, std::time::UNIX_EPOCH + Duration::from_secs(seconds));
    assert_eq!(*change.value.expect("a value").value_type, *".json");
}

#[tokio::test]
async fn d45_an_empty_file_is_an_empty_value() {
    let repository = Repository::holding(&[("empty", ""), ("full", "1")]);
    let store = opened(&repository).await;
    assert_eq!(held(&store, "empty").await.as_deref(), Some("text/plain:"));
    assert_eq!(held(&store, "full").await.as_deref(), Some("text/plain:1"));
}

/// Only the branch is fetched, and of a value that is too large only its size is read; a remote that hangs is given up
/// (see the tests of remotes).
#[tokio::test]
async fn d46_what_is_fetched_and_read_has_limits() {
    let repository = Repository::holding(&[("a", "1")]);
    let person = repository.person();
    person.git(&["fetch", "-q", "origin", "main"]);
    person.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
    person.git(&["checkout", "-q", "-b", "other"]);
    std::fs::write(person.folder().join("other"), "x").expect("a file");
    person.git(&["add", "-A"]);
    person.git(&["commit", "-q", "-m", "other"]);
    person.git(&["tag", "large"]);
    person.git(&["push", "-q", "origin", "other", "large"]);
    let other = person.git(&["rev-parse", "HEAD"]);
    let store = open(&remote(&repository, "mirror")).await.expect("a mirror");
    let mirror = repository.folder().join("mirror");
    assert!(
        crate::git::attempt(&mirror, &["cat-file", "-e", &other]).is_err(),
        "another branch is not fetched"
    );
    drop(store);
}
