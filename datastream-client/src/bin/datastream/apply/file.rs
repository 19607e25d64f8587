//! The file that is applied: nested tables are keys, and values have the types of what is written.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use datastream::key::{self, shown};
use datastream::value::{self, ValueType};
use toml::{Table, Value};

use crate::args::value_type;
use crate::failure::Failure;
use crate::misuse;

/// What a key is to hold.
pub(super) struct Wanted {
    pub(super) value_type: String,
    pub(super) text: Bytes,
}

/// Reads a file: JSON by its name, otherwise TOML.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, Wanted>, Failure> {
    let wrong = |why: String| misuse(format!("{}: {why}", path.display()));
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    let table = match path.extension() {
        Some(extension) if extension == "json" => {
            // What TOML can hold is what a file may say: no null, and whole numbers of 64 bits.
            serde_json::from_str(&text).map_err(|error| wrong(format!("no JSON as it is wanted: {error}")))?
        }
        _ => parse_toml(&text).map_err(wrong)?,
    };
    let mut wanted = BTreeMap::new();
    flatten("", table, &mut wanted).map_err(wrong)?;
    Ok(wanted)
}

fn parse_toml(text: &str) -> Result<Table, String> {
    text.parse().map_err(|error: toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let why: Vec<_> = error.message().lines().collect();
        format!("no TOML in line {line}: {}", why.join(", "))
    })
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
    table.len() == 2 && table.contains_key("value") && table.get("type").is_some_and(Value::is_str)
}

fn wanted_value(value: Value) -> Result<Wanted, String> {
    let (named, text) = match value {
        Value::Table(mut table) => {
            let name = table.remove("type").and_then(|name| name.as_str().map(str::to_owned));
            let (name, value) =
                name.zip(table.remove("value")).ok_or("a value is written as { type = …, value = … }")?;
            let name = value_type(&name)?;
            let text = text_of(&name, value)?;
            (name, text)
        }
        Value::Array(_) => ("json".to_owned(), to_json(value).to_string()),
        Value::Datetime(_) => ("timestamp".to_owned(), scalar(value)?),
        Value::Integer(_) => ("int".to_owned(), scalar(value)?),
        Value::Float(_) => ("float".to_owned(), scalar(value)?),
        Value::Boolean(_) => ("bool".to_owned(), scalar(value)?),
        Value::String(text) => ("string".to_owned(), text),
    };
    value::check(&named, text.as_bytes()).map_err(|error| error.to_string())?;
    Ok(Wanted { value_type: named, text: text.into() })
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
