//! Moving between stores: `export` and `import`, from any server to any other.

mod refusing;

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use datastream_client::Client;
use datastream_server::Config;
use datastream_server::stores::sqlite::SqliteStore;
use datastream_server::testing::TestServer;
use tempfile::TempDir;

use crate::process::program;

/// Values that a careless file would lose, and keys that a careless parser would take for something else.
fn fill(server: &TestServer) {
    let all: [(&str, &str, &[u8]); 31] = [
        ("int", "int", b"-9223372036854775808"),
        ("float", "float", b"1.50"),
        ("bool", "bool", b"false"),
        (
            "string",
            "string",
            "two\nlines \"quoted\" \\ ' \u{1b}[31m \u{7f} \u{2028} \u{feff} \r\n\t\u{1F980}".as_bytes(),
        ),
        ("json", "json", b"{\"b\": 1.0,\n \"a\": [null, \"\\u0000\"]}"),
        ("bytes", "bytes", b"\xff\x00\xfe"),
        ("bytes/of/text", "bytes", b"text"),
        ("duration", "duration", b"1m30s"),
        ("timestamp", "timestamp", b"2026-11-23T18:00:00+01:00"),
        ("alias", "text/plain", b"text"),
        ("alias/json", ".json", b"[]"),
        ("empty/string", "string", b""),
        ("empty/bytes", "bytes", b""),
        ("newline", "string", b"\n"),
        ("space", "string", b"  "),
        ("'''", "string", b"'''\"\"\""),
        ("a", "int", b"1"),
        ("a/b", "int", b"2"),
        ("a/b/c", "int", b"3"),
        ("a.b", "int", b"4"),
        ("a b", "int", b"5"),
        ("x/type", "string", b"int"),
        ("x/value", "string", b"1"),
        ("x/base64", "string", b"no base64"),
        ("type", "string", b"string"),
        ("value", "string", b"value"),
        ("$__toml_private_datetime", "string", b"2026-11-23"),
        ("$__serde_spanned_private_value", "string", b""),
        ("quoted\"key'#=[]{}", "string", b"#"),
        ("%2e%2e/etc", "string", b"literal"),
        ("\u{e9}/e\u{301}/\u{1F980}", "string", "\u{e9}".as_bytes()),
    ];
    for (key, value_type, text) in all {
        server.set_raw(key, value_type, text);
    }
    server.set("large", "\\".repeat(1 << 20));
}

fn datastream(url: &str, words: &[&str]) -> Command {
    let mut command = program("datastream", words);
    command.env("DATASTREAM_URL", url).env("USER", "ann");
    command
}

/// Runs the program, which must exit with this code, and returns what it wrote: to stdout, and to stderr.
fn run(server: &TestServer, words: &[&str], code: i32) -> (String, String) {
    said(datastream(&server.url(), words).output().expect("it can be run"), code)
}

fn said(output: Output, code: i32) -> (String, String) {
    let text = |bytes| String::from_utf8(bytes).expect("it is text");
    let (stdout, stderr) = (text(output.stdout), text(output.stderr));
    assert_eq!(output.status.code(), Some(code), "{stdout}{stderr}");
    (stdout, stderr)
}

fn exported(server: &TestServer, words: &[&str]) -> String {
    run(server, &[&["export"], words].concat(), 0).0
}

fn sqlite(folder: &TempDir) -> TestServer {
    let store = SqliteStore::open(&folder.path().join("settings.db")).expect("a new file");
    TestServer::start_with(Arc::new(store), Config::default())
}

fn path(folder: &TempDir, name: &str) -> String {
    folder.path().join(name).to_str().expect("a path of a test is text").to_owned()
}

#[test]
fn what_was_moved_is_exported_again_byte_for_byte() {
    for name in ["all.toml", "all.json"] {
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second, third) = (TestServer::start(), sqlite(&folder), TestServer::start());
        fill(&first);
        let file = path(&folder, name);
        let (told, _) = run(&first, &["export", "-f", &file], 0);
        assert!(told.starts_with("32 exported, as of revision "), "{told}");
        let text = std::fs::read_to_string(&file).expect("it was written");
        let format = if name.ends_with("json") { "json" } else { "toml" };
        let mut next = file;
        for server in [&second, &third] {
            assert_eq!(run(server, &["import", &next], 0).0, "32 new, 0 changed, 0 equal\n");
            assert_eq!(exported(server, &["--format", format]), text, "{name}");
            assert_eq!(run(server, &["import", &next], 0).0, "0 new, 0 changed, 32 equal\n");
            next = path(&folder, &format!("again.{format}"));
            run(server, &["export", "-f", &next], 0);
        }
    }
}

#[test]
fn an_export_is_in_order_and_says_the_types() {
    let server =
        TestServer::start().with("pool/size", 4_i64).with("max", 10_i64).with("pool/name", "w".to_owned());
    server.set_raw("raw", "bytes", &b"\xff\x00"[..]);
    assert_eq!(
        exported(&server, &[]),
        "# Settings of a datastream server. `datastream import FILE` writes them to any other.\n\
         # Each line is a key with its type and its value, as text, or as base64 if it is no text.\n\
         \"max\" = { type = \"int\", value = \"10\" }\n\
         \"pool/name\" = { type = \"string\", value = \"w\" }\n\
         \"pool/size\" = { type = \"int\", value = \"4\" }\n\
         \"raw\" = { type = \"bytes\", base64 = \"/wA=\" }\n"
    );
    let below = "{\n  \"pool/name\": { \"type\": \"string\", \"value\": \"w\" },\n  \
                 \"pool/size\": { \"type\": \"int\", \"value\": \"4\" }\n}\n";
    assert_eq!(exported(&server, &["pool/", "--format", "json"]), below);
    assert_eq!(exported(&server, &["pool/", "-o", "json"]), below);
    assert_eq!(exported(&server, &["none/", "-o", "json"]), "{}\n");
    assert_eq!(exported(&TestServer::start(), &["-o", "json"]), "{}\n");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_export_is_one_state_while_everything_changes() {
    let server = TestServer::start();
    let client = Client::connect(server.url());
    let is_over = Arc::new(AtomicBool::new(false));
    let writing = tokio::spawn({
        let (client, is_over) = (client.clone(), is_over.clone());
        async move {
            let mut number = 0_i64;
            while !is_over.load(Ordering::Relaxed) {
                number += 1;
                let keys = ["top", "a/x", "a/y/z", "b/x"];
                let commit = keys.iter().fold(client.commit(), |commit, key| commit.put(key, number));
                commit.send().await.expect("it is durable");
            }
            number
        }
    });
    while client.capabilities().await.expect("it lists").is_empty() {}
    let mut seen = BTreeSet::new();
    for _ in 0..20 {
        let exporting = server.url();
        let text = tokio::task::spawn_blocking(move || {
            said(datastream(&exporting, &["export"]).output().expect("it can be run"), 0).0
        });
        let text = text.await.expect("it ends");
        let values: Vec<_> = text
            .lines()
            .filter_map(|line| line.split_once("value = ").map(|(_, value)| value.to_owned()))
            .collect();
        assert!(values.len() == 4 && values.iter().all(|value| *value == values[0]), "{text}");
        seen.extend(values);
    }
    is_over.store(true, Ordering::Relaxed);
    assert!(writing.await.expect("it ends") > 20 && seen.len() > 10, "little has changed");
}

/// A client may ask for 10,000 keys at once.
#[test]
fn any_number_of_keys_without_a_prefix_is_moved_as_one_state() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (TestServer::start(), TestServer::start());
    let file = path(&folder, "flat.toml");
    let text: String =
        (0..20_001).map(|n| format!("\"key {n:05}\" = {{ type = \"int\", value = \"{n}\" }}\n")).collect();
    std::fs::write(&file, &text).expect("it can be written");
    assert_eq!(run(&from, &["import", &file], 0).0, "20001 new, 0 changed, 0 equal\n");
    let moved = path(&folder, "moved.toml");
    run(&from, &["export", "-f", &moved], 0);
    assert!(std::fs::read_to_string(&moved).expect("it is text").ends_with(&text));
    assert_eq!(run(&to, &["import", &moved], 0).0, "20001 new, 0 changed, 0 equal\n");
    assert_eq!(exported(&to, &[]), exported(&from, &[]));
}

#[test]
fn an_exported_file_can_be_applied_and_imported_from_stdin() {
    let folder = tempfile::tempdir().expect("a folder");
    let (from, to) = (TestServer::start(), TestServer::start());
    from.set_raw("raw", "bytes", &b"\xff\x00"[..]);
    from.set("a", 1_i64);
    from.set("a/b", 2_i64);
    let file = path(&folder, "all.toml");
    run(&from, &["export", "-f", &file], 0);
    run(&to, &["apply", "-f", &file, "--yes"], 0);
    assert_eq!(exported(&to, &[]), exported(&from, &[]));
    for format in ["toml", "json"] {
        let to = TestServer::start();
        let file = path(&folder, format);
        std::fs::write(&file, exported(&from, &["--format", format])).expect("it can be written");
        let mut command = datastream(&to.url(), &["import", "-"]);
        command.stdin(std::fs::File::open(&file).expect("it is there"));
        assert_eq!(said(command.output().expect("it can be run"), 0).0, "3 new, 0 changed, 0 equal\n");
        assert_eq!(exported(&to, &[]), exported(&from, &[]));
    }
}

/// What another program wrote that no server takes is in the file all the same, and named where it cannot go.
#[test]
fn what_only_a_foreign_writer_may_write_is_exported_and_named_by_the_import() {
    let folder = tempfile::tempdir().expect("a folder");
    let from = sqlite(&folder);
    from.set("good", 1_i64);
    let foreign = rusqlite::Connection::open(folder.path().join("settings.db")).expect("it can be opened");
    let rows = [("new/type", "quux", &b"\xff"[..]), ("no/int", "int", b"twenty"), ("padded", "int", b" 10 ")];
    for (key, value_type, value) in rows {
        let sql = "INSERT INTO data (key, value, value_type) VALUES (?1, ?2, ?3)";
        foreign.execute(sql, (key, value, value_type)).expect("it can be written");
    }
    let began = std::time::Instant::now();
    while !exported(&from, &[]).contains("padded") {
        assert!(began.elapsed() < crate::wire::DEADLINE, "it is not seen");
    }
    let text = exported(&from, &[]);
    assert!(text.contains("\"new/type\" = { type = \"quux\", base64 = \"/w==\" }\n"), "{text}");
    assert!(text.contains("\"padded\" = { type = \"int\", value = \" 10 \" }\n"), "{text}");
    let file = path(&folder, "all.toml");
    std::fs::write(&file, &text).expect("it can be written");
    let to = TestServer::start();
    let (stdout, stderr) = run(&to, &["import", &file], 1);
    assert_eq!(stdout, "1 new, 0 changed, 0 equal\n");
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{stderr}");
    assert!(lines[0].starts_with("refused: new/type: a type is one of int, "), "{stderr}");
    assert!(lines[1].starts_with("refused: no/int: not of the type int: "), "{stderr}");
    assert!(lines[2].starts_with("refused: padded: not of the type int: "), "{stderr}");
    assert_eq!(lines[3], "error: 3 refused, for the reasons above; all others are written");
    assert!(!stderr.contains("twenty"), "a value is in no message: {stderr}");
    // Where it is already it is equal, and there is nothing to refuse.
    assert_eq!(run(&from, &["import", &file], 0).0, "0 new, 0 changed, 4 equal\n");
}

#[test]
fn another_type_must_be_meant() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = TestServer::start().with("a", 1_i64).with("b", 1_i64).with("c", 1_i64);
    let file = path(&folder, "all.json");
    std::fs::write(&file, r#"{"a": "text", "b": 2, "c": 1, "d": {"e": true}}"#).expect("it can be written");
    let (stdout, stderr) = run(&server, &["import", &file, "-o", "json"], 1);
    let told: serde_json::Value = serde_json::from_str(&stdout).expect("it is JSON");
    let reason = "it has another type at the server; --retype says that you mean it";
    let refused = serde_json::json!([{ "key": "a", "reason": reason }]);
    assert_eq!(told, serde_json::json!({ "new": 1, "changed": 1, "equal": 1, "refused": refused }));
    assert!(stderr.starts_with(&format!("refused: a: {reason}\n")), "{stderr}");
    assert_eq!(run(&server, &["import", &file, "--retype"], 0).0, "0 new, 1 changed, 3 equal\n");
    assert!(exported(&server, &[]).contains("\"a\" = { type = \"string\", value = \"text\" }"));
}

#[test]
fn a_file_that_is_wrong_anywhere_is_not_begun() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = TestServer::start();
    let files = [
        ("string.json", "\"s3cret\"", "invalid type: string, expected a map"),
        ("number.toml", "s = 31415926535897932384", "invalid type: integer, expected"),
        ("broken.toml", "\"a\" = 1\n\"b\" = \n", "no TOML in line 2"),
        ("key.toml", "a = 1\n\"b//c\" = 1\n", "`b//c`: no key"),
        ("dots.json", "{\"a\": 1, \"../etc\": 1}", "`../etc`: no key"),
        ("twice.toml", "\"a/b\" = 1\n[a]\nb = 2\n", "`a/b` is there twice"),
        ("twice.json", "{\"a\": 1, \"a\": 2}", "duplicate"),
        ("within.json", "{\"a\": {\"b\": 1, \"b\": 2}}", "duplicate"),
        ("base64.toml", "a = 1\nb = { type = \"bytes\", base64 = \"/w\" }\n", "`b`: no base64"),
        ("null.json", "{\"a\": null}", "invalid type: null"),
    ];
    for (name, text, why) in files {
        let file = path(&folder, name);
        std::fs::write(&file, text).expect("it can be written");
        let (_, stderr) = run(&server, &["import", &file], 2);
        assert!(
            stderr.lines().count() == 1 && stderr.contains(name) && stderr.contains(why),
            "{name}: {stderr}"
        );
        assert!(
            !stderr.contains("s3cret") && !stderr.contains("31415"),
            "a value is in no message: {stderr}"
        );
    }
    let utf16 = path(&folder, "utf16.toml");
    std::fs::write(&utf16, b"\xff\xfea\x00=\x001\x00").expect("it can be written");
    let (_, stderr) = run(&server, &["import", &utf16], 2);
    assert!(stderr.contains("utf16.toml: it is no text in UTF-8; save it as that"), "{stderr}");
    let (_, stderr) = run(&server, &["import", &path(&folder, "missing.toml")], 2);
    assert!(stderr.contains("missing.toml: No such file"), "{stderr}");
    assert_eq!(exported(&server, &["-o", "json"]), "{}\n");
}

#[test]
fn a_file_may_begin_with_the_mark_of_an_editor() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in [("marked.toml", "\u{feff}\"a\" = 1\n"), ("marked.json", "\u{feff}{\"a\": 1}")] {
        let server = TestServer::start();
        std::fs::write(path(&folder, name), text).expect("it can be written");
        assert_eq!(run(&server, &["import", &path(&folder, name)], 0).0, "1 new, 0 changed, 0 equal\n");
    }
}

#[cfg(unix)]
#[test]
fn a_file_that_may_not_be_written_and_a_link_to_nothing_are_not_replaced() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().expect("a folder");
    let server = TestServer::start().with("n", 1_i64);
    let (kept, link) = (path(&folder, "kept.toml"), path(&folder, "link.toml"));
    std::fs::write(&kept, "mine").expect("it can be written");
    let mut mode = std::fs::metadata(&kept).expect("it is there").permissions();
    mode.set_readonly(true);
    std::fs::set_permissions(&kept, mode).expect("its mode can be changed");
    symlink("none.toml", &link).expect("a link");
    for (file, why) in [(&kept, "`chmod u+w` allows it"), (&link, "a link to a file that is not there")] {
        let (_, stderr) = run(&server, &["export", "-f", file], 2);
        assert!(stderr.lines().count() == 1 && stderr.contains(why), "{stderr}");
    }
    assert_eq!(std::fs::read_to_string(&kept).expect("it is there"), "mine");
    assert!(Path::new(&link).is_symlink() && !Path::new(&link).exists());
}

#[test]
fn a_dash_is_stdout() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = TestServer::start().with("n", 1_i64);
    let mut command = datastream(&server.url(), &["export", "-f", "-", "-o", "json"]);
    let (stdout, _) = said(command.current_dir(folder.path()).output().expect("it can be run"), 0);
    assert_eq!(stdout, exported(&server, &["-o", "json"]));
    assert_eq!(folder.path().read_dir().expect("the folder").count(), 0);
}

#[cfg(unix)]
#[test]
fn an_export_replaces_a_file_at_once_and_a_new_one_is_for_its_owner() {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

    let folder = tempfile::tempdir().expect("a folder");
    let server = TestServer::start().with("n", 1_i64);
    let file = folder.path().join("all.toml");
    let link = path(&folder, "link.toml");
    symlink("all.toml", &link).expect("a link");
    let mode = |file: &Path| file.metadata().expect("it is there").permissions().mode() & 0o777;
    run(&server, &["export", "-f", file.to_str().expect("text")], 0);
    assert_eq!(mode(&file), 0o600);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).expect("its mode can be changed");
    let before = file.metadata().expect("it is there").ino();
    server.set("n", 2_i64);
    run(&server, &["export", "-f", &link], 0);
    assert_eq!(mode(&file), 0o640, "a file that is there keeps its mode");
    assert_ne!(file.metadata().expect("it is there").ino(), before, "it was never written in place");
    assert!(std::fs::read_to_string(&file).expect("it is text").contains("value = \"2\""));
    assert!(Path::new(&link).is_symlink());
    let names: Vec<_> = folder.path().read_dir().expect("the folder").collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn an_export_that_cannot_be_done_says_why_in_one_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = TestServer::start().with("n", 1_i64);
    let here = folder.path().to_str().expect("text").to_owned();
    let table: [(&[&str], i32, &str); 5] = [
        (&["export", "-f", &here], 2, "it is no file; without --file the settings are written to stdout"),
        (&["export", "-f", "/dev/null"], 2, "it is no file"),
        (&["export", "-f", &path(&folder, "none/all.toml")], 2, "there is no folder"),
        (&["export", "pool"], 2, "`pool` is no prefix; one ends in a slash: `pool/`"),
        (&["export", "a//"], 2, "`a//` is no prefix"),
    ];
    for (words, code, why) in table {
        let (_, stderr) = run(&server, words, code);
        assert!(stderr.lines().count() == 1 && stderr.contains(why), "{words:?}: {stderr}");
    }
    server.stop();
    let file = path(&folder, "all.toml");
    let (_, stderr) = run(&server, &["export", "-f", &file], 3);
    assert!(stderr.contains("is the server running there?"), "{stderr}");
    assert!(!Path::new(&file).exists());
}
