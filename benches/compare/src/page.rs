//! The page that holds what was measured last: a section for each part, which is replaced when the part is measured again,
//! and beside the page its plot, where it has figures of several servers.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use crate::parts::{ALL, Part};
use crate::report::Report;
use crate::rounds::Effort;

const HEAD: &str = "\
# Compared

This server beside others under one load, as `benches/compare/run` measured it last: `benches/compare/run [PART...]
[--quick]`. It writes this page. [Performance](performance.md) says what stands in the way where a goal is missed.

Ours is built with the profile `dist`, and what stands for others alike. The server under test has the first core, the
load the second, and all are measured by turns, each round with new processes; a figure is the median of the rounds, with
(highest - lowest) / highest in brackets. CPU is what the scheduler counted for the server. Everything is on one machine
and its loopback: the sender pays for much of what the receiver's kernel does, and nothing waits for a network.
Differences below a quarter mean little. The plots are of the tables below them, and drawn by the same command.
";

/// The page, as sections by the names of their parts.
pub struct Page {
    path: PathBuf,
    sections: Vec<(&'static str, String)>,
    /// What is measured, as git names it before the page itself is a change.
    commit: String,
}

impl Page {
    /// Reads what it holds so far.
    pub fn open(path: PathBuf) -> Result<Self> {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let mut sections = Vec::new();
        for section in text.split("\n## ").skip(1) {
            let name = section.split(':').next().unwrap_or_default();
            sections.extend(
                ALL.iter().find(|part| part.name == name).map(|part| (part.name, section.to_owned())),
            );
        }
        Ok(Self { path, sections, commit: said("git", &["describe", "--always", "--dirty"]) })
    }

    /// Replaces the section of a part and its plot, and writes the page.
    pub fn put(&mut self, part: Part, effort: Effort, report: &Report) -> Result<()> {
        let plot = self.draw(part, report)?;
        let quick = if effort.quick { " --quick" } else { "" };
        let seconds = effort.seconds.map(|seconds| format!(" --seconds {seconds}")).unwrap_or_default();
        let section = format!(
            "{}: {}\n\n`benches/compare/run {}{quick}{seconds}`, {}\n\n{plot}{}",
            part.name,
            part.title,
            part.name,
            circumstances(&self.commit),
            report.markdown()
        );
        self.sections.retain(|(name, _)| *name != part.name);
        self.sections.push((part.name, section));
        let order = |name: &str| ALL.iter().position(|part| part.name == name);
        self.sections.sort_by_key(|(name, _)| order(name));
        let mut text = HEAD.to_owned();
        for (_, section) in &self.sections {
            text += &format!("\n## {}\n", section.trim_end());
        }
        write(&self.path, &text)
    }

    /// Writes the plot of a part into the folder that has the name of the page. Returns what shows it.
    fn draw(&self, part: Part, report: &Report) -> Result<String> {
        let title = format!("{}: {}", part.name, part.title);
        let Some(plot) = report.plot(&title) else { return Ok(String::new()) };
        let folder = self.path.with_extension("");
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let name = format!("{}.svg", part.name.to_lowercase());
        write(&folder.join(&name), &plot)?;
        let folder = folder.file_name().unwrap_or_default().display();
        Ok(format!("![{title}]({folder}/{name})\n\n"))
    }
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// What a program says.
fn said(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map(|it| String::from_utf8_lossy(&it.stdout).trim().to_owned()).unwrap_or_default()
}

/// When, of which commit, on which machine, and how busy that was.
fn circumstances(commit: &str) -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model =
        cpu.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1)).unwrap_or("a CPU");
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = cpu.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "{}, commit {commit}; {cores} x {model}, Linux {}; load average after it {}",
        said("date", &["-u", "+%F"]),
        said("uname", &["-r"]),
        load.split(' ').next().unwrap_or_default()
    )
}
