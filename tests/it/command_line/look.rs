//! Reading: `list`, `get`, `history`, `status`, and the help.

use super::transcript::Transcript;
use crate::process::program;

#[test]
fn what_there_is_can_be_listed_and_read() {
    let mut transcript = Transcript::begin();
    transcript.server.set("motd", "two\nlines\twith \\ and \u{1b}[31mred".to_owned());
    transcript.server.set_raw("raw", "bytes", &b"\xff\x00"[..]);
    transcript.server.set_raw("rate", "float", "0.5");
    transcript.server.set_raw("rules", "json", "{\"on\": [1, 2]}");
    transcript.run(&["list"]);
    transcript.run(&["list", "pool/", "-o", "table"]);
    transcript.run(&["list", "r", "-o", "json"]);
    transcript.run(&["list", "nothing/", "-o", "table"]);
    transcript.run(&["get", "max_connections"]);
    transcript.run(&["get", "pool/"]);
    transcript.run(&["get", "pool/", "-o", "table"]);
    for key in ["max_connections", "motd", "raw", "rate", "rules"] {
        transcript.run(&["get", key, "-o", "json"]);
    }
    transcript.run(&["get", "motd", "-o", "table"]);
    transcript.run(&["status"]);
    transcript.run(&["status", "-o", "table"]);
    transcript.run(&["status", "-o", "json"]);
    transcript.end("look");
}

#[test]
fn a_value_that_is_piped_is_what_it_is() {
    let mut transcript = Transcript::begin();
    transcript.server.set_raw("raw", "bytes", &b"\xff\x1b\\\t\n"[..]);
    assert_eq!(transcript.run(&["get", "raw"]), b"\xff\x1b\\\t\n\n");
}

#[test]
fn a_history_is_shown_newest_first() {
    let mut transcript = Transcript::begin();
    transcript.run(&["set", "max_connections", "20", "-m", "more\tof them"]);
    transcript.run(&["del", "max_connections", "--author", "bob"]);
    transcript.run(&["history", "max_connections"]);
    transcript.run(&["history", "max_connections", "-o", "json"]);
    transcript.run(&["history", "pool/", "-n", "1"]);
    transcript.end("history");
}

#[test]
fn the_help_says_what_there_is() {
    let mut transcript = Transcript::begin();
    for words in [
        &["--help"][..],
        &["set", "--help"],
        &["apply", "--help"],
        &["export", "--help"],
        &["import", "--help"],
        &["mirror", "--help"],
        &["history", "--help"],
    ] {
        transcript.note(words, program("datastream", words));
    }
    transcript.end("help");
}

#[test]
fn each_shell_has_completions() {
    for shell in ["bash", "zsh", "fish"] {
        let output = program("datastream", &["completions", shell]).output().expect("it can be run");
        assert!(output.status.success());
        let script = String::from_utf8(output.stdout).expect("it is text");
        assert!(script.contains("history") && script.contains("dry-run"), "{shell}");
    }
}

#[test]
fn who_reads_only_the_beginning_is_no_failure() {
    let transcript = Transcript::begin();
    let mut command = transcript.command(&["list"]);
    let (reader, writer) = std::io::pipe().expect("a pipe can be made");
    drop(reader);
    let output = command.stdout(writer).stderr(std::process::Stdio::piped()).output();
    let output = output.expect("the program can be run");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}
