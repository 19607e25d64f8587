//! A setting, as it is written.

use datastream_client::{Snapshot, ValueType};
use serde_json::{Value, json};

use crate::output::Record;

/// A key with what it holds.
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) value_type: String,
    pub(crate) revision: u64,
    /// `None` once it is deleted.
    pub(crate) value: Option<Vec<u8>>,
}

impl Entry {
    /// What a snapshot holds of a key.
    pub(crate) fn held(snapshot: &Snapshot, key: &str) -> Option<Self> {
        let held = snapshot.held(key)?;
        Some(Self {
            key: key.to_owned(),
            value_type: held.value_type.clone().into_owned(),
            revision: held.revision,
            value: Some(held.value.to_vec()),
        })
    }
}

impl Record for Entry {
    const COLUMNS: &'static [&'static str] = &["KEY", "TYPE", "REVISION", "VALUE"];

    fn cells(&self) -> Vec<String> {
        let value = shown(self.value.as_deref());
        vec![self.key.clone(), self.value_type.clone(), self.revision.to_string(), value]
    }

    fn json(&self) -> Value {
        json!({
            "key": self.key,
            "type": self.value_type,
            "revision": self.revision,
            "value": json_value(&self.value_type, self.value.as_deref()),
            "deleted": self.value.is_none(),
        })
    }
}

/// The text of a value, for a cell.
pub(crate) fn shown(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "(deleted)".to_owned(), |value| String::from_utf8_lossy(value).into_owned())
}

/// A value as JSON: numbers, truth values and JSON as such, all else as a string; bytes that are no text as
/// `{"hex": "…"}`.
pub(crate) fn json_value(value_type: &str, value: Option<&[u8]>) -> Value {
    let Some(value) = value else { return Value::Null };
    let is_json = ValueType::named(value_type).is_some_and(|value_type| {
        matches!(value_type, ValueType::Int | ValueType::Float | ValueType::Bool | ValueType::Json)
    });
    let as_json = is_json.then(|| serde_json::from_slice(value).ok()).flatten();
    as_json.unwrap_or_else(|| match str::from_utf8(value) {
        Ok(text) => text.into(),
        Err(_) => json!({ "hex": value.iter().map(|byte| format!("{byte:02x}")).collect::<String>() }),
    })
}
