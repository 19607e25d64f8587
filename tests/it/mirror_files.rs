//! `datastream mirror`: a directory that is always one whole state of a prefix, whatever happens.

mod command;
mod disk;
mod killed;
mod refused;
mod running;

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::Path;

use datastream_server::testing::TestServer;

use running::{Mirror, Place, await_that, once};

#[test]
fn each_key_is_a_file_whose_bytes_are_the_value() {
    let server = TestServer::start().with("other/key", 1_i64).with("configsx", 1_i64);
    server.set_raw("configs/app.conf", "string", "a = 1\n");
    server.set_raw("configs/bin/raw", "bytes", &b"\xff\x00\n"[..]);
    server.set_raw("configs/empty", "string", "");
    server.set_raw("configs/a b/%2e%2e/\u{e9}", "int", "7");
    let place = Place::new();
    let (code, stdout, stderr) = once(&place.command(&server.url(), &["--once"]));
    assert_eq!((code, &*stderr), (0, ""));
    assert_eq!(stdout, "4 files, as of revision 7\n");
    let expected: [(&str, &[u8]); 4] =
        [("a b/%2e%2e/\u{e9}", b"7"), ("app.conf", b"a = 1\n"), ("bin/raw", b"\xff\x00\n"), ("empty", b"")];
    assert_eq!(place.files(), expected.map(|(path, bytes)| (path.to_owned(), bytes.to_vec())).into());
    // A link to what lies beside it, so that it leads to the same wherever the folder is mounted.
    let target = fs::read_link(place.dir()).expect("it is a link");
    assert_eq!(target, Path::new(".dir.datastream/1"));
    assert_eq!(place.beside(), [".dir.datastream", "dir"]);
}

#[test]
fn the_directory_follows_births_changes_and_deletions() {
    let server = TestServer::start().with("configs/a", 1_i64).with("configs/b/c", 1_i64);
    let place = Place::new();
    let mirror = Mirror::start(&place, &server.url(), &[]);
    mirror.shows([("a", "1"), ("b/c", "1")]);
    server.set("configs/a", 2_i64);
    mirror.shows([("a", "2"), ("b/c", "1")]);
    server.set("configs/d/e/f", 3_i64);
    mirror.shows([("a", "2"), ("b/c", "1"), ("d/e/f", "3")]);
    server.delete("configs/b/c");
    mirror.shows([("a", "2"), ("d/e/f", "3")]);
    server.delete("configs/a");
    server.delete("configs/d/e/f");
    mirror.shows([]);
    assert_eq!(mirror.stderr(), Vec::<String>::new());
}

#[test]
fn what_did_not_change_is_not_written_again_and_one_version_stays_for_its_readers() {
    let server = TestServer::start().with("configs/a", 1_i64).with("configs/b", 1_i64);
    let place = Place::new();
    let mirror = Mirror::start(&place, &server.url(), &[]);
    let inode = |name: &str| fs::metadata(place.dir().join(name)).expect("it is there").ino();
    mirror.shows([("a", "1"), ("b", "1")]);
    let before = (inode("a"), inode("b"));
    let reader = fs::canonicalize(place.dir()).expect("it leads somewhere");
    server.set("configs/a", 2_i64);
    mirror.shows([("a", "2"), ("b", "1")]);
    assert_ne!(inode("a"), before.0, "a file that somebody reads is never written to");
    assert_eq!(inode("b"), before.1);
    assert_eq!(fs::read_to_string(reader.join("a")).expect("it stays until the next"), "1");
    for n in 3..10_i64 {
        server.set("configs/a", n);
        mirror.shows([("a", &*n.to_string()), ("b", "1")]);
    }
    place.settles(2);
}

#[test]
fn a_file_that_was_tampered_with_is_written_anew_with_the_next_state() {
    let server = TestServer::start().with("configs/a", 1_i64).with("configs/b", 1_i64);
    let place = Place::new();
    let mirror = Mirror::start(&place, &server.url(), &[]);
    mirror.shows([("a", "1"), ("b", "1")]);
    fs::write(place.dir().join("b"), "9").expect("it can be written");
    server.set("configs/a", 2_i64);
    mirror.shows([("a", "2"), ("b", "1")]);
    // And at the next start, though nothing else changed.
    mirror.kill();
    fs::write(place.dir().join("more"), "9").expect("it can be written");
    Mirror::start(&place, &server.url(), &[]).shows([("a", "2"), ("b", "1")]);
}

#[test]
fn a_lost_server_leaves_the_directory_as_it_is_and_one_that_is_back_goes_on() {
    let mut server = TestServer::start().with("configs/a", 1_i64);
    let place = Place::new();
    let mirror = Mirror::start(&place, &server.url(), &[]);
    mirror.shows([("a", "1")]);
    for round in 1..3 {
        server.kill();
        await_that("it says so", || mirror.stderr().len() == 2 * round - 1);
        let next = (round + 1).to_string();
        server.set_raw("configs/a", "int", next.clone());
        assert_eq!(place.files(), [("a".to_owned(), round.to_string().into_bytes())].into());
        server.restart();
        mirror.shows([("a", &*next)]);
        await_that("it says that it is back", || mirror.stderr().len() == 2 * round);
    }
    let said = mirror.stderr();
    let ends = ["; the directory stays as it is", "the server is there"];
    assert!(said.iter().zip(ends.iter().cycle()).all(|(line, end)| line.ends_with(end)), "{said:#?}");
}

#[test]
fn a_server_that_is_not_there_yet_is_waited_for() {
    let mut server = TestServer::start().with("configs/a", 1_i64);
    server.stop();
    let place = Place::new();
    let mirror = Mirror::start(&place, &server.url(), &["--timeout", "1"]);
    mirror.says("it goes on trying");
    assert_eq!(place.beside(), [".dir.datastream"]);
    server.restart();
    mirror.shows([("a", "1")]);
}

#[test]
fn once_without_a_server_says_why_in_time_and_touches_nothing() {
    let mut server = TestServer::start().with("configs/a", 1_i64);
    let place = Place::new();
    once(&place.command(&server.url(), &["--once"]));
    let before = place.everything();
    server.stop();
    let (code, stdout, stderr) = once(&place.command(&server.url(), &["--once", "--timeout", "1"]));
    assert_eq!((code, &*stdout), (3, ""));
    assert!(stderr.lines().count() == 1 && stderr.contains("the server cannot be reached"), "{stderr}");
    assert_eq!(place.everything(), before);
    let (code, _, stderr) = once(&place.command("http://localhost:99999", &["--once"]));
    assert!(code == 2 && stderr.contains("say --url http://HOST:PORT"), "{stderr}");
    let (code, _, stderr) = once(&place.command("http://localhost:99999", &[]));
    assert!(code == 2 && stderr.contains("say --url http://HOST:PORT"), "{stderr}");
    assert_eq!(place.everything(), before);
}

#[test]
fn it_ends_at_once_when_it_is_told_to_and_goes_on_where_it_was() {
    let server = TestServer::start().with("configs/a", 1_i64);
    let place = Place::new();
    for signal in ["TERM", "INT"] {
        let mirror = Mirror::start(&place, &server.url(), &["--exec", &format!("touch {signal}")]);
        await_that("it runs", || place.folder().join(signal).exists());
        mirror.ends(signal);
    }
    let target = fs::read_link(place.dir()).expect("it is a link");
    assert_eq!(target, Path::new(".dir.datastream/1"), "a state that is there is not written again");
}

#[test]
fn what_a_killed_run_left_is_removed_and_nothing_else() {
    let server = TestServer::start().with("configs/a", 1_i64);
    let place = Place::new();
    let mirror = Mirror::start(&place, &server.url(), &[]);
    mirror.shows([("a", "1")]);
    server.set("configs/a", 2_i64);
    mirror.shows([("a", "2")]);
    mirror.kill();
    let versions = place.folder().join(".dir.datastream");
    for left in ["3/half", "17", "notes"] {
        fs::create_dir_all(versions.join(left)).expect("it can be made");
    }
    std::os::unix::fs::symlink(".dir.datastream/3", versions.join("next")).expect("a link");
    let mirror = Mirror::start(&place, &server.url(), &[]);
    server.set("configs/a", 3_i64);
    mirror.shows([("a", "3")]);
    place.settles(2);
    assert!(versions.join("notes").is_dir(), "what it did not make it does not remove");
    assert!(!versions.join("next").is_symlink() && !versions.join("17").exists());
}

#[test]
fn what_somebody_removes_is_there_again_though_nothing_changes() {
    let server = TestServer::start().with("configs/a", 1_i64);
    let place = Place::new();
    let mirror = Mirror::start(&place, &server.url(), &["--exec", "echo >> ran"]);
    // All at once: one that is half removed is not of a mirror, which the mirror may happen to see, and say.
    let (versions, removed) = (place.folder().join(".dir.datastream"), place.folder().join("removed"));
    let remove_versions = || {
        fs::rename(&versions, &removed).expect("the mirror keeps it");
        await_that("it is removed", || fs::remove_dir_all(&removed).is_ok());
    };
    mirror.shows([("a", "1")]);
    fs::remove_file(place.dir()).expect("the link can be removed");
    mirror.shows([("a", "1")]);
    remove_versions();
    mirror.shows([("a", "1")]);
    fs::remove_file(place.dir()).expect("the link can be removed");
    remove_versions();
    mirror.shows([("a", "1")]);
    server.set("configs/a", 2_i64);
    mirror.shows([("a", "2")]);
    await_that("the command ran after each", || {
        fs::read_to_string(place.folder().join("ran")).is_ok_and(|ran| ran.lines().count() == 5)
    });
    assert_eq!(mirror.stderr(), Vec::<String>::new());
    // The folder is its own again: no second mirror may have it.
    let (code, _, stderr) = once(&place.command(&server.url(), &["--once"]));
    assert!(code == 1 && stderr.contains("another mirror keeps it"), "{stderr}");
}

/// A reader below the path of a version that is still there has read all of it, though it is removed as he reads.
#[cfg(target_os = "linux")]
#[test]
fn a_version_loses_its_name_before_anything_of_it_goes() {
    let server = TestServer::start().with("configs/a/b", 1_i64).with("configs/c", 1_i64);
    let place = Place::new();
    let mirror = Mirror::start(&place, &server.url(), &[]);
    mirror.shows([("a/b", "1"), ("c", "1")]);
    let first = fs::canonicalize(place.dir()).expect("it leads somewhere");
    let open = fs::File::open(&first).expect("it is a folder");
    for n in 2..=3_i64 {
        server.set("configs/c", n);
        mirror.shows([("a/b", "1"), ("c", &*n.to_string())]);
    }
    place.settles(2);
    let id = std::os::fd::AsRawFd::as_raw_fd(&open);
    let name = fs::read_link(format!("/proc/self/fd/{id}")).expect("it is open");
    assert!(name.to_string_lossy().contains("/1.old"), "it was removed as {}", name.display());
}

#[test]
fn files_of_another_umask_are_written_anew() {
    let server = TestServer::start().with("configs/a", 1_i64).with("configs/b/c", 1_i64);
    let place = Place::new();
    let mode = |path: &str| {
        let found = fs::metadata(place.dir().join(path)).expect("it is there");
        found.permissions().mode() & 0o777
    };
    for (umask, file, folder) in [("022", 0o644, 0o755), ("077", 0o600, 0o700), ("022", 0o644, 0o755)] {
        let command = place.command(&server.url(), &["--once"]).into_inner().expect("no holder panics");
        assert!(under(umask, &command).status().expect("it can be run").success());
        assert_eq!((mode("a"), mode("b/c"), mode("b"), mode("")), (file, file, folder, folder), "{umask}");
    }
    // And one that somebody opened to others, with the next state.
    let mirror = Mirror::start(&place, &server.url(), &[]);
    let usual = mode("a");
    fs::set_permissions(place.dir().join("a"), fs::Permissions::from_mode(0o666)).expect("it can be changed");
    server.set("configs/d", 1_i64);
    mirror.shows([("a", "1"), ("b/c", "1"), ("d", "1")]);
    assert_eq!(mode("a"), usual);
}

/// The command, run under this `umask`.
fn under(umask: &str, command: &std::process::Command) -> std::process::Command {
    let mut shell = std::process::Command::new("sh");
    shell.arg("-c").arg(format!("umask {umask}; exec \"$@\"")).arg("sh");
    shell.arg(command.get_program()).args(command.get_args());
    shell.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    shell.current_dir(command.get_current_dir().expect("the folder of the place"));
    shell
}
