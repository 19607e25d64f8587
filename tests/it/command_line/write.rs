//! Writing: `set` and `del`, with their conditions.

use super::transcript::Transcript;

#[test]
fn a_setting_is_set_and_deleted() {
    let mut transcript = Transcript::begin();
    transcript.run(&["set", "max_connections", "20"]);
    transcript.run(&["set", "max_connections", "-5", "-o", "json"]);
    transcript.run(&["get", "max_connections"]);
    transcript.run(&["set", "timeout", "1m30s", "--type", "duration"]);
    transcript.run(&["set", "timeout", "45s", "--expect", "7"]);
    transcript.run(&["set", "timeout", "45", "--type", "int", "--retype"]);
    transcript.run(&["set", "once", "yes", "--type", "string", "--create"]);
    transcript.run(&["get", "timeout", "-o", "json"]);
    transcript.run(&["del", "timeout", "once", "not/there"]);
    transcript.run(&["del", "timeout", "-o", "json"]);
    transcript.run(&["list"]);
    transcript.end("write");
}

#[test]
fn what_is_not_as_expected_is_not_changed() {
    let mut transcript = Transcript::begin();
    transcript.run(&["set", "max_connections", "20", "--expect", "99"]);
    transcript.run(&["set", "not/there", "20", "--type", "int", "--expect", "99"]);
    transcript.run(&["set", "max_connections", "20", "--create"]);
    transcript.run(&["set", "max_connections", "many", "--type", "string"]);
    transcript.run(&["get", "max_connections"]);
    transcript.end("preconditions");
}
