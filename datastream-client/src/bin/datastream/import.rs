//! `import`: writes what a file says, whatever is refused of it.

mod writer;

use std::sync::Arc;

use datastream::value::same_type;
use datastream_client::{ClientBuilder, Held};
use serde_json::json;

use crate::args::Import;
use crate::failure::{Code, Failure};
use crate::output::{Output, escaped, say};
use crate::whole::{self, Whole};
use crate::{file, progress};
use writer::{Refused, Setting, Writer};

/// How many refused keys are named; more are counted.
const NAMED: usize = 20;

pub(crate) async fn import(
    server: &ClientBuilder,
    import: Import,
    output: &mut Output,
) -> Result<(), Failure> {
    let wanted = file::read(&import.file)?;
    // A server of the original has no commits: say so before anything else.
    let client = server.clone().connect();
    client.server_status().await?;
    let keys = wanted.keys().map(String::as_str);
    let whole = progress::during("reading the settings", whole::read_keys(server, keys)).await?;
    let mut sorted = Sorted::default();
    for (key, wanted) in wanted {
        sorted.add(&whole, Setting { key, wanted, is_new: false, is_retyped: false }, import.retype);
    }
    let mut writer = Writer::new(&client, import.note, sorted.to_write.len());
    writer.write_all(&sorted.to_write).await?;
    sorted.refused.append(&mut writer.refused);
    let (new, changed, equal) = (writer.new, writer.changed, sorted.equal);
    let all: Vec<_> = sorted.refused.iter().map(Refused::json).collect();
    let json = json!({ "new": new, "changed": changed, "equal": equal, "refused": all });
    let told = output.done(&json, &format!("{new} new, {changed} changed, {equal} equal"));
    // Whoever does not read the one is told the other.
    report(&sorted.refused).and(told)
}

/// The settings of a file, by what is to become of them.
#[derive(Default)]
struct Sorted {
    to_write: Vec<Setting>,
    equal: usize,
    refused: Vec<Refused>,
}

impl Sorted {
    /// Compares a setting with what the server has. What can only be refused is not sent.
    fn add(&mut self, whole: &Whole, mut setting: Setting, may_retype: bool) {
        let held = whole.settings.get(&setting.key);
        let wanted = &setting.wanted;
        let is_equal = |held: &&Arc<Held>| held.value == wanted.text && held.value_type == wanted.value_type;
        if held.filter(is_equal).is_some() {
            return self.equal += 1;
        }
        setting.is_new = held.is_none();
        setting.is_retyped =
            held.is_some_and(|held| !same_type(&held.value_type, &setting.wanted.value_type));
        let reason = match setting.wanted.check() {
            Err(reason) => reason,
            Ok(()) if setting.is_retyped && !may_retype => {
                "it has another type at the server; --retype says that you mean it".to_owned()
            }
            Ok(()) => return self.to_write.push(setting),
        };
        self.refused.push(Refused { key: setting.key, reason });
    }
}

/// Names what was refused.
fn report(refused: &[Refused]) -> Result<(), Failure> {
    if refused.is_empty() {
        return Ok(());
    }
    for Refused { key, reason } in refused.iter().take(NAMED) {
        say(format_args!("refused: {}: {reason}", escaped(key, false)));
    }
    if let Some(more) = refused.len().checked_sub(NAMED).filter(|more| *more > 0) {
        say(format_args!("refused: {more} more"));
    }
    Err(Failure::new(
        Code::Other,
        format!("{} refused, for the reasons above; all others are written", refused.len()),
    ))
}
