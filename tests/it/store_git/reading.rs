//! What a repository holds is served as it is; what is no setting is left out, and harms nothing.

use std::path::Path;

use super::*;
use crate::captured_log::{capture, lines_with};
use crate::git;

#[tokio::test]
async fn a_path_is_a_key_and_its_extension_or_the_types_file_says_its_type() {
    let types = "[types]\n\"limits/\" = \"int\"\n\"limits/name\" = \"string\"\n";
    let repository = Repository::holding(&[
        (".datastream.toml", types),
        ("plain", "10\n"),
        ("app.json", "{}"),
        ("app.yaml", "a: 1"),
        ("run.sh", "x"),
        ("limits/a", "7"),
        ("limits/name", "x"),
        ("deep/er/and deeper/ü", ""),
    ]);
    let store = opened(&repository).await;
    for (key, expected) in [
        ("plain", "text/plain:10\n"),
        ("app.json", ".json:{}"),
        ("app.yaml", ".yaml:a: 1"),
        ("run.sh", "text/plain:x"),
        ("limits/a", "int:7"),
        ("limits/name", "string:x"),
        ("deep/er/and deeper/ü", "text/plain:"),
    ] {
        assert_eq!(held(&store, key).await.as_deref(), Some(expected), "{key}");
    }
    assert_eq!(held(&store, ".datastream.toml").await, None, "the types are no setting");
    assert_eq!(head(&store).await.revision, 2, "a commit is a revision, and the first is 2");
}

/// Its keys change with it, and only those of which it says something else.
#[tokio::test]
async fn an_edit_of_the_types_file_is_a_change_of_its_keys() {
    let repository = Repository::holding(&[("a", "1"), ("b", "1"), ("c/d", "1")]);
    let store = opened(&repository).await;
    let before = head(&store).await;
    let person = repository.person();
    person.commit(&[(".datastream.toml", "[types]\na = \"int\"\n\"c/\" = \"bool\"\n")]);
    let Since::Changes(batch) = store.changes(&before).await.expect("changes") else { panic!("one history") };
    let mut changed: Vec<_> = batch.changes.iter().map(|change| (&*change.key, change.revision)).collect();
    changed.sort_unstable();
    assert_eq!(changed, [("a", 3), ("c/d", 3)]);
    assert_eq!(held(&store, "c/d").await.as_deref(), Some("bool:1"));
    let again = opened(&repository).await;
    assert_eq!(again.load().await.expect("load").changes, store.load().await.expect("load").changes);

    capture();
    person.commit(&[(".datastream.toml", "[types\n")]);
    let end = moved(&store, &batch.position).await;
    assert_eq!(end.revision, 4);
    assert_eq!(held(&store, "a").await.as_deref(), Some("int:1"), "the last good types stay");
    assert!(!lines_with("line 1 of .datastream.toml").is_empty());
}

/// Whatever was pushed, a server that starts shows what one shows that was there all the time.
#[tokio::test]
async fn a_start_finds_what_following_found() {
    let repository = Repository::empty();
    let store = opened(&repository).await;
    let person = repository.person();
    for round in 0..12 {
        let (value, other) = (round.to_string(), format!("k{}", round % 4));
        person.change(&[
            ("same", Some(&value)),
            (&other, (round % 3 > 0).then_some(&value)),
            ("x/y", Some("stays")),
        ]);
        commit(
            &store,
            [put(&format!("ours/{round}"), round), Operation::delete(&format!("ours/{}", round / 2))],
        )
        .await;
        let fresh = opened(&repository).await;
        let (mut known, mut found) = (store.load().await.expect("load"), fresh.load().await.expect("load"));
        for snapshot in [&mut known, &mut found] {
            snapshot.changes.sort_by(|a, b| a.key.cmp(&b.key));
        }
        assert_eq!(known.positions[1..], found.positions[1..]);
        assert_eq!((known.position, known.changes), (found.position, found.changes), "round {round}");
    }
}

#[tokio::test]
async fn what_is_no_setting_is_named_once_and_harms_nothing() {
    let repository = Repository::holding(&[("good", "1")]);
    let person = repository.person();
    let at = |path: &str| person.folder().join(path);
    std::os::unix::fs::symlink("/etc/passwd", at("strange link")).expect("a symbolic link");
    std::os::unix::fs::symlink("..", at("strange up")).expect("a symbolic link");
    std::fs::write(
        at("strange pointer"),
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n",
    )
    .expect("a file");
    std::fs::write(at("colon\\backslash"), "x").expect("a file");
    std::fs::write(
        Path::new(&at(""))
            .join(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"strange latin\xe9")),
        "x",
    )
    .expect("a file");
    std::fs::write(at("huge"), vec![b'x'; 4 << 20]).expect("a file");
    git::run(
        person.folder(),
        &["update-index", "--add", "--cacheinfo", &format!("160000,{},strange module", "1".repeat(40))],
    );
    person.git(&["add", "-A"]);
    git::run(
        person.folder(),
        &["update-index", "--add", "--cacheinfo", &format!("160000,{},strange module", "1".repeat(40))],
    );
    person.git(&["commit", "-q", "-m", "strange"]);
    person.git(&["push", "-q", "origin", "HEAD:main"]);
    capture();
    let store = opened(&repository).await;
    assert_eq!(
        keys(&store).await,
        ["colon\\backslash", "good"],
        "the server leaves out what is outside the grammar"
    );
    for (path, reason) in [
        ("strange link", "symbolic link"),
        ("strange up", "symbolic link"),
        ("strange pointer", "git lfs"),
        ("strange module", "submodule"),
        ("strange latin", "UTF-8"),
    ] {
        let told = lines_with(path).into_iter().filter(|line| line.contains(reason)).count();
        assert_eq!(told, 1, "{path}: {:?}", lines_with(path));
    }
    let snapshot = store.load().await.expect("load");
    let huge = snapshot.changes.iter().find(|change| &*change.key == "huge").expect("it is listed");
    assert_eq!((huge.too_large, &huge.value), (Some(4 << 20), &None));
    for key in [
        "strange link",
        "strange link/passwd",
        "strange up/x",
        "strange pointer",
        "strange module",
        "strange module/x",
        ".datastream.toml",
    ] {
        let refusal = refused(&store, put(key, 1)).await;
        assert!(matches!(refusal, Refused::InTheWay { .. }), "{key}: {refusal:?}");
    }
    assert_eq!(head(&store).await.revision, 3);
}

/// Its branch is followed; its files, its index and its configuration stay as they are.
#[tokio::test]
async fn a_working_repository_is_read_and_never_touched() {
    let repository = Repository::holding(&[("a", "1")]);
    let person = repository.person();
    person.git(&["fetch", "-q", "origin", "main"]);
    person.git(&["reset", "-q", "--hard", "FETCH_HEAD"]);
    std::fs::write(person.folder().join("a"), "unsaved").expect("a file");
    let store = open(&format!("git:{}", person.folder().display())).await.expect("it is on a branch");
    assert_eq!(
        held(&store, "a").await.as_deref(),
        Some("text/plain:1"),
        "what is not committed is no setting"
    );
    let before = person.git(&["status", "--porcelain"]);
    let error = store
        .commit(Commit::one(Operation::put("a", "text/plain", "2")))
        .await
        .expect_err("it is checked out");
    let text = datastream_server_chain(&error);
    assert!(text.contains("receive.denyCurrentBranch") && text.contains("main"), "{text}");
    assert_eq!(person.git(&["status", "--porcelain"]), before);
    assert_eq!(std::fs::read_to_string(person.folder().join("a")).expect("a file"), "unsaved");

    let position = head(&store).await;
    person.git(&["commit", "-q", "-a", "-m", "saved"]);
    moved(&store, &position).await;
    assert_eq!(held(&store, "a").await.as_deref(), Some("text/plain:unsaved"));
    person.git(&["branch", "other"]);
    let other = open(&format!("git:{}#other", person.folder().display())).await.expect("it is there");
    commit(&other, [Operation::put("a", "text/plain", "3")]).await;
    assert_eq!(person.git(&["show", "other:a"]), "3");
    assert_eq!(person.git(&["status", "--porcelain"]), "");
}

fn datastream_server_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

#[tokio::test]
async fn what_cannot_be_opened_is_told_in_one_line_with_a_remedy() {
    let repository = Repository::holding(&[("a", "1")]);
    let path = repository.path();
    let empty = repository.folder().join("empty");
    std::fs::create_dir(&empty).expect("a folder");
    for (address, expected) in [
        (format!("git:{}/none", path.display()), "there is no folder"),
        (format!("git:{}#nowhere", path.display()), "main"),
        (format!("git:{}", empty.display()), "git init"),
        (format!("git+file://{}/none?mirror={}/m1", path.display(), empty.display()), "git init"),
        (format!("git+file://{}?mirror={}/m2#nowhere", path.display(), empty.display()), "main"),
    ] {
        let Err(error) = open(&address).await else { panic!("{address} opens") };
        let text = error.to_string();
        assert!(text.contains(expected) && !text.contains('\n'), "{address}: {text}");
    }
    let nothing = Repository::empty();
    let store = opened(&nothing).await;
    commit(&store, [put("a", 1)]).await;
    assert_eq!(nothing.commits(), 1, "the first commit makes the branch");
}
