//! What the database holds in the end, by SQL.

use std::collections::BTreeMap;

use crate::postgres::Database;

/// The laws of the log. Each counts what breaks it.
const LAWS: [(&str, &str); 8] = [
    ("the first revision is 1", "SELECT abs(min(revision) - 1) FROM datastream.token"),
    ("no revision is left out", "SELECT max(revision) - count(*) FROM datastream.token"),
    ("a transaction has one revision", "SELECT count(*) - count(DISTINCT transaction) FROM datastream.token"),
    (
        "revisions are in the order of commits",
        "SELECT count(*) FROM (
           SELECT made, lag(made) OVER (ORDER BY revision) AS before
           FROM (SELECT revision, pg_xact_commit_timestamp(transaction::xid) AS made FROM datastream.token) AS commits
         ) AS commits WHERE made IS NULL OR made < before",
    ),
    (
        "a change is of a revision",
        "SELECT count(*) FROM datastream.log LEFT JOIN datastream.token USING (revision) WHERE token IS NULL",
    ),
    (
        "the table is what the log makes of nothing",
        "SELECT count(*) FROM data FULL JOIN (
           SELECT * FROM (SELECT DISTINCT ON (key) key, value, type FROM datastream.log ORDER BY key, revision DESC)
             AS latest WHERE value IS NOT NULL
         ) AS logged ON logged.key = data.key
         WHERE (data.value, data.value_type) IS DISTINCT FROM (logged.value, logged.type)",
    ),
    (
        "no change had to be found by a comparison",
        "SELECT count(*) FROM datastream.log WHERE author = 'datastream'",
    ),
    (
        "what was rolled back is in no log",
        "SELECT count(*) FROM datastream.log WHERE value IN ('rolled back', 'not yet')",
    ),
];

/// The revisions that have not just one key that is a commit's own, and what they have.
const NOT_ONCE: &str = "SELECT token.revision, string_agg(concat_ws(' ', key, author, request_id), ', ')
  FROM datastream.token LEFT JOIN datastream.log USING (revision) WHERE token.revision > 1
  GROUP BY token.revision HAVING count(*) FILTER (WHERE key LIKE 'own/%') <> 1";

/// Checks each law of the log.
pub(super) fn check(database: &Database) {
    for (law, broken) in LAWS {
        assert_eq!(database.psql(broken), "0", "{law}");
    }
}

/// Checks that there is a revision for each of so many commits, and no other; but a push without an answer may have been
/// made, and was then made again, and changed only what others had changed meanwhile.
pub(super) fn check_once(database: &Database, commits: u64, unanswered: u64) {
    let not_once = database.psql(NOT_ONCE);
    let others = not_once.lines().count() as u64;
    assert!(
        others <= unanswered,
        "{unanswered} pushes had no answer, and these are not of one commit: {not_once}"
    );
    assert_eq!(head(database), commits + others + 1, "a revision for each commit, and the genesis");
}

/// The newest revision.
pub(super) fn head(database: &Database) -> u64 {
    let head = database.psql("SELECT max(revision) FROM datastream.token");
    head.parse().expect("it is a number")
}

/// The value of each key of the table.
pub(super) fn table(database: &Database) -> BTreeMap<String, Vec<u8>> {
    let rows = database.psql("SELECT key, convert_from(value, 'UTF8') FROM data");
    let row = |line: &str| {
        let (key, value) = line.split_once('|').expect("two columns");
        (key.to_owned(), value.as_bytes().to_vec())
    };
    rows.lines().map(row).collect()
}

/// Checks what the database says of those who waited in a circle: nobody waited there for anything of ours, and none of
/// them was ours. Returns how many circles there were.
pub(super) fn check_deadlocks(database: &Database) -> usize {
    let ours = database.psql("SELECT oid FROM pg_class WHERE relnamespace = 'datastream'::regnamespace");
    let log = database.cluster().log();
    let lines: Vec<_> = log.lines().collect();
    let circles = lines.iter().enumerate().filter(|(_, line)| line.contains("ERROR:  deadlock detected"));
    let reports = circles.map(|(at, _)| report(&lines[at..]));
    let check = |report: String| {
        let names_ours = |oid: &str| report.contains(&format!("on relation {oid} of database"));
        let is_ours = ["datastream.", "datastream-server"].iter().any(|name| report.contains(name));
        assert!(!is_ours && !ours.lines().any(names_ours), "a deadlock through us: {report}");
    };
    reports.map(check).count()
}

/// What a process has written by these lines, until another one writes.
fn report(lines: &[&str]) -> String {
    let process = lines[0].split_whitespace().find(|word| word.starts_with('[')).expect("it has a prefix");
    let is_its = |line: &&&str| line.starts_with('\t') || line.contains(process);
    lines.iter().take_while(is_its).copied().collect::<Vec<_>>().join("\n")
}
