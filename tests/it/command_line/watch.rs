//! `watch`.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Stdio};
use std::sync::mpsc;

use super::transcript::Transcript;
use crate::wire::DEADLINE;

/// A program that watches; killed when dropped.
struct Watching {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Watching {
    fn start(transcript: &Transcript, words: &[&str]) -> Self {
        let mut child = transcript.command(words).stdout(Stdio::piped()).spawn().expect("it can be run");
        let lines: Lines<BufReader<ChildStdout>> =
            BufReader::new(child.stdout.take().expect("it was piped")).lines();
        let (said, heard) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| said.send(line)));
        Self { child, lines: heard }
    }

    fn line(&self) -> String {
        self.lines.recv_timeout(DEADLINE).expect("it says something in time")
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_key_is_watched_from_before_its_birth_to_after_its_end() {
    let mut transcript = Transcript::begin();
    let watching = Watching::start(&transcript, &["watch", "max_connections"]);
    assert_eq!(watching.line(), "max_connections\tint\t2\t10");
    transcript.run(&["set", "max_connections", "20"]);
    assert_eq!(watching.line(), "max_connections\tint\t5\t20");
    transcript.run(&["del", "max_connections"]);
    assert_eq!(watching.line(), "max_connections\tint\t6\t(deleted)");
    transcript.run(&["set", "max_connections", "x", "--type", "string"]);
    assert_eq!(watching.line(), "max_connections\tstring\t7\tx");
}

#[test]
fn a_prefix_is_watched_as_json_line_by_line() {
    let mut transcript = Transcript::begin();
    let watching = Watching::start(&transcript, &["watch", "pool/", "-o", "json"]);
    let parsed = || serde_json::from_str::<serde_json::Value>(&watching.line()).expect("a line is JSON");
    assert_eq!(parsed()["key"], "pool/name");
    assert_eq!(parsed()["value"], 4);
    transcript.run(&["set", "pool/late", "1.5", "--type", "float"]);
    let late = parsed();
    assert_eq!(
        (&late["key"], &late["value"], &late["deleted"]),
        (&"pool/late".into(), &1.5.into(), &false.into())
    );
    transcript.run(&["del", "pool/late"]);
    assert_eq!(parsed()["deleted"], true);
}
