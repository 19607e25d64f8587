//! JSON: its grammar, trees and typed values.

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt;

use bytes::Bytes;
use serde::Serialize;
use serde::de::{
    Deserialize, DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};

use super::{Value, ValueError, ValueType, scalar, text};

/// How deep arrays and objects may lie in each other.
const MAX_DEPTH: usize = 64;

const SYNTAX: &str = "JSON in UTF-8, with numbers in the range of a float, and nothing after it";
const DEEP: &str = "arrays and objects at most 64 deep";
const TWICE: &str = "no object with the same member twice";

/// A value of a type of the application that serde reads from JSON and writes as JSON.
///
/// What serde says about a JSON that does not fit is not shown, because it may repeat the value: the error
/// names the line and the column.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Json<T>(
    /// What the JSON means.
    pub T,
);

/// Checks a `json`.
pub(super) fn check(text: &[u8]) -> Result<(), ValueError> {
    let rule = Cell::new(SYNTAX);
    let mut json = serde_json::Deserializer::from_slice(text);
    let checked = Check { depth: 0, rule: &rule }.deserialize(&mut json).and_then(|()| json.end());
    checked.map_err(|error| ValueError::Json { rule: rule.get(), line: error.line(), column: error.column() })
}

/// Walks a JSON at some depth. The rule that it breaks travels beside serde's error, whose text may repeat
/// the value.
#[derive(Clone, Copy)]
struct Check<'a> {
    depth: usize,
    rule: &'a Cell<&'static str>,
}

impl Check<'_> {
    /// The check of what lies one level deeper.
    fn deeper<E: Error>(self) -> Result<Self, E> {
        if self.depth == MAX_DEPTH {
            Err(self.broken(DEEP))
        } else {
            Ok(Self { depth: self.depth + 1, ..self })
        }
    }

    fn broken<E: Error>(self, rule: &'static str) -> E {
        self.rule.set(rule);
        E::custom(rule)
    }
}

impl<'de> DeserializeSeed<'de> for Check<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Check<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let item = self.deeper()?;
        while items.next_element_seed(item)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let value = self.deeper()?;
        let mut names = HashSet::new();
        while let Some(name) = members.next_key::<String>()? {
            if !names.insert(name) {
                return Err(self.broken(TWICE));
            }
            members.next_value_seed(value)?;
        }
        Ok(())
    }
}

impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> Value for Json<T> {
    const READS: &'static [ValueType] = &[ValueType::Json];
    const WRITES: ValueType = ValueType::Json;

    fn from_text(_: ValueType, text: &Bytes) -> Result<Self, ValueError> {
        parse(text).map(Self)
    }

    /// JSON has no `NaN` and no infinity: `null` would be written for them, which is no number to who reads it.
    fn to_text(&self) -> Result<Bytes, ValueError> {
        let text = write(&self.0)?;
        let read_again = parse::<T>(&text);
        read_again.map_err(|_| ValueError::refused::<T>("what is written of it as JSON cannot be read"))?;
        Ok(text)
    }
}

impl Value for serde_json::Value {
    const READS: &'static [ValueType] =
        &[ValueType::Int, ValueType::Float, ValueType::Bool, ValueType::String, ValueType::Json];
    const WRITES: ValueType = ValueType::Json;

    fn from_text(value_type: ValueType, text: &Bytes) -> Result<Self, ValueError> {
        match value_type {
            ValueType::Int => scalar::int(text).map(Self::from),
            ValueType::Float => scalar::float(text).map(Self::from),
            ValueType::Bool => scalar::truth(text).map(Self::from),
            ValueType::String => text::utf8(text).map(Self::from),
            _ => parse(text),
        }
    }

    fn to_text(&self) -> Result<Bytes, ValueError> {
        write(self)
    }
}

fn parse<'de, T: Deserialize<'de>>(text: &'de [u8]) -> Result<T, ValueError> {
    serde_json::from_slice(text).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        ValueError::refused::<T>(format!("the JSON does not fit it at line {line}, column {column}"))
    })
}

fn write<T: Serialize>(value: &T) -> Result<Bytes, ValueError> {
    let text = serde_json::to_vec(value);
    text.map(Bytes::from).map_err(|_| ValueError::refused::<T>("it cannot be written as JSON"))
}
