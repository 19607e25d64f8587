//! Where the programs are that these tests run.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian puts each version of PostgreSQL, its programs in `bin/`. They are on no `PATH`.
const VERSIONS: &str = "/usr/lib/postgresql";

/// A program of the highest version of PostgreSQL that is installed.
pub(super) fn postgres(name: &str) -> PathBuf {
    let installed = std::fs::read_dir(VERSIONS).into_iter().flatten().map_while(Result::ok);
    let programs = installed.filter_map(|version| {
        let number: u32 = version.file_name().to_str()?.parse().ok()?;
        let program = version.path().join("bin").join(name);
        program.exists().then_some((number, program))
    });
    programs.max().map_or_else(|| find(name, "postgresql"), |(_, program)| program)
}

/// A program that Debian's `package` brings.
pub(super) fn find(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Daemons are not on the PATH of everybody.
    let folders = std::env::split_paths(&path).chain([PathBuf::from("/usr/sbin")]);
    let mut programs = folders.map(|folder| folder.join(name));
    let program = programs.find(|program| program.exists());
    program.unwrap_or_else(|| panic!("there is no {name}: run `apt-get install {package}` first"))
}

/// A command that runs a program with none of the variables and files of ours that change what PostgreSQL's programs do.
pub(super) fn command(program: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"PG")) {
        command.env_remove(name);
    }
    // What they say is compared.
    command.env("LC_ALL", "C.UTF-8").env("HOME", "/nonexistent");
    command
}

/// Runs a command to its end, which must be a good one.
pub(super) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {said}", output.status);
}
