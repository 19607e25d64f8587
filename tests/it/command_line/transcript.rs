//! Commands, and what they write.

use std::path::PathBuf;
use std::process::{Command, Output};

use datastream::value;
use datastream_server::testing::TestServer;
use tempfile::TempDir;

use crate::process::program;

/// A server, somebody who uses the program, and what the two said.
pub(super) struct Transcript {
    pub(super) server: TestServer,
    /// For files; also where the configuration is.
    pub(super) folder: TempDir,
    text: String,
}

impl Transcript {
    pub(super) fn with(server: TestServer) -> Self {
        let folder = tempfile::tempdir().expect("a folder can be made");
        Self { server, folder, text: String::new() }
    }

    /// A server with three settings.
    pub(super) fn begin() -> Self {
        let server = TestServer::start().with("max_connections", 10_i64);
        Self::with(server.with("pool/size", 4_i64).with("pool/name", "wide".to_owned()))
    }

    /// A command of the program, for the server.
    pub(super) fn command(&self, words: &[&str]) -> Command {
        let mut command = program("datastream", words);
        command.current_dir(self.folder.path()).env("DATASTREAM_URL", self.server.url());
        command.env("XDG_CONFIG_HOME", self.folder.path()).env("USER", "ann").env("COLUMNS", "120");
        command
    }

    /// Runs the program for the server, and notes all of it.
    pub(super) fn run(&mut self, words: &[&str]) -> Vec<u8> {
        self.note(words, self.command(words))
    }

    /// Runs a command, and notes it as these words.
    pub(super) fn note(&mut self, words: &[&str], mut command: Command) -> Vec<u8> {
        let output = command.output().expect("the program can be run");
        self.text.push_str(&format!("$ datastream {}\n", words.join(" ").escape_debug()));
        self.text.push_str(&self.shown(&output));
        output.stdout
    }

    /// Writes a file into the folder.
    pub(super) fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).expect("it can be written");
    }

    fn shown(&self, output: &Output) -> String {
        let code = output.status.code().expect("it exits");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.lines().count() <= 1, "a failure is one line: {said}");
        assert_eq!(code == 0, said.is_empty(), "{code}: {said}");
        let mut text: String = String::from_utf8_lossy(&output.stdout).lines().map(time_hidden).collect();
        text.extend(said.lines().map(|line| format!("! {line}\n")));
        text.push_str(&format!("[{code}]\n\n"));
        let port = self.server.url();
        text.replace(port.trim_start_matches("http://"), "SERVER")
    }

    /// Compares what was noted with the file of this name.
    pub(super) fn end(self, name: &str) {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/it/command_line/transcripts");
        let file = folder.join(name).with_extension("txt");
        if std::env::var_os("DATASTREAM_REWRITE_TRANSCRIPTS").is_some() {
            return std::fs::write(file, self.text).expect("it can be written");
        }
        let expected = std::fs::read_to_string(&file).expect("there is such a transcript");
        for (expected, line) in expected.lines().zip(self.text.lines()) {
            assert_eq!(line, expected, "in {}; all of it:\n{}", file.display(), self.text);
        }
        assert_eq!(self.text, expected, "in {}", file.display());
    }
}

/// A line in which a time, a version and a number of bytes are none in particular.
fn time_hidden(line: &str) -> String {
    let is_time = |word: &&str| value::check("timestamp", word.as_bytes()).is_ok();
    let words = line.split(['\t', '"']).find(is_time);
    let line = words.map_or_else(|| line.to_owned(), |time| line.replace(time, "TIME"));
    let line = line.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    let is_size = line.contains("history_bytes");
    let line = if is_size { line.replace(|c: char| c.is_ascii_digit(), "") } else { line };
    format!("{line}\n")
}
