//! `history`.

use std::time::SystemTime;

use datastream_client::{Client, HistoryEntry, Value as _};
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde_json::{Value, json};

use crate::entry::{json_value, shown};
use crate::failure::{Code, Failure};
use crate::output::{Output, Record, escaped};

impl Record for HistoryEntry {
    const COLUMNS: &'static [&'static str] =
        &["REVISION", "TIME", "KEY", "TYPE", "VALUE", "AUTHOR", "MESSAGE"];

    fn cells(&self) -> Vec<String> {
        vec![
            self.revision.to_string(),
            time(self.time),
            self.key.clone(),
            self.value_type.clone(),
            shown(self.value.as_deref()),
            self.author.clone(),
            self.message.clone(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "revision": self.revision,
            "time": time(self.time),
            "key": self.key,
            "type": self.value_type,
            "value": json_value(&self.value_type, self.value.as_deref()),
            "deleted": self.value.is_none(),
            "author": self.author,
            "message": self.message,
        })
    }
}

pub(crate) async fn history(
    client: &Client,
    key: &str,
    limit: usize,
    output: &mut Output,
) -> Result<(), Failure> {
    let changes: Vec<_> = client.history(key).take(limit).try_collect().await?;
    if changes.is_empty() && limit > 0 {
        let text = format!("the server remembers no change of `{}`", escaped(key, false));
        return Err(Failure::new(
            Code::Other,
            format!("{text}; `datastream list` shows the keys that exist"),
        ));
    }
    output.list(&changes)
}

/// A time as a timestamp is written.
fn time(time: Option<SystemTime>) -> String {
    let text = time.and_then(|time| time.to_text().ok());
    text.map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}
