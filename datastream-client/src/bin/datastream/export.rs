//! `export`: all settings as one file.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use datastream::key::shown;
use datastream_client::{ClientBuilder, Held};
use serde_json::json;

use crate::args::{Export, FileFormat};
use crate::failure::{Code, Failure};
use crate::file::STANDARD;
use crate::output::{Format, Output, say};
use crate::progress;
use crate::replace::Target;
use crate::whole::{self, Whole};

/// How a file begins that may hold comments.
const HEADER: &str = "\
# Settings of a datastream server. `datastream import FILE` writes them to any other.
# Each line is a key with its type and its value, as text, or as base64 if it is no text.
";

pub(crate) async fn export(
    server: &ClientBuilder,
    mut export: Export,
    output: &mut Output,
) -> Result<(), Failure> {
    export.file = export.file.filter(|file| file.as_os_str() != STANDARD);
    let format = format(&export, output.format);
    let target = export.file.as_deref().map(Target::at).transpose()?;
    let prefix = export.prefix.as_deref();
    prefix.map_or(Ok(()), whole::check_prefix)?;
    let whole = progress::during("reading the settings", whole::read(server, prefix)).await?;
    let text = match format {
        FileFormat::Toml => toml(&whole.settings),
        FileFormat::Json => json(&whole.settings),
    };
    // Whoever does not read the one is told the other, here and below.
    let Some(target) = target else {
        let written = output.raw(text.as_bytes());
        return report(&whole).and(written);
    };
    target.replace(text.as_bytes())?;
    let count = whole.settings.len();
    let revision = whole.position.as_ref().map(|position| position.revision);
    let at = revision.map(|revision| format!(", as of revision {revision}")).unwrap_or_default();
    let json = json!({ "exported": count, "revision": revision });
    let told = output.done(&json, &format!("{count} exported{at}"));
    report(&whole).and(told)
}

/// Names what the server lists and no file can hold.
fn report(whole: &Whole) -> Result<(), Failure> {
    for (key, rule) in &whole.left_out {
        say(format_args!("left out: {}: {rule}", shown(key)));
    }
    match whole.left_out.len() {
        0 => Ok(()),
        count => Err(Failure::new(Code::Other, format!("{count} left out, for the reasons above"))),
    }
}

fn format(export: &Export, output: Format) -> FileFormat {
    let is_json = match export.file.as_deref().and_then(Path::extension) {
        Some(extension) => extension == "json",
        None => export.file.is_none() && output == Format::Json,
    };
    export.format.unwrap_or(if is_json { FileFormat::Json } else { FileFormat::Toml })
}

/// Settings by their keys.
type Settings = BTreeMap<String, Arc<Held>>;

fn toml(settings: &Settings) -> String {
    let mut text = HEADER.to_owned();
    for (key, held) in settings {
        let (name, value) = value(held);
        let (key, value_type, value) = (toml_string(key), toml_string(&held.value_type), toml_string(&value));
        _ = writeln!(text, "{key} = {{ type = {value_type}, {name} = {value} }}");
    }
    text
}

fn json(settings: &Settings) -> String {
    let line = |(key, held): (&String, &Arc<Held>)| {
        let (name, value) = value(held);
        let (key, value_type, value) = (json_string(key), json_string(&held.value_type), json_string(&value));
        format!("  {key}: {{ \"type\": {value_type}, \"{name}\": {value} }}")
    };
    match settings.is_empty() {
        true => "{}\n".to_owned(),
        false => format!("{{\n{}\n}}\n", settings.iter().map(line).collect::<Vec<_>>().join(",\n")),
    }
}

/// A value, and the name under which it stands.
fn value(held: &Held) -> (&'static str, String) {
    match str::from_utf8(&held.value) {
        Ok(text) => ("value", text.to_owned()),
        Err(_) => ("base64", BASE64_STANDARD.encode(&held.value)),
    }
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// A string of TOML is one of JSON, but for one character that must be escaped there.
fn toml_string(text: &str) -> String {
    json_string(text).replace('\u{7f}', "\\u007f")
}
