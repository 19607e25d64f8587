//! The command that is run after each state.

use std::fs;

use datastream_server::testing::TestServer;

use super::running::{Mirror, Place, await_that, once};

#[test]
fn the_command_runs_after_each_state_and_after_the_first_in_any_case() {
    let server = TestServer::start().with("configs/a", 1_i64);
    let place = Place::new();
    let words = ["--exec", "echo $DATASTREAM_REVISION $(cat $DATASTREAM_DIR/a) >> ran"];
    let ran = || fs::read_to_string(place.folder().join("ran")).unwrap_or_default();
    let mirror = Mirror::start(&place, &server.url(), &words);
    await_that("the first", || ran() == "2 1\n");
    server.set("configs/a", 5_i64);
    await_that("the second", || ran() == "2 1\n3 5\n");
    // What is not below the prefix, or does not change a file, is no other state.
    server.set("other", 1_i64);
    server.set("configs/a", 5_i64);
    server.set("configs/a", 6_i64);
    await_that("the third", || ran().ends_with("5 6\n"));
    assert_eq!(ran().lines().count(), 3, "{}", ran());
    mirror.kill();
    // It may have been killed between a state and its command.
    let _mirror = Mirror::start(&place, &server.url(), &words);
    await_that("the first again", || ran().lines().count() == 4);
    assert!(ran().ends_with("5 6\n"));
}

#[test]
fn states_that_come_while_it_runs_are_one_more_run() {
    let server = TestServer::start().with("configs/a", 0_i64);
    let place = Place::new();
    let slow = "echo $DATASTREAM_REVISION >> ran; while [ ! -e go ]; do sleep 0.01; done";
    let mirror = Mirror::start(&place, &server.url(), &["--exec", slow]);
    let ran = || fs::read_to_string(place.folder().join("ran")).unwrap_or_default();
    await_that("it runs", || ran() == "2\n");
    for n in 1..=20_i64 {
        server.set("configs/a", n);
        mirror.shows([("a", &*n.to_string())]);
    }
    assert_eq!(ran(), "2\n", "one at a time");
    fs::write(place.folder().join("go"), "").expect("it can be written");
    await_that("one more", || ran() == "2\n22\n");
}

#[test]
fn a_command_that_fails_is_one_line_and_stops_nothing() {
    let server = TestServer::start().with("configs/a", 1_i64);
    let place = Place::new();
    let mirror = Mirror::start(&place, &server.url(), &["--exec", "exit 3"]);
    mirror.says("the command of --exec failed: exit status: 3");
    server.set("configs/a", 2_i64);
    mirror.shows([("a", "2")]);
    await_that("said again", || mirror.stderr().len() == 2);
    mirror.kill();
    let (code, _, stderr) = once(&place.command(&server.url(), &["--once", "--exec", "kill -9 $$"]));
    assert_eq!(code, 1);
    assert!(stderr.starts_with("error: the command of --exec failed: signal: 9"), "{stderr}");
}

#[test]
fn the_command_is_what_the_user_wrote_and_knows_no_token() {
    let server = TestServer::start();
    server.set_raw("configs/$(touch hacked);`touch hacked`", "string", "$(touch hacked)");
    let place = Place::new();
    let command = place.command(&server.url(), &["--once", "--exec", "env > env; ps -o args= -p $$ > args"]);
    command.lock().expect("no holder panics").env("DATASTREAM_TOKEN", "s3cret");
    let (code, _, stderr) = once(&command);
    assert_eq!((code, &*stderr), (0, ""));
    let said = fs::read_to_string(place.folder().join("env")).expect("it was written");
    assert!(!said.contains("s3cret") && !said.contains("hacked"), "{said}");
    assert!(said.contains(&format!(
        "DATASTREAM_DIR={}\n",
        fs::canonicalize(place.folder()).expect("it is there").join("dir").display()
    )));
    assert_eq!(place.files().len(), 1);
    assert!(!place.folder().join("hacked").exists() && !place.dir().join("hacked").exists());
}
