//! `status`.

use datastream_client::Client;
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{Format, Output, Record};

/// One thing that a server says of itself.
struct Fact(&'static str, String);

impl Record for Fact {
    const COLUMNS: &'static [&'static str] = &["SERVER", ""];

    fn cells(&self) -> Vec<String> {
        vec![self.0.to_owned(), self.1.clone()]
    }

    fn json(&self) -> Value {
        json!({ self.0: self.1 })
    }
}

pub(crate) async fn status(client: &Client, output: &mut Output) -> Result<(), Failure> {
    let status = client.server_status().await?;
    let revision = status.position.as_ref().map(|position| position.revision);
    if output.format == Format::Json {
        return output.json(&json!({
            "version": status.version,
            "store": status.store,
            "revision": revision,
            "compacted_to": status.compacted_to,
            "keys": status.keys,
            "subscriptions": status.subscriptions,
            "source_age_ms": status.source_age.map(|age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX)),
            "history_changes": status.history_changes,
            "history_bytes": status.history_bytes,
        }));
    }
    let number = |number: u64| number.to_string();
    let optional = |known: Option<u64>| known.map_or_else(|| "-".to_owned(), number);
    output.list(&[
        Fact("version", status.version),
        Fact("store", status.store),
        Fact("revision", optional(revision)),
        Fact("compacted_to", number(status.compacted_to)),
        Fact("keys", number(status.keys)),
        Fact("subscriptions", number(status.subscriptions)),
        Fact("source_age", status.source_age.map_or_else(|| "-".to_owned(), |age| format!("{age:?}"))),
        Fact("history_changes", optional(status.history_changes)),
        Fact("history_bytes", optional(status.history_bytes)),
    ])
}
