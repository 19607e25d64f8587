//! Whatever a repository holds, nothing of it is run.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use datastream_server::store::HistoryQuery;

use crate::git::Repository;
use crate::wire::{Wire, announced, data};

use super::{open, serve};

/// All names that git knows.
const HOOKS: &[&str] = &[
    "applypatch-msg",
    "post-applypatch",
    "post-checkout",
    "post-commit",
    "post-index-change",
    "post-merge",
    "post-receive",
    "post-rewrite",
    "post-update",
    "pre-applypatch",
    "pre-auto-gc",
    "pre-commit",
    "pre-merge-commit",
    "pre-push",
    "pre-rebase",
    "pre-receive",
    "proc-receive",
    "push-to-checkout",
    "reference-transaction",
    "sendemail-validate",
    "update",
];
/// What of a repository's configuration names a program.
const PROGRAMS: &[&str] = &[
    "alias.log",
    "core.alternateRefsCommand",
    "core.askPass",
    "core.editor",
    "core.fsmonitor",
    "core.gitProxy",
    "core.pager",
    "core.sshCommand",
    "credential.helper",
    "diff.evil.command",
    "diff.evil.textconv",
    "diff.external",
    "filter.evil.clean",
    "filter.evil.process",
    "filter.evil.smudge",
    "gpg.program",
    "gpg.ssh.program",
    "merge.evil.driver",
    "pager.log",
    "receive.procReceiveRefs",
    "remote.origin.receivepack",
    "remote.origin.uploadpack",
    "sequence.editor",
    "submodule.evil.update",
    "uploadpack.packObjectsHook",
];

/// Sets a trap wherever a repository can name a program. Returns the file that is there as soon as one was run.
fn booby_trap(repository: &Repository) -> PathBuf {
    let (canary, script) = (repository.folder().join("canary"), repository.folder().join("trap"));
    executable(&script, &format!("#!/bin/sh\necho \"$0 $*\" >>{}\n", canary.display()));
    let trap = script.display().to_string();
    let hooks = repository.path().join("hooks");
    fs::create_dir_all(&hooks).expect("a folder");
    for hook in HOOKS {
        fs::copy(&script, hooks.join(hook)).expect("a file");
    }
    for (name, value) in PROGRAMS.iter().map(|name| (*name, &*trap)).chain([
        ("core.hooksPath", hooks.to_str().expect("a path")),
        ("log.showSignature", "true"),
        ("fetch.recurseSubmodules", "true"),
        ("submodule.evil.url", &format!("ext::{trap}")),
        ("submodule.evil.active", "true"),
        ("protocol.ext.allow", "always"),
    ]) {
        repository.git(&["config", name, value]);
    }
    fs::create_dir_all(repository.path().join("info")).expect("a folder");
    fs::write(repository.path().join("info/attributes"), ATTRIBUTES).expect("a file");
    canary
}

const ATTRIBUTES: &str = "* filter=evil diff=evil merge=evil\n";

fn executable(path: &Path, text: &str) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

fn hostile() -> (Repository, PathBuf) {
    let repository = Repository::holding(&[("a", "1"), (".gitattributes", ATTRIBUTES)]);
    let person = repository.person();
    let trap = format!("ext::{}", repository.folder().join("trap").display());
    person.commit(&[(".gitmodules", &format!("[submodule \"evil\"]\n\tpath = evil\n\turl = {trap}\n"))]);
    let head = person.git(&["rev-parse", "HEAD"]);
    person.git(&["update-index", "--add", "--cacheinfo", &format!("160000,{head},evil")]);
    person.git(&["commit", "-q", "-m", "a submodule"]);
    person.git(&["push", "-q", "origin", "HEAD:main"]);
    let canary = booby_trap(&repository);
    (repository, canary)
}

/// The traps are armed: git as it comes runs them.
#[test]
fn a_trap_is_sprung_by_git_itself() {
    let (repository, canary) = hostile();
    repository.git(&["update-ref", "refs/heads/other", "main"]);
    let said = fs::read_to_string(&canary).expect("the hook was run");
    assert!(said.contains("reference-transaction"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_repository_names_is_run_when_it_is_read_or_written() {
    let (repository, canary) = hostile();
    let (store, server) = serve(&repository.local()).await;
    let wire = Wire::to(&server.url()).await;
    let mut stream = wire.subscribe(announced(["a"])).await;
    assert_eq!(stream.delivery().await.to_string(), "State a=1");
    wire.push(data("a", "string", "2")).await.expect("it is pushed");
    assert_eq!(stream.delivery().await.to_string(), "Change a=2");
    store.refresh().await.expect("it looks");
    let query = HistoryQuery { of: None, before: None, limit: 100, bytes: usize::MAX };
    let page = store.history(query).await.expect("a history").expect("it has one");
    assert!(page.changes.len() >= 2, "{page:?}");
    assert!(!canary.exists(), "{}", fs::read_to_string(&canary).unwrap_or_default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_a_repository_names_is_run_when_it_is_fetched() {
    let (repository, canary) = hostile();
    let store = open(&repository.remote("mirror")).await.expect("it can be served");
    drop(store);
    assert!(!canary.exists(), "{}", fs::read_to_string(&canary).unwrap_or_default());
}
