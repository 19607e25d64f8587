//! `apply`: the file, the plan, and what becomes of it.

use super::transcript::Transcript;

const POOL: &str = r#"
max_connections = 20
ratio = 0.5
debug = true
motd = "hello"
since = 2026-11-23T18:00:00Z
rules = [1, "two", { three = 3.0 }]
timeout = { type = "duration", value = "1m30s" }
limits = { type = "json", value = { a = 1 } }
"quoted/key" = 1

[pool]
size = 4

[pool.inner]
width = 7
"#;

#[test]
fn a_file_is_applied_as_it_was_shown() {
    let mut transcript = Transcript::begin();
    transcript.file("pool.toml", POOL);
    transcript.run(&["apply", "-f", "pool.toml", "--dry-run", "-o", "table"]);
    transcript.run(&["list"]);
    transcript.run(&["apply", "-f", "pool.toml"]);
    transcript.run(&["apply", "-f", "pool.toml", "--yes", "-m", "wider"]);
    transcript.run(&["get", "pool/"]);
    transcript.run(&["apply", "-f", "pool.toml", "--yes"]);
    transcript.run(&["apply", "-f", "pool.toml", "--prune", "pool/", "--dry-run"]);
    transcript.run(&["apply", "-f", "pool.toml", "--prune", "pool/", "--yes"]);
    transcript.run(&["history", "pool/"]);
    transcript.end("apply");
}

#[test]
fn a_file_may_be_json_and_so_may_be_the_plan() {
    let mut transcript = Transcript::begin();
    transcript.file(
        "pool.json",
        r#"{"pool": {"size": 8, "ratio": 1.5}, "t": {"type": "duration", "value": "1s"}, "on": true, "l": [1]}"#,
    );
    transcript.run(&["apply", "-f", "pool.json", "--yes", "-o", "json"]);
    transcript.run(&["list"]);
    transcript.run(&["apply", "-f", "pool.json", "--dry-run", "-o", "json"]);
    transcript.end("apply_json");
}

#[test]
fn another_type_must_be_meant() {
    let mut transcript = Transcript::begin();
    transcript.file("new.toml", "max_connections = \"many\"\nother = 1\n");
    transcript.run(&["apply", "-f", "new.toml", "--yes"]);
    transcript.run(&["list"]);
    transcript.run(&["apply", "-f", "new.toml", "--yes", "--retype"]);
    transcript.end("apply_retype");
}

#[test]
fn a_file_that_cannot_be_applied_says_why() {
    let mut transcript = Transcript::begin();
    std::fs::create_dir(transcript.folder.path().join("folder")).expect("it can be made");
    let files = [
        ("broken.toml", "a = 1\nb = \n"),
        ("broken.json", "{\"a\": 1,}"),
        ("null.json", "{\"a\": null}"),
        ("list.json", "[1]"),
        ("large.json", "{\"a\": 18446744073709551615}"),
        ("key.toml", "\"a//b\" = 1\n"),
        ("empty.toml", "[a.\"\"]\nb = 1\n"),
        ("twice.toml", "\"a/b\" = 1\n[a]\nb = 2\n"),
        ("again.toml", "a = 1\na = 2\n"),
        ("type.toml", "a = { type = \"number\", value = 1 }\n"),
        ("value.toml", "a = { type = \"int\", value = \"one\" }\n"),
        ("nan.toml", "a = nan\n"),
        ("local.toml", "a = 2026-11-23T18:00:00\n"),
        ("table.toml", "a = { type = \"int\", value = [1] }\n"),
    ];
    transcript.run(&["apply", "--yes"]);
    transcript.run(&["apply", "--yes", "-f", "missing.toml"]);
    transcript.run(&["apply", "--yes", "-f", "folder"]);
    for (name, text) in files {
        transcript.file(name, text);
        transcript.run(&["apply", "--yes", "-f", name]);
    }
    transcript.file("good.toml", "a = 1\n");
    transcript.run(&["apply", "--yes", "-f", "good.toml", "--prune", "pool"]);
    transcript.run(&["apply", "--yes", "-f", "good.toml", "--prune", "a//"]);
    transcript.run(&["list"]);
    transcript.end("apply_mistakes");
}
