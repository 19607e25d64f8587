//! Disks that are full, and directories that are mounted.
#![cfg(target_os = "linux")]

use std::collections::BTreeMap;
use std::path::Path;

use datastream_server::testing::TestServer;

use super::running::{Mirror, Place, await_that};
use crate::process::program;
use crate::small_disk::SmallDisk;

/// A command that mirrors into a directory of the disk.
fn command(disk: &SmallDisk, url: &str, dir: &Path, words: &[&str]) -> std::process::Command {
    let mut command = program("datastream", &["mirror", "configs/"]);
    command.arg(dir).args(words).env("DATASTREAM_URL", url);
    disk.enter(&command)
}

#[test]
fn a_full_disk_leaves_the_last_state_whole_and_room_lets_it_go_on() {
    let Some(disk) = SmallDisk::mount("a mirror on a full disk") else { return };
    let server = TestServer::start();
    for key in ["configs/a", "configs/b", "configs/c"] {
        server.set(key, "1".repeat(100_000));
    }
    let place = Place::new();
    let mirror = Mirror::spawn(&place, command(&disk, &server.url(), &disk.inside().join("dir"), &[]));
    let seen = || -> BTreeMap<String, String> {
        let link = std::fs::read_link(disk.outside().join("dir")).unwrap_or_default();
        let files = std::fs::read_dir(disk.outside().join(link)).into_iter().flatten().filter_map(Result::ok);
        let text = |file: &std::fs::DirEntry| std::fs::read_to_string(file.path()).unwrap_or_default();
        files.map(|file| (file.file_name().to_string_lossy().into_owned(), text(&file))).collect()
    };
    let all = |digit: &str| seen().len() == 3 && seen().values().all(|text| *text == digit.repeat(100_000));
    await_that("the first state", || all("1"));
    for digit in ["2", "3"] {
        disk.fill();
        for key in ["configs/a", "configs/b", "configs/c"] {
            server.set(key, digit.repeat(100_000));
        }
        await_that("it says so", || {
            mirror.stderr().iter().any(|line| line.contains("No space left on device"))
        });
        assert!(seen().len() == 3 && seen().values().all(|text| text.len() == 100_000), "it is whole");
        disk.free();
        await_that("it goes on", || all(digit));
    }
    assert!(mirror.stderr().len() <= 4, "said once each time: {:#?}", mirror.stderr());
}

#[test]
fn a_mount_point_is_named_and_not_touched() {
    let Some(disk) = SmallDisk::mount("a mirror into a mount point") else { return };
    let server = TestServer::start().with("configs/a", 1_i64);
    disk.run("mkdir bound other && mount --bind bound bound && mount -t tmpfs none other");
    for dir in ["bound", "other"] {
        let dir = disk.inside().join(dir);
        let output = command(&disk, &server.url(), &dir, &["--once"]).output().expect("it can be run");
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), said.lines().count()), (Some(2), 1), "{said}");
        assert!(
            said.contains("it is a mount point, which no link can replace; mount the folder above it"),
            "{said}"
        );
        disk.run("test -d bound && test ! -L bound && test -d other && test ! -L other");
    }
}

#[test]
fn a_log_on_a_full_disk_does_not_end_a_mirror() {
    let server = TestServer::start().with("configs/a", 1_i64).with("configs/a/b", 1_i64);
    let place = Place::new();
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("Linux has it");
    let mut command =
        place.command(&server.url(), &["--exec", "echo >> ran; exit 1"]).into_inner().expect("unused");
    let mut mirror = command.stdout(full()).stderr(full()).spawn().expect("it can be run");
    let ran = || std::fs::read_to_string(place.folder().join("ran")).map_or(0, |ran| ran.lines().count());
    for n in 1..=3_i64 {
        server.set("configs/a/b", n * 10);
        await_that("its command runs", || ran() >= usize::try_from(n).expect("it is small"));
        assert_eq!(mirror.try_wait().expect("it can be asked"), None);
    }
    mirror.kill().expect("it can be killed");
    mirror.wait().expect("it can be waited for");
}
