//! `apply`: makes the settings what a file says.

mod plan;

use std::io::{BufRead as _, IsTerminal as _};

use datastream::key::shown;
use datastream_client::Client;
use serde_json::json;

use crate::args::Apply;
use crate::failure::{Code, Failure};
use crate::output::{Format, Output, Record as _};
use crate::write::send;
use crate::{file, misuse, reach};
use plan::Plan;

pub(crate) async fn apply(client: &Client, apply: Apply, output: &mut Output) -> Result<(), Failure> {
    let wanted = file::read(&apply.file)?;
    for (key, value) in &wanted {
        let named = |why| misuse(format!("{}: `{}`: {why}", apply.file.display(), shown(key)));
        value.check().map_err(named)?;
    }
    reach(client).await?;
    let plan = Plan::make(client, wanted, apply.prune.as_deref()).await?;
    if output.format != Format::Json {
        output.list(&plan.steps)?;
    }
    if let Some(key) = plan.retyped().next().filter(|_| !apply.retype) {
        let text = format!("`{key}` has another type than in the file; --retype says that you mean it");
        return Err(Failure::new(Code::Precondition, text));
    }
    let is_to_do = plan.changes() > 0 && !apply.dry_run;
    let mut revision = None;
    if is_to_do {
        confirm(apply.yes, plan.changes())?;
        revision = send(apply.note.on(plan.commit(client))).await?;
    }
    let text = match (plan.changes(), revision) {
        (0, _) => "nothing to change".to_owned(),
        (changes, Some(revision)) => format!("{changes} changed, at revision {revision}"),
        (changes, None) if is_to_do => format!("{changes} changed"),
        (changes, None) => format!("{changes} to change; nothing was done"),
    };
    let steps: Vec<_> = plan.steps.iter().map(plan::Step::json).collect();
    let json = json!({ "plan": steps, "applied": is_to_do, "revision": revision });
    output.done(&json, &text)
}

/// Asks whether the plan is to be done.
fn confirm(is_said: bool, changes: usize) -> Result<(), Failure> {
    if is_said {
        return Ok(());
    }
    let stdin = std::io::stdin();
    if !stdin.is_terminal() || !std::io::stderr().is_terminal() {
        return Err(misuse("there is nobody to ask; --yes applies it, --dry-run only shows it"));
    }
    anstream::eprint!("Make these {changes} changes? [y/N] ");
    let mut answer = String::new();
    stdin.lock().read_line(&mut answer)?;
    match answer.trim() {
        "y" | "Y" | "yes" => Ok(()),
        _ => Err(Failure::new(Code::Other, "nothing was done")),
    }
}
