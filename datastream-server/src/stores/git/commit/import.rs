//! A commit is written beside the branch: all of it is one stream that git reads.

use std::time::{SystemTime, UNIX_EPOCH};

use datastream::key::shown;

use super::plan::Plan;
use crate::operation::Commit;
use crate::stores::git::branch::Branch;
use crate::stores::git::command::Failure;
use crate::stores::git::log::Kind;
use crate::stores::git::object::Oid;
use crate::stores::git::origin::HERE;
use crate::stores::git::request;
use crate::stores::types_file;

/// Who commits where nobody said so. Without an address: nobody is meant.
pub(in crate::stores::git) const NOBODY: &str = "datastream";
/// How many keys the message names where the caller gave none.
const NAMED: usize = 3;
/// Where fast-import puts a commit until the branch moves to it.
const PENDING: &str = "refs/datastream-pending/commit";
/// What fast-import leaves behind when it fails; it names both.
const LEFT: [(&str, &str); 2] = [("fast_import_crash_", "."), ("tmp_pack_", "objects/pack")];

impl Branch {
    /// Writes the commit beside the branch.
    pub(super) async fn write(&self, plan: &Plan, commit: &Commit) -> Result<Oid, Failure> {
        let stream = stream(plan, commit);
        let import = ["fast-import", "--quiet", "--date-format=raw", "--force"];
        let written = self.origin.git.run_with(&import, &stream, HERE * 4).await;
        let written = written.inspect_err(|failure| self.clear(&failure.to_string()))?;
        String::from_utf8_lossy(&written).trim().parse()
    }

    /// Takes away what a failed fast-import left, which would only fill the disk.
    fn clear(&self, said: &str) {
        for (begins, folder) in LEFT {
            let named = said.match_indices(begins).map(|(at, _)| &said[at..]);
            for name in
                named.filter_map(|rest| rest.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next())
            {
                // It may be gone, or never have been there.
                let _ = std::fs::remove_file(self.origin.git.folder().join(folder).join(name));
            }
        }
    }
}

/// What fast-import reads: a commit, the question for its name, and the end of the ref that it needs for a moment.
fn stream(plan: &Plan, commit: &Commit) -> Vec<u8> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let message = message(plan, commit);
    let mut stream = format!(
        "commit {PENDING}\nmark :1\nauthor {} {now} +0000\ncommitter {NOBODY} <> {now} +0000\ndata {}\n{message}\n",
        author(&commit.author),
        message.len(),
    )
    .into_bytes();
    if let Some(base) = plan.base {
        stream.extend_from_slice(format!("from {base}\n").as_bytes());
    }
    // First what goes: a folder may take the place of a file.
    for (path, _) in plan.files.iter().filter(|(_, file)| file.is_none()) {
        stream.extend_from_slice(format!("D {}\n", quoted(path)).as_bytes());
    }
    for (path, file) in &plan.files {
        let Some((kind, bytes)) = file else { continue };
        let mode = if *kind == Kind::Executable { "100755" } else { "100644" };
        stream.extend_from_slice(
            format!("M {mode} inline {}\ndata {}\n", quoted(path), bytes.len()).as_bytes(),
        );
        stream.extend_from_slice(bytes);
        stream.push(b'\n');
    }
    let nothing = "0".repeat(plan.base.map_or(40, |base| base.bytes().len() * 2));
    stream.extend_from_slice(format!("\nget-mark :1\nreset {PENDING}\nfrom {nothing}\n\n").as_bytes());
    stream
}

/// `Name <address>`, whatever was given.
fn author(given: &str) -> String {
    let clean = |text: &str| {
        let text: String =
            text.chars().map(|c| if c.is_control() || "<>".contains(c) { ' ' } else { c }).collect();
        text.trim().to_owned()
    };
    let (name, address) = given.split_once('<').unwrap_or((given, ""));
    let (name, address) = (clean(name), clean(address));
    if name.is_empty() { format!("{NOBODY} <{address}>") } else { format!("{name} <{address}>") }
}

fn message(plan: &Plan, commit: &Commit) -> String {
    let given = commit.message.replace('\0', " ");
    let text = if given.trim().is_empty() { summary(plan) } else { request::without(given.trim_end()) };
    let request = commit.request.as_ref().map(|request| format!("\n{}", request::trailer(request)));
    format!("{text}\n{}", request.unwrap_or_default())
}

/// `Set a, b and 3 more`.
fn summary(plan: &Plan) -> String {
    let keys: Vec<_> = plan.files.iter().filter(|(path, _)| path != types_file::NAME).collect();
    let verb = if keys.iter().all(|(_, file)| file.is_none()) { "Delete" } else { "Set" };
    let named: Vec<_> = keys.iter().take(NAMED).map(|(path, _)| shown(path).to_string()).collect();
    let more = keys.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{verb} {}{more}", named.join(", "))
}

/// As fast-import reads a path. A key holds neither a line end nor a backslash.
fn quoted(path: &str) -> String {
    format!("\"{}\"", path.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_author_is_a_name_and_an_address_whatever_was_given() {
        for (given, written) in [
            ("ada", "ada <>"),
            ("Ada L <ada@x>", "Ada L <ada@x>"),
            ("", "datastream <>"),
            ("a\nb> <c", "a b <c>"),
            ("<x@y>", "datastream <x@y>"),
        ] {
            assert_eq!(author(given), written);
        }
    }
}
