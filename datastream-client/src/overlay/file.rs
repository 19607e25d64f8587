//! The file of overrides: a JSON object of keys and values.

use std::io;
use std::path::Path;
use std::sync::Arc;

use datastream::key::{self, shown};
use serde_json::Value;

use super::{Found, Values, held, text_of};
use crate::cache::{self, Unfit};

/// More than an operator writes by hand.
const LARGEST: u64 = 1 << 20;

/// Reads the file. Blocks.
pub(super) fn read(path: &Path) -> Found {
    match cache::read(path, LARGEST) {
        Err(Unfit::Unreadable(error)) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        bytes => bytes.map(Some),
    }
}

/// The overrides. What is no key, or has no value, is named in the log and left out.
///
/// # Errors
///
/// Where the text is no JSON; it does not hold a value. Other JSON than an object is [`Unfit`].
pub(super) fn parse(bytes: &[u8]) -> Result<Values, Box<dyn std::error::Error>> {
    let Value::Object(members) = serde_json::from_slice(bytes)? else {
        return Err(Unfit::Invalid("it is no JSON object").into());
    };
    Ok(members.into_iter().filter_map(|(key, value)| entry(&key, value)).collect())
}

fn entry(key: &str, value: Value) -> Option<(Arc<str>, super::Held)> {
    let named = shown(key);
    if let Err(why) = key::check(key) {
        tracing::warn!(key = %named, %why, "an override is not used: it has no key");
        return None;
    }
    let held = match value {
        Value::Null => {
            tracing::warn!(key = %named, "an override is not used: it has no value");
            return None;
        }
        Value::Bool(_) => held("bool", value.to_string()),
        Value::Number(ref number) if number.is_f64() => held("float", value.to_string()),
        Value::Number(_) => held("int", value.to_string()),
        Value::String(text) => text_of(&text),
        Value::Array(_) | Value::Object(_) => held("json", value.to_string()),
    };
    Some((key.into(), held))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Vec<(String, String, String)> {
        let values = parse(text.as_bytes()).expect("it is an object");
        let shown = |(key, held): (&Arc<str>, &crate::snapshot::Held)| {
            let text = String::from_utf8(held.value.to_vec()).expect("JSON is UTF-8");
            (key.to_string(), held.value_type.to_string(), text)
        };
        values.iter().map(shown).collect()
    }

    #[test]
    fn what_json_knows_has_its_type_and_a_text_has_that_of_its_reader() {
        let table = [
            ("7", "int", "7"),
            ("-7", "int", "-7"),
            ("0.5", "float", "0.5"),
            ("true", "bool", "true"),
            (r#""30s""#, "text/plain", "30s"),
            (r#"{"a": [1]}"#, "json", r#"{"a":[1]}"#),
        ];
        for (json, value_type, text) in table {
            let found = parsed(&format!(r#"{{"k": {json}}}"#));
            assert_eq!(found, [("k".to_owned(), value_type.to_owned(), text.to_owned())]);
        }
    }

    #[test]
    fn one_bad_override_harms_no_other() {
        let found = parsed(r#"{"a//b": 1, "../x": 2, "gone": null, "good": 3}"#);
        assert_eq!(found, [("good".to_owned(), "int".to_owned(), "3".to_owned())]);
    }

    #[test]
    fn what_is_no_object_is_refused_and_the_error_does_not_hold_it() {
        for bad in
            ["", "{", "[\"secret\"]", "\"secret\"", "{\"a\": secret}", "{\"a\": \"secret\" 1}", "\u{feff}{}"]
        {
            let error = parse(bad.as_bytes()).expect_err("it is no object").to_string();
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
