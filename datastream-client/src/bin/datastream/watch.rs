//! `watch`.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use datastream_client::{Client, Held, Snapshot, State, Unavailable};
use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt as _};

use crate::entry::Entry;
use crate::failure::Failure;
use crate::output::{Output, say};
use crate::reach;

/// What was shown last, of each key.
type Shown = BTreeMap<String, Arc<Held>>;

pub(crate) async fn watch(client: &Client, key: &str, output: &mut Output) -> Result<(), Failure> {
    reach(client).await?;
    let mut changes = follow(client, key).await?;
    let mut states = client.status_stream();
    let mut shown = Shown::new();
    let mut is_lost = false;
    loop {
        show(&client.snapshot(), key, &mut shown, output)?;
        tokio::select! {
            Some(()) = changes.next() => {}
            Some(status) = states.next() => {
                let was_lost = std::mem::replace(&mut is_lost, status.state != State::Ready);
                match status.last_error {
                    Some(why) if is_lost && !was_lost => say(format_args!("the values may be old: {why}")),
                    _ if was_lost && !is_lost => say("the values are right again"),
                    _ => {}
                }
            }
        }
    }
}

/// Something for each change. That a key does not exist yet is no failure.
async fn follow(client: &Client, key: &str) -> Result<BoxStream<'static, ()>, Failure> {
    if key.ends_with('/') {
        let handle = client.watch_prefix::<Bytes>(key);
        handle.ready().await?;
        return Ok(ticks(handle.stream()));
    }
    let handle = client.watch::<Bytes>(key);
    match handle.ready().await {
        Ok(()) | Err(Unavailable::Missing { .. }) => Ok(ticks(handle.stream())),
        Err(error) => Err(error.into()),
    }
}

fn ticks<T: 'static>(values: impl Stream<Item = T> + Send + 'static) -> BoxStream<'static, ()> {
    values.map(drop).boxed()
}

/// Writes what is different from what was shown last.
fn show(snapshot: &Snapshot, key: &str, shown: &mut Shown, output: &mut Output) -> Result<(), Failure> {
    let is_asked_for = |held: &&str| *held == key || key.ends_with('/') && held.starts_with(key);
    let keys: Vec<&str> = snapshot.keys().filter(is_asked_for).collect();
    let gone: Vec<_> = shown.keys().filter(|key| snapshot.held(key).is_none()).cloned().collect();
    for key in gone {
        let held = shown.remove(&key);
        let value_type = held.map(|held| held.value_type.clone().into_owned()).unwrap_or_default();
        let revision = snapshot.position().map_or(0, |position| position.revision);
        output.next(&Entry { key, value_type, revision, value: None })?;
    }
    for key in keys {
        let Some(held) = snapshot.held(key) else { continue };
        if shown.get(key).is_some_and(|before| before == held) {
            continue;
        }
        shown.insert(key.to_owned(), held.clone());
        Entry::held(snapshot, key).map_or(Ok(()), |entry| output.next(&entry))?;
    }
    Ok(())
}
