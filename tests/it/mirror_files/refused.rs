//! What is not ours is not touched, and what is no file is left out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use datastream_server::testing::TestServer;

use super::running::{Mirror, Place, await_that, once};
use crate::hostile::Hostile;
use crate::process::program;
use crate::scripted::{change, state};

/// Puts something in the way of the directory at this path.
type Make = fn(&Path);

fn write(path: &Path) {
    fs::write(path, "mine").expect("it can be written");
}

#[test]
fn what_is_there_and_is_not_of_a_mirror_is_not_touched() {
    let server = TestServer::start().with("configs/a", 1_i64);
    let table: [(&str, Make); 8] = [
        ("it is there, and not of a mirror", write),
        ("it is there, and not of a mirror", |dir| {
            fs::create_dir(dir).expect("a folder");
            write(&dir.join("mine"));
        }),
        ("it is there, and not of a mirror", |dir| symlink("elsewhere", dir).expect("a link")),
        ("it is there, and not of a mirror", |dir| symlink("/", dir).expect("a link")),
        ("it is there, and not of a mirror", |dir| symlink(".dir.datastream/1/../..", dir).expect("a link")),
        ("it is not of a mirror, which keeps its versions there", |dir| {
            write(&dir.with_file_name(".dir.datastream"));
        }),
        ("it is not of a mirror, which keeps its versions there", |dir| {
            fs::create_dir_all(dir.with_file_name(".dir.datastream").join("1")).expect("a folder");
        }),
        ("it is not of a mirror, which keeps its versions there", |dir| {
            symlink("/tmp", dir.with_file_name(".dir.datastream")).expect("a link");
        }),
    ];
    for (why, make) in table {
        let place = Place::new();
        make(&place.dir());
        let before = place.everything();
        for words in [&["--once"][..], &[]] {
            let (code, stdout, stderr) = once(&place.command(&server.url(), words));
            assert_eq!((code, &*stdout, stderr.lines().count()), (2, "", 1), "{stderr}");
            assert!(stderr.contains(why), "{stderr}");
            assert_eq!(place.everything(), before);
        }
    }
}

#[test]
fn an_empty_directory_is_replaced_only_when_there_is_a_state() {
    let mut server = TestServer::start().with("configs/a", 1_i64);
    server.stop();
    let place = Place::new();
    fs::create_dir(place.dir()).expect("a folder");
    once(&place.command(&server.url(), &["--once", "--timeout", "1"]));
    assert!(!place.dir().is_symlink() && place.dir().is_dir());
    server.restart();
    assert_eq!(once(&place.command(&server.url(), &["--once"])).0, 0);
    assert_eq!(place.files().len(), 1);
}

#[test]
fn what_takes_the_place_of_the_directory_meanwhile_is_not_touched_either() {
    let server = TestServer::start().with("configs/a", 1_i64);
    let place = Place::new();
    let mirror = Mirror::start(&place, &server.url(), &[]);
    mirror.shows([("a", "1")]);
    fs::remove_file(place.dir()).expect("the link can be removed");
    fs::write(place.dir(), "mine").expect("it can be written");
    server.set("configs/a", 2_i64);
    mirror.says("it is there, and not of a mirror");
    assert_eq!(fs::read_to_string(place.dir()).expect("it is there"), "mine");
}

#[test]
fn a_second_mirror_of_a_directory_is_refused() {
    let server = TestServer::start().with("configs/a", 1_i64);
    let place = Place::new();
    let mirror = Mirror::start(&place, &server.url(), &[]);
    mirror.shows([("a", "1")]);
    // The first makes a file for a moment, to see whose it is.
    let everything = || {
        let mut everything = place.everything();
        everything.retain(|path, _| !path.ends_with("/probe"));
        everything
    };
    let before = everything();
    let (code, _, stderr) = once(&place.command(&server.url(), &["--once"]));
    assert_eq!(code, 1);
    assert!(stderr.contains("another mirror keeps it") && stderr.lines().count() == 1, "{stderr}");
    assert_eq!(everything(), before);
    mirror.kill();
    assert_eq!(once(&place.command(&server.url(), &["--once"])).0, 0, "a lock ends with its process");
}

#[test]
fn a_name_that_a_file_has_and_a_directory_is_the_directory_and_one_that_is_too_long_is_left_out() {
    let long = "n".repeat(256);
    let server = TestServer::start().with("configs/a", 1_i64).with("configs/a/b", 2_i64);
    server.set(&format!("configs/{long}"), 3_i64);
    server.set("configs/good", 4_i64);
    let place = Place::new();
    let (code, stdout, stderr) = once(&place.command(&server.url(), &["--once"]));
    assert_eq!((code, &*stdout), (1, "2 files, as of revision 5\n"));
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines[0], "left out: configs/a: there are keys below it, so it is a directory here");
    assert!(lines[1].ends_with("a name of 256 bytes; a file name has at most 255"), "{stderr}");
    assert_eq!(lines[2..], ["error: 2 left out, for the reasons above"]);
    // While it runs each is said once, and a key that can be a file again is one.
    let mirror = Mirror::start(&place, &server.url(), &[]);
    mirror.shows([("a/b", "2"), ("good", "4")]);
    server.set("configs/good", 5_i64);
    mirror.shows([("a/b", "2"), ("good", "5")]);
    await_that("each is named", || mirror.stderr().len() == 2);
    server.delete("configs/a/b");
    mirror.shows([("a", "1"), ("good", "5")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_key_of_a_hostile_server_is_a_file_anywhere_else() {
    let mut server = Hostile::start();
    let place = Place::new();
    let up = place.folder().join("up");
    let mirror = Mirror::start(&place, &server.url(), &[]);
    let fed = server.asked().await.accept();
    let absolute = format!("configs/{}", up.display());
    let one = |key| (key, 5, "string", "hacked");
    fed.say(state(
        5,
        [
            one("configs/good"),
            one("configs/../up"),
            one("configs/../../up"),
            one("configs/a/../../up"),
            one(&absolute),
            one("configs//up"),
            one("configs/./up"),
            one("configs/up/"),
            one("configs/.."),
            one("configs/."),
            one("configs/"),
            one("configs/.git/hooks/post-checkout"),
            one("configs/back\\slash"),
            one("configs/new\nline"),
            one("configs/nul\0"),
            one("configs/\u{202e}txt"),
        ],
    ));
    mirror.shows([("good", "hacked")]);
    assert_eq!(place.beside(), [".dir.datastream", "dir"]);
    await_that("each is named", || mirror.stderr().len() == 15);
    let said = mirror.stderr();
    assert!(
        said.iter().all(|line| line.starts_with("left out: configs/") && !line.contains('\u{202e}')),
        "{said:#?}"
    );
    // They harm no other, also later.
    fed.say(change(6, [("configs/good", 6, "string", "well")]));
    mirror.shows([("good", "well")]);
    assert_eq!(mirror.stderr().len(), 15);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_never_finished_is_never_shown() {
    let mut server = Hostile::start();
    let place = Place::new();
    let mirror = Mirror::start(&place, &server.url(), &[]);
    let fed = server.asked().await.accept();
    fed.say(state(5, [("configs/a", 5, "int", "1"), ("configs/b", 5, "int", "1")]));
    mirror.shows([("a", "1"), ("b", "1")]);
    let mut half = change(6, [("configs/a", 6, "int", "2")]);
    (half.more, half.position) = (true, None);
    fed.say(half);
    fed.say(datastream::proto::DataResponse { more: true, position: None, ..change(6, []) });
    drop(fed);
    mirror.says("; the directory stays as it is");
    mirror.shows([("a", "1"), ("b", "1")]);
}

#[test]
fn a_directory_below_another_mirror_is_refused() {
    let server = TestServer::start().with("configs/a/b", 1_i64);
    let place = Place::new();
    assert_eq!(once(&place.command(&server.url(), &["--once"])).0, 0);
    let before = place.everything();
    for dir in ["dir/sub", "dir/a/sub", "dir/a/b", ".dir.datastream/sub"] {
        let mut command = program("datastream", &["mirror", "configs/", dir, "--once"]);
        command.env("DATASTREAM_URL", server.url()).current_dir(place.folder());
        let (code, _, stderr) = once(&command.into());
        assert_eq!((code, stderr.lines().count()), (2, 1), "{dir}: {stderr}");
        assert!(
            stderr.contains("another mirror removes what lies there") || dir == "dir/a/b",
            "{dir}: {stderr}"
        );
        assert_eq!(place.everything(), before);
    }
}

#[test]
fn a_message_is_one_line_whatever_a_path_is_called() {
    let server = TestServer::start().with("configs/a", 1_i64);
    let mut command = program("datastream", &["mirror", "configs/", "new\nline/\u{1b}[31m", "--once"]);
    command.env("DATASTREAM_URL", server.url());
    let (code, _, stderr) = once(&command.into());
    assert_eq!((code, stderr.lines().count()), (2, 1), "{stderr}");
    assert!(stderr.contains("new\\nline/\\u{1b}[31m") && !stderr.contains('\u{1b}'), "{stderr}");
}
