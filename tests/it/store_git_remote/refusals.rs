//! A remote with rules.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use tonic::Code;

use crate::captured_log;
use crate::wire::{Wire, announced, data};

use super::{Hosted, serve, values};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_hook_of_the_remote_declines_is_refused_and_nothing_is_changed() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let hook = hosted.repository.path().join("hooks/pre-receive");
    fs::create_dir_all(hook.parent().expect("a folder")).expect("a folder");
    fs::write(&hook, "#!/bin/sh\necho 'no changes on fridays' >&2\nexit 1\n").expect("a file");
    fs::set_permissions(&hook, fs::Permissions::from_mode(0o755)).expect("it is ours");
    captured_log::capture();
    let (store, server) = serve(&hosted.store("mirror", "poll=100ms")).await;
    let wire = Wire::to(&server.url()).await;
    let mut stream = wire.subscribe(announced(["a"])).await;
    assert_eq!(stream.delivery().await.to_string(), "State a=1");
    let refused = wire.push(data("a", "string", "2")).await.expect_err("there is a rule");
    assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
    assert!(refused.message().contains("its rules refuse this"), "{refused:?}");
    assert_eq!(captured_log::lines_with("pre-receive hook declined").len(), 1, "the log says why");
    // A hook may say what is in the file.
    assert_eq!(captured_log::lines_with("no changes on fridays"), [""; 0]);
    assert_eq!((hosted.repository.commits(), values(&store).await), (1, vec![("a".into(), "1".into())]));
    fs::remove_file(&hook).expect("it is there");
    wire.push(data("a", "string", "3")).await.expect("the rule is gone");
    assert_eq!(stream.delivery().await.to_string(), "Change a=3");
}

/// A push would leave the files of a person behind the branch that they show.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_branch_that_somebody_works_on_is_not_written() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let person = hosted.repository.person();
    person.git(&["reset", "-q", "--hard", "origin/main"]);
    let mirror = hosted.repository.folder().join("mirror");
    let folder = person.folder().display();
    for store in
        [format!("git:{folder}#main"), format!("git+file://{folder}?mirror={}#main", mirror.display())]
    {
        let (_store, server) = serve(&store).await;
        let wire = Wire::to(&server.url()).await;
        let refused = wire.push(data("a", "string", "2")).await.expect_err("somebody works there");
        assert_eq!(refused.code(), Code::FailedPrecondition, "{refused:?}");
        assert_eq!(person.git(&["status", "--porcelain"]), "");
        assert_eq!(person.git(&["show", "main:a"]), "1");
    }
}
