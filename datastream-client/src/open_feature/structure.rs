//! A JSON object as a structure of OpenFeature.

use datastream::value::{Json, ValueError};
use open_feature::{StructValue, Value};
use serde_json::Map;

use crate::cell;
use crate::snapshot::Held;

/// Reads a setting of the type `json` that is an object.
pub(super) fn decode(held: &Held) -> Result<StructValue, ValueError> {
    cell::decode::<Json<Map<String, serde_json::Value>>>(held).and_then(|json| structure(json.0))
}

/// OpenFeature knows no null: a member that is null is left out.
fn structure(members: Map<String, serde_json::Value>) -> Result<StructValue, ValueError> {
    let present = members.into_iter().filter(|(_, member)| !member.is_null());
    let fields = present.map(|(name, member)| Ok((name, value(member)?)));
    fields.collect::<Result<_, _>>().map(|fields| StructValue { fields })
}

fn value(json: serde_json::Value) -> Result<Value, ValueError> {
    Ok(match json {
        serde_json::Value::Null => {
            return Err(ValueError::refused::<StructValue>("an array has no null: OpenFeature knows none"));
        }
        serde_json::Value::Bool(truth) => Value::Bool(truth),
        serde_json::Value::Number(number) => match number.as_i64() {
            Some(int) => Value::Int(int),
            // What is above 64 bits with a sign becomes the nearest float; the grammar lets only finite ones pass.
            None => Value::Float(number.as_f64().unwrap_or(f64::MAX)),
        },
        serde_json::Value::String(text) => Value::String(text),
        serde_json::Value::Array(items) => {
            Value::Array(items.into_iter().map(value).collect::<Result<_, _>>()?)
        }
        serde_json::Value::Object(members) => Value::Struct(structure(members)?),
    })
}
