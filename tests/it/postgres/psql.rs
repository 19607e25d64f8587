//! SQL as anybody can send it: by the program `psql`.

use std::fs::File;
use std::io::{Seek as _, Write as _};

use super::wait::DEADLINE;

use super::programs;

/// Runs statements, each in a transaction of its own unless they say otherwise, up to the first that fails. Returns
/// what they answer, a row in a line and `|` between columns; or else what `psql` complains about.
pub(crate) fn psql(url: &str, sql: &str) -> Result<String, String> {
    let mut command = programs::command(&programs::postgres("psql"));
    command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
    command.args(["--file=-", "--dbname", url]).stdin(script(sql));
    command.env("PGCONNECT_TIMEOUT", DEADLINE.as_secs().to_string());
    let output = command.output().expect("psql can be run");
    let text = |bytes| String::from_utf8(bytes).expect("it writes UTF-8").trim_end().to_owned();
    if output.status.success() { Ok(text(output.stdout)) } else { Err(text(output.stderr)) }
}

/// A file, because who writes to a pipe must read the answers at the same time.
fn script(sql: &str) -> File {
    let mut script = tempfile::tempfile().expect("a file");
    script.write_all(sql.as_bytes()).and_then(|()| script.rewind()).expect("it can be written");
    script
}

/// The answer, where there must be one.
pub(super) fn expected(sql: &str, answer: Result<String, String>) -> String {
    answer.unwrap_or_else(|error| panic!("{sql}: {error}"))
}
