//! How large a file and this process are, over time.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::file_server::store_of;

/// A moment of a run.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    /// How many bytes of keys and values were written so far.
    written: u64,
    /// The database.
    file: u64,
    /// Its write-ahead log, which SQLite empties at some 4 MiB and never makes smaller.
    log: u64,
    /// What this process has in memory; 0 where the system does not say.
    memory: u64,
}

/// All moments so far.
#[derive(Debug)]
pub(super) struct Samples {
    began: Instant,
    file: PathBuf,
    taken: Vec<Sample>,
}

impl Samples {
    /// Of the file in this folder.
    pub(super) fn of(folder: &Path) -> Self {
        Self { began: Instant::now(), file: store_of(folder), taken: Vec::new() }
    }

    pub(super) fn take(&mut self, written: u64) {
        let log = format!("{}-wal", self.file.display());
        let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |file| file.len());
        let (file, log) = (bytes(&self.file), bytes(Path::new(&log)));
        self.taken.push(Sample { at: self.began.elapsed(), written, file, log, memory: memory() });
    }

    /// All that was written in the second half took the place of what was forgotten.
    pub(super) fn check(&self) {
        let [files, memories] = [|sample: &Sample| sample.file, |sample: &Sample| sample.memory]
            .map(|what| [0.0..0.5, 0.5..1.0].map(|half| self.largest(half, what)));
        let written = self.largest(0.0..1.0, |sample| sample.written);
        println!("{written} bytes written; at most, in each half: file {files:?}, memory {memories:?}");
        assert!(is_bounded(files, 1 << 20), "the file grows");
        // At the gate other tests share the memory.
        let is_alone = std::env::var_os("DATASTREAM_COMPACTION_SECONDS").is_some();
        assert!(!is_alone || is_bounded(memories, 32 << 20), "the memory grows");
    }

    /// The largest of the samples of a part of the run, from and to a fraction of it.
    fn largest(&self, part: std::ops::Range<f64>, what: fn(&Sample) -> u64) -> u64 {
        let of = |fraction: f64| (self.taken.len() as f64 * fraction) as usize;
        self.taken[of(part.start)..of(part.end)].iter().map(what).max().expect("some were taken")
    }

    /// Writes them to the file that `DATASTREAM_SAMPLES` names, if it does.
    pub(super) fn save(&self) {
        let Some(path) = std::env::var_os("DATASTREAM_SAMPLES") else { return };
        let mut text = "seconds,written,file,log,memory\n".to_owned();
        for Sample { at, written, file, log, memory } in &self.taken {
            writeln!(text, "{:.3},{written},{file},{log},{memory}", at.as_secs_f64())
                .expect("a string grows");
        }
        std::fs::write(path, text).expect("the samples can be written");
    }
}

/// Whether the second half needs no more than the first, but for some play.
fn is_bounded([first, second]: [u64; 2], play: u64) -> bool {
    second < first + first / 10 + play
}

fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kibibytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kibibytes.unwrap_or(0) * 1024
}
