//! Mistakes, and the one line that each of them gets.

use std::net::TcpListener;

use super::transcript::Transcript;
use crate::process::program;

#[test]
fn each_mistake_gets_one_line_with_its_remedy() {
    let mut transcript = Transcript::begin();
    for words in [
        &[][..],
        &["frobnicate"],
        &["set", "max_connections"],
        &["set", "max_connections", "twenty"],
        &["set", "max_connections", "2.5", "--type", "int"],
        &["set", "new", "5"],
        &["set", "new", "5", "--type", "number"],
        &["set", "max_connections", "5", "--expect", "five"],
        &["set", "max_connections", "5", "--expect", "3", "--create"],
        &["set", "a//b", "5", "--type", "int"],
        &["set", "a/", "5", "--type", "int"],
        &["set", "a\u{202e}b", "5", "--type", "int"],
        &["get", "not/there"],
        &["get", "a//b"],
        &["get", "/"],
        &["watch", ".."],
        &["del"],
        &["del", "a", "a"],
        &["del", "a", "/b"],
        &["history", "not/there"],
        &["history", "a//b"],
        &["list", "-o", "yaml"],
        &["completions", "tcl"],
    ] {
        transcript.run(words);
    }
    transcript.end("mistakes");
}

#[test]
fn an_address_that_is_none_is_a_mistake() {
    let mut transcript = Transcript::begin();
    for url in ["", "http://", "localhost:99999", "grpc://localhost:8080", "http://me:secret@localhost:1"] {
        transcript.run(&["--url", url, "list"]);
    }
    transcript.end("addresses");
}

#[test]
fn credentials_that_cannot_be_had_are_a_mistake() {
    let mut transcript = Transcript::begin();
    for flags in [["--token-file", "/no/token"], ["--ca-file", "/no/ca"], ["--cert-file", "/no/certificate"]]
    {
        transcript.run(&["--url", "https://127.0.0.1:1", flags[0], flags[1], "list"]);
    }
    transcript.run(&["--token", "a b", "list"]);
    transcript.end("credentials");
}

/// A flag is meant for this call, and a variable for many.
#[test]
fn a_token_of_the_command_line_goes_before_one_of_the_environment() {
    let transcript = Transcript::begin();
    transcript.file("token", "good");
    let list = |token: &str, words: &[&str]| {
        let mut command = transcript.command(words);
        command.env("DATASTREAM_TOKEN", token).output().expect("it can be run").status.code()
    };
    assert_eq!(list("a b", &["list"]), Some(2));
    assert_eq!(list("a b", &["list", "--token-file", "token"]), Some(0));
    assert_eq!(list("a b", &["--token-file", "token", "list"]), Some(0));
    assert_eq!(list("good", &["list", "--token-file", "missing"]), Some(2));
    assert_eq!(list("", &["list"]), Some(0), "an empty variable is none");
    assert_eq!(list("good", &["--token", "", "list"]), Some(2));
}

#[test]
fn what_is_refused_is_named_though_nobody_reads_the_rest() {
    let transcript = Transcript::begin();
    transcript.file("settings.toml", "max_connections = { type = \"bool\", value = \"true\" }\n");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = transcript.command(&["import", "settings.toml"]);
    let output = command.stdout(writer).output().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("refused: max_connections: "), "{said}");
}

#[test]
fn each_verb_says_where_nobody_answers() {
    let transcript = Transcript::begin();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
    drop(listener);
    transcript.file("new.toml", "n = 1\n");
    for words in [
        &["list"][..],
        &["get", "n"],
        &["get", "n/"],
        &["watch", "n"],
        &["history", "n"],
        &["set", "n", "1"],
        &["del", "n"],
        &["status"],
        &["apply", "-f", "new.toml", "--yes"],
        &["export"],
        &["export", "n/"],
        &["import", "new.toml"],
    ] {
        let output = transcript.command(words).args(["--url", &url]).output().expect("it can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(3), 1), "{words:?}: {said}");
        assert!(said.contains("is the server running there?"), "{words:?}: {said}");
    }
}

#[test]
fn something_else_that_listens_is_no_server() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}", listener.local_addr().expect("a bound listener has an address"));
    std::thread::spawn(move || listener.incoming().for_each(drop));
    let output = program("datastream", &["--url", &url, "list"]).output().expect("it can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!((output.status.code(), said.lines().count()), (Some(3), 1), "{said}");
}

#[test]
fn the_server_is_that_of_the_configuration_unless_it_is_said() {
    let mut transcript = Transcript::begin();
    std::fs::create_dir(transcript.folder.path().join("datastream")).expect("it can be made");
    let good = format!("url = \"{}\"\n", transcript.server.url());
    for text in [&*good, "url = 5\n", "token = 5\n", "name = \"x\"\n", "url = \n"] {
        transcript.file("datastream/config.toml", text);
        let mut command = transcript.command(&["list"]);
        command.env_remove("DATASTREAM_URL");
        let path = transcript.folder.path().display().to_string();
        let output = command.output().expect("it can be run");
        let said = String::from_utf8_lossy(&output.stderr).replace(&path, "FOLDER");
        match text == good {
            true => assert!(output.status.success(), "{said}"),
            false => {
                assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
                assert!(said.contains("FOLDER/datastream/config.toml: "), "{said}");
            }
        }
    }
    transcript.run(&["get", "max_connections"]);
}
