//! A file of settings, as it is read: nested tables are keys, and values have the types of what is written.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use datastream::key::{self, shown};
use datastream::value::{self, ValueType};
use toml::{Table, Value};

use crate::args::value_type;
use crate::failure::Failure;
use crate::misuse;

/// What a key is to hold.
pub(crate) struct Wanted {
    pub(crate) value_type: String,
    pub(crate) text: Bytes,
}

impl Wanted {
    /// Whether a server would take it, or which rule it breaks.
    pub(crate) fn check(&self) -> Result<(), String> {
        value_type(&self.value_type)?;
        value::check(&self.value_type, &self.text).map(drop).map_err(|error| error.to_string())
    }
}

/// What stands for stdin or stdout instead of a file.
pub(crate) const STANDARD: &str = "-";

/// Reads a file: JSON by its name, otherwise TOML; `-` is what comes in, which is JSON if it begins with a brace.
/// The values are not checked.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<String, Wanted>, Failure> {
    let is_stdin = path.as_os_str() == STANDARD;
    let wrong = |why: String| {
        misuse(format!("{}: {why}", if is_stdin { "stdin".into() } else { path.display().to_string() }))
    };
    let text = if is_stdin { read_stdin() } else { std::fs::read_to_string(path) };
    let text = text.map_err(|error| match error.kind() {
        ErrorKind::InvalidData => wrong("it is no text in UTF-8; save it as that".to_owned()),
        _ => wrong(error.to_string()),
    })?;
    // Some editors put this mark before a text.
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let is_json = match path.extension() {
        Some(extension) => extension == "json",
        None => is_stdin && text.trim_start().starts_with('{'),
    };
    let table = if is_json { parse_json(text) } else { parse_toml(text) };
    let mut wanted = BTreeMap::new();
    flatten("", table.map_err(wrong)?, &mut wanted).map_err(wrong)?;
    Ok(wanted)
}

fn read_stdin() -> std::io::Result<String> {
    let mut text = String::new();
    std::io::stdin().lock().read_to_string(&mut text)?;
    Ok(text)
}

/// What TOML can hold is what a file may say: no null, and whole numbers of 64 bits.
fn parse_json(text: &str) -> Result<Table, String> {
    let wrong =
        |error: serde_json::Error| format!("no JSON as it is wanted: {}", without_value(&error.to_string()));
    serde_json::from_str(text).map_err(wrong)
}

fn parse_toml(text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let why: Vec<_> = error.message().lines().collect();
        format!("no TOML in line {line}: {}", without_value(&why.join(", ")))
    })
}

/// A message of a parser without the value that it shows, which nobody may log.
fn without_value(message: &str) -> String {
    let parts = message.strip_prefix("invalid type: ").and_then(|rest| rest.rsplit_once(", expected "));
    match parts {
        Some((found, wanted)) => {
            let kind = found.split(['"', '`']).next().unwrap_or_default().trim_end();
            format!("invalid type: {kind}, expected {wanted}")
        }
        None => message.to_owned(),
    }
}

/// Puts what a table holds below `prefix`.
fn flatten(prefix: &str, table: Table, wanted: &mut BTreeMap<String, Wanted>) -> Result<(), String> {
    for (name, value) in table {
        let key = format!("{prefix}{name}");
        match value {
            Value::Table(table) if !is_typed(&table) => flatten(&format!("{key}/"), table, wanted)?,
            value => {
                let named = |why: String| format!("`{}`: {why}", shown(&key));
                key::check(&key).map_err(|error| named(format!("no key: {error}")))?;
                let value = wanted_value(value).map_err(named)?;
                if wanted.insert(key.clone(), value).is_some() {
                    return Err(format!("`{}` is there twice", shown(&key)));
                }
            }
        }
    }
    Ok(())
}

/// Whether a table is a value with its type.
fn is_typed(table: &Table) -> bool {
    let has_value = table.contains_key("value") || table.get("base64").is_some_and(Value::is_str);
    table.len() == 2 && has_value && table.get("type").is_some_and(Value::is_str)
}

fn wanted_value(value: Value) -> Result<Wanted, String> {
    let (value_type, text) = match value {
        Value::Table(table) => return typed_value(table),
        Value::Array(_) => ("json", to_json(value).to_string()),
        Value::Datetime(_) => ("timestamp", scalar(value)?),
        Value::Integer(_) => ("int", scalar(value)?),
        Value::Float(_) => ("float", scalar(value)?),
        Value::Boolean(_) => ("bool", scalar(value)?),
        Value::String(text) => ("string", text),
    };
    Ok(Wanted { value_type: value_type.to_owned(), text: text.into() })
}

/// A value that is written with its type: as text, or as base64 if it is no text.
fn typed_value(mut table: Table) -> Result<Wanted, String> {
    let mut member = |name| table.remove(name);
    let (Some(Value::String(value_type)), value, base64) =
        (member("type"), member("value"), member("base64"))
    else {
        return Err("a value is written as { type = …, value = … }".to_owned());
    };
    let text = match (value, base64) {
        (Some(value), _) => text_of(&value_type, value)?.into(),
        (None, Some(Value::String(text))) => {
            BASE64_STANDARD.decode(text).map_err(|error| format!("no base64: {error}"))?.into()
        }
        _ => return Err("base64 is written as a string".to_owned()),
    };
    Ok(Wanted { value_type, text })
}

/// The text of a value whose type is named.
fn text_of(value_type: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        value if ValueType::named(value_type) == Some(ValueType::Json) => Ok(to_json(value).to_string()),
        value => scalar(value),
    }
}

fn scalar(value: Value) -> Result<String, String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(truth) => Ok(truth.to_string()),
        Value::Datetime(time) => Ok(time.to_string()),
        Value::Float(number) => {
            let text = value::encode(&number).map_err(|error| error.to_string())?;
            Ok(String::from_utf8_lossy(&text).into_owned())
        }
        Value::Array(_) | Value::Table(_) => Err("only a json is written as a list or a table".to_owned()),
    }
}

fn to_json(value: Value) -> serde_json::Value {
    match value {
        Value::String(text) => text.into(),
        Value::Integer(number) => number.into(),
        Value::Float(number) => number.into(),
        Value::Boolean(truth) => truth.into(),
        Value::Datetime(time) => time.to_string().into(),
        Value::Array(items) => items.into_iter().map(to_json).collect(),
        Value::Table(table) => table.into_iter().map(|(name, value)| (name, to_json(value))).collect(),
    }
}
