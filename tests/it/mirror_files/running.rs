//! A mirror that runs, and the place where it keeps its directory.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::process::program;
use crate::wire::DEADLINE;

/// The files of a directory, by their paths in it.
pub(super) type Files = BTreeMap<String, Vec<u8>>;

/// A folder in which the directory `dir` is kept.
pub(super) struct Place(TempDir);

impl Place {
    pub(super) fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    pub(super) fn folder(&self) -> &Path {
        self.0.path()
    }

    pub(super) fn dir(&self) -> PathBuf {
        self.0.path().join("dir")
    }

    /// A command that mirrors `configs/` there.
    pub(super) fn command(&self, url: &str, words: &[&str]) -> Mirrored {
        let mut command = program("datastream", &["mirror", "configs/", "dir"]);
        command.args(words).env("DATASTREAM_URL", url).current_dir(self.folder());
        Mutex::new(command)
    }

    /// What a reader finds, who resolves the directory once.
    pub(super) fn files(&self) -> Files {
        fs::canonicalize(self.dir()).map(|dir| read(&dir)).unwrap_or_default()
    }

    /// The names beside the directory, and its own.
    pub(super) fn beside(&self) -> Vec<String> {
        names(self.folder())
    }

    /// All that is in the folder: directories end in a slash, and links are where they lead.
    pub(super) fn everything(&self) -> Files {
        let mut all = Files::new();
        walk(self.folder(), "", &mut all);
        all
    }

    /// Waits until so many versions are left.
    pub(super) fn settles(&self, versions: usize) {
        let numbers = || {
            let names = names(&self.folder().join(".dir.datastream"));
            names.into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit())).count()
        };
        await_that("old versions are removed", || numbers() == versions);
    }
}

/// A command that several may run, one after the other.
pub(super) type Mirrored = Mutex<Command>;

/// Runs it to its end. Returns its exit code, and what it wrote.
pub(super) fn once(command: &Mirrored) -> (i32, String, String) {
    let output = command.lock().expect("no holder panics").output().expect("it can be run");
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    (output.status.code().expect("it exits"), text(output.stdout), text(output.stderr))
}

/// A mirror that runs; killed when dropped.
pub(super) struct Mirror<'a> {
    place: &'a Place,
    child: Child,
    stderr: Lines,
}

type Lines = Arc<Mutex<Vec<String>>>;

impl<'a> Mirror<'a> {
    pub(super) fn start(place: &'a Place, url: &str, words: &[&str]) -> Self {
        Self::spawn(place, place.command(url, words).into_inner().expect("no holder panics"))
    }

    pub(super) fn spawn(place: &'a Place, mut command: Command) -> Self {
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it can be run");
        let stderr = lines(child.stderr.take().expect("it was piped"));
        Self { place, child, stderr }
    }

    /// Waits until the directory holds just these.
    pub(super) fn shows<const N: usize>(&self, files: [(&str, &str); N]) {
        let expected: Files =
            files.into_iter().map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec())).collect();
        let is_shown = || self.place.dir().exists() && self.place.files() == expected;
        await_that("the directory is so", is_shown);
    }

    /// Waits until it has said so.
    pub(super) fn says(&self, text: &str) {
        await_that(text, || self.stderr().iter().any(|line| line.contains(text)));
    }

    pub(super) fn stderr(&self) -> Vec<String> {
        self.stderr.lock().expect("no holder panics").clone()
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as kill -9 does.
    pub(super) fn kill(mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }

    /// Sends a signal, and waits until it exits, which must be with 0.
    pub(super) fn ends(mut self, signal: &str) {
        let id = self.id().to_string();
        let sent = Command::new("kill").args(["-s", signal, &id]).status().expect("kill can be run");
        assert!(sent.success());
        let began = Instant::now();
        let status = loop {
            match self.child.try_wait().expect("it can be waited for") {
                Some(status) => break status,
                None => assert!(began.elapsed() < DEADLINE, "it does not end at {signal}"),
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        assert!(status.success(), "{status}: {:#?}", self.stderr());
    }
}

impl Drop for Mirror<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until `holds`.
pub(super) fn await_that(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < DEADLINE, "took too long: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn lines(output: impl Read + Send + 'static) -> Lines {
    let said = Lines::default();
    let hear = said.clone();
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    std::thread::spawn(move || lines.try_for_each(|line| hear.lock().map(|mut said| said.push(line)).ok()));
    said
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("it is a folder");
    let name = |entry: std::io::Result<fs::DirEntry>| entry.expect("an entry").file_name();
    let mut names: Vec<_> = entries.map(|entry| name(entry).to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn read(dir: &Path) -> Files {
    let mut all = Files::new();
    walk(dir, "", &mut all);
    all.retain(|path, _| !path.ends_with('/'));
    all
}

/// A folder may go while it is walked: who waits looks again.
fn walk(folder: &Path, below: &str, all: &mut Files) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.filter_map(Result::ok) {
        let path = format!("{below}{}", entry.file_name().to_string_lossy());
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            walk(&entry.path(), &format!("{path}/"), all);
            all.insert(format!("{path}/"), Vec::new());
        } else if kind.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap_or_default();
            all.insert(path, target.to_string_lossy().into_owned().into_bytes());
        } else {
            all.insert(path, fs::read(entry.path()).unwrap_or_default());
        }
    }
}
