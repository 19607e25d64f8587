//! A process in which nothing is left to chance.

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

/// Set inside, to the seed.
pub(super) const INSIDE: &str = "DATASTREAM_INSIDE_SIMULATION";
/// Set inside, where all that is noted is to be printed.
pub(super) const SHOWN: &str = "DATASTREAM_SHOWN_SIMULATION";

/// How the line begins that a run ends with.
const ENDED: &str = "ended: ";

/// A library that is loaded before the program, and answers in the place of the system.
pub(super) struct Chance {
    library: PathBuf,
    _folder: TempDir,
}

/// What a run said.
pub(super) struct Said {
    pub(super) text: String,
}

impl Chance {
    /// Builds the library. Says why there is none.
    pub(super) fn take_away() -> Result<Self, String> {
        if !cfg!(all(target_os = "linux", target_env = "gnu")) {
            return Err("no library can be loaded before a program here".to_owned());
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let (source, library) = (folder.path().join("chance.c"), folder.path().join("chance.so"));
        std::fs::write(&source, include_str!("chance.c")).map_err(|error| error.to_string())?;
        let compiler = env::var_os("CC").unwrap_or_else(|| "cc".into());
        let mut build = Command::new(compiler);
        build.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&library).arg(&source);
        let output = build.output().map_err(|error| format!("there is no C compiler: {error}"))?;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "the library is not built: {said}");
        Ok(Self { library, _folder: folder })
    }

    /// Runs the test of this name inside. Returns what it said, which is an error if it failed.
    pub(super) fn run(&self, test: &str, seed: u64, is_shown: bool) -> Result<Said, String> {
        let program = env::current_exe().expect("a running test has a path");
        let mut inside = Command::new(program);
        inside.args(["--exact", test, "--nocapture", "--test-threads", "1"]);
        inside.env("LD_PRELOAD", &self.library).env(INSIDE, seed.to_string()).env_remove(SHOWN);
        if is_shown {
            inside.env(SHOWN, "1");
        }
        let output = inside.output().expect("a test can be run once more");
        // Without what the test harness says, which would be counted once more, and differs in its times.
        let text = String::from_utf8_lossy(&output.stdout);
        let is_ours = |line: &&str| !line.starts_with("test ") && !line.starts_with("running ");
        let text: String = text.lines().filter(is_ours).flat_map(|line| [line, "\n"]).collect();
        match output.status.success() && text.contains(ENDED) {
            true => Ok(Said { text }),
            false => Err(text + &String::from_utf8_lossy(&output.stderr)),
        }
    }
}

/// Says inside what came about.
pub(super) fn end(noted: u64, counts: &BTreeMap<String, u64>) {
    let counts: Vec<_> = counts.iter().map(|(what, count)| format!("{what}={count}")).collect();
    println!("\n{ENDED}{noted:016x} {}", counts.join(" "));
}

impl Said {
    /// What came about, and how often.
    pub(super) fn counts(&self) -> impl Iterator<Item = (String, u64)> {
        let line = self.text.lines().find_map(|line| line.strip_prefix(ENDED)).expect("it was looked for");
        line.split(' ').skip(1).filter_map(|count| {
            let (what, count) = count.split_once('=')?;
            Some((what.to_owned(), count.parse().ok()?))
        })
    }
}
