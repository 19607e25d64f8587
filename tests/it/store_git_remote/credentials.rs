//! Who we are for a remote, from wherever that comes, and that nobody else is told.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use datastream_client::Client;

use crate::git_http::{Answer, PASSWORD, USER};
use crate::process::{Server, command};
use crate::wire::{Wire, eventually};

use super::{Hosted, age, is_fresh, serve};

/// Starts the program on a store, with these variables.
fn start(store: &str, variables: &[(&str, &str)]) -> Server {
    let mut command = command(&["--listen", "127.0.0.1:0", "--log", "trace", "--store", store]);
    command.envs(variables.iter().copied());
    Server::spawn(command)
}

/// It reads, follows and writes, and its log has no secret.
async fn works(hosted: &Hosted, server: &Server) {
    let client = Client::connect(server.url());
    let a = client.watch::<String>("a");
    eventually("it reads", || a.get().is_some()).await;
    hosted.repository.person().commit(&[("a", "by hand")]);
    eventually("it follows", || a.get().as_deref() == Some("by hand")).await;
    client.set("a", "pushed".to_owned()).await.expect("it writes");
    assert_eq!(hosted.repository.git(&["show", "main:a"]), "pushed");
    assert!(!server.said().iter().any(|line| has_secret(line)), "{:#?}", server.said());
}

fn has_secret(text: &str) -> bool {
    text.contains(PASSWORD) || text.contains(&STANDARD.encode(format!("{USER}:{PASSWORD}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_comes_from_a_file_or_from_a_variable() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    works(&hosted, &start(&hosted.store("one", "poll=100ms"), &[])).await;
    let mirror = hosted.repository.folder().join("two");
    let store = hosted.host.store(&format!("mirror={}&poll=100ms", mirror.display()));
    works(&hosted, &start(&store, &[("DATASTREAM_GIT_TOKEN", PASSWORD)])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_token_the_credential_helper_of_the_operator_is_asked() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let (helper, config) =
        (hosted.repository.folder().join("helper"), hosted.repository.folder().join("config"));
    let script =
        format!("#!/bin/sh\n[ \"$1\" = get ] && echo username={USER} && echo password={PASSWORD}\n:\n");
    fs::write(&helper, script).expect("a file");
    fs::set_permissions(&helper, fs::Permissions::from_mode(0o700)).expect("it is ours");
    fs::write(&config, format!("[credential]\n\thelper = {}\n", helper.display())).expect("a file");
    let mirror = hosted.repository.folder().join("mirror");
    let store = hosted.host.store(&format!("mirror={}&poll=100ms", mirror.display()));
    let server = start(&store, &[("GIT_CONFIG_GLOBAL", config.to_str().expect("a path"))]);
    works(&hosted, &server).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_that_is_exchanged_is_used_from_the_next_contact_on() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let (_store, server) = serve(&hosted.store("mirror", "poll=100ms")).await;
    let client = Client::connect(server.url());
    let a = client.watch::<String>("a");
    eventually("it reads", || a.get().is_some()).await;
    hosted.host.set_password("the next");
    let mut stream = Wire::to(&server.url()).await.subscribe(crate::wire::announced(["a"])).await;
    age(&mut stream).await;
    fs::write(hosted.token_file(), "the next\n").expect("a file");
    hosted.repository.person().commit(&[("a", "2")]);
    eventually("it follows again", || a.get().as_deref() == Some("2")).await;
    client.set("a", "3".to_owned()).await.expect("and writes");
    is_fresh(&mut stream).await;
}

/// A list of processes can be seen by every user of a machine, a mirror ends up in backups.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_token_is_in_no_list_of_processes_and_not_in_the_mirror() {
    let hosted = Hosted::holding(&[("a", "1")]).await;
    let server = start(&hosted.store("mirror", "poll=100ms"), &[]);
    let before = hosted.host.requests();
    let held = hosted.host.answering(Answer::Held);
    eventually("it asks, and waits", || hosted.host.requests() > before).await;
    let lines = command_lines();
    let address = hosted.host.url();
    assert!(lines.iter().any(|line| line.contains(&address)), "git is not in the list: {lines:#?}");
    assert!(!lines.iter().any(|line| has_secret(line)), "{lines:#?}");
    drop(held);
    let held = hosted.host.answering(Answer::PushHeld);
    let client = Client::connect(server.url());
    let push = tokio::spawn(async move { client.set("a", "2".to_owned()).await });
    eventually("it pushes, and waits", || hosted.host.pushes_held() > 0).await;
    assert!(!command_lines().iter().any(|line| has_secret(line)));
    drop(held);
    push.await.expect("it does not panic").expect("it is pushed");
    assert!(!holds_secret(&hosted.repository.folder().join("mirror")));
    assert!(!server.said().iter().any(|line| has_secret(line)), "{:#?}", server.said());
}

fn command_lines() -> Vec<String> {
    let processes = fs::read_dir("/proc").expect("Linux has it").filter_map(Result::ok);
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).collect()
}

fn holds_secret(folder: &Path) -> bool {
    fs::read_dir(folder).expect("a folder").any(|entry| {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            holds_secret(&path)
        } else {
            has_secret(&String::from_utf8_lossy(&fs::read(&path).expect("a file")))
        }
    })
}
