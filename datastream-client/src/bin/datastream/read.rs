//! `list` and `get`.

use bytes::Bytes;
use datastream_client::{Capability, Client};
use serde_json::{Value, json};

use crate::entry::Entry;
use crate::failure::Failure;
use crate::output::{Format, Output, Record, escaped};
use crate::reach;

impl Record for Capability {
    const COLUMNS: &'static [&'static str] = &["KEY", "TYPE"];

    fn cells(&self) -> Vec<String> {
        vec![self.key.clone(), self.value_type.clone()]
    }

    fn json(&self) -> Value {
        json!({ "key": self.key, "type": self.value_type })
    }
}

pub(crate) async fn list(client: &Client, prefix: Option<&str>, output: &mut Output) -> Result<(), Failure> {
    let mut all = client.capabilities().await?;
    all.retain(|capability| prefix.is_none_or(|prefix| capability.key.starts_with(prefix)));
    output.list(&all)
}

pub(crate) async fn get(client: &Client, key: &str, output: &mut Output) -> Result<(), Failure> {
    reach(client).await?;
    if key.ends_with('/') {
        return get_below(client, key, output).await;
    }
    let handle = client.watch::<Bytes>(key);
    handle.ready().await?;
    let Some(entry) = Entry::held(&client.snapshot(), key) else {
        return Err(handle.try_get().map_or_else(Failure::from, |_| {
            Failure::new(crate::Code::Other, "the key was deleted just now")
        }));
    };
    let value = entry.value.as_deref().unwrap_or_default();
    match output.format {
        Format::Json => output.json(&entry.json()),
        Format::Plain => output.raw(&[value, b"\n"].concat()),
        Format::Table => {
            // Lines stay lines; nothing else steers the terminal.
            let text = String::from_utf8_lossy(value);
            let lines: Vec<_> = text.split('\n').map(|line| escaped(line, false)).collect();
            output.raw(format!("{}\n", lines.join("\n")).as_bytes())
        }
    }
}

async fn get_below(client: &Client, prefix: &str, output: &mut Output) -> Result<(), Failure> {
    let handle = client.watch_prefix::<Bytes>(prefix);
    handle.ready().await?;
    let snapshot = client.snapshot();
    let below = snapshot.keys().filter(|key| key.starts_with(prefix));
    let entries: Vec<_> = below.filter_map(|key| Entry::held(&snapshot, key)).collect();
    output.list(&entries)
}
