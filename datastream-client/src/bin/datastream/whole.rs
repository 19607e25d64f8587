//! Many settings as one state: all of a server, those below a prefix, or those of a file.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use datastream::key::{self, KeyError, Selector, shown};
use datastream::position::Position;
use datastream_client::{Capability, Client, ClientBuilder, Entries, Held, Snapshot, Unavailable, Watch};

use crate::failure::{Code, Failure};
use crate::{Reached, misuse, reach};

/// How often the keys may be others than they just were.
const ATTEMPTS: usize = 10;
/// What one client asks for at most: somewhat less than it may, of keys and of their bytes.
const ENTRIES: usize = 9_000;
const ENTRY_BYTES: usize = 900 << 10;
/// How long several clients may take to be at one position, which takes a heartbeat of the server.
const TOGETHER: Duration = Duration::from_secs(30);

/// What a server has, as of one position.
pub(crate) struct Whole {
    /// `None` if it has none, as one of the original.
    pub(crate) position: Option<Position>,
    pub(crate) settings: BTreeMap<String, Arc<Held>>,
    /// What the server lists and is no key, with the rule that it breaks.
    pub(crate) left_out: BTreeMap<String, KeyError>,
}

/// What the original's store in a bucket lists beside the keys.
const DIRECTORY: &str = "directory";

/// Reads all settings, or those below a prefix.
pub(crate) async fn read(server: &ClientBuilder, prefix: Option<&str>) -> Result<Whole, Failure> {
    let client = server.clone().connect();
    let mut following = Following::new(server);
    let mut whole = match (prefix, reach(&client).await?) {
        (Some(prefix), Reached::Current) => following.state([prefix]).await?,
        (prefix, reached) => following.listed(&client, prefix.unwrap_or_default(), reached).await?,
    };
    whole.settings.retain(|key, _| prefix.is_none_or(|prefix| key.starts_with(prefix)));
    Ok(whole)
}

/// Reads what a server has of these keys, and perhaps more.
pub(crate) async fn read_keys(
    server: &ClientBuilder,
    keys: impl Iterator<Item = &str>,
) -> Result<Whole, Failure> {
    let entries: BTreeSet<&str> = keys.map(outermost).collect();
    Following::new(server).state(entries).await
}

/// Checks the prefix that somebody named.
pub(crate) fn check_prefix(prefix: &str) -> Result<(), Failure> {
    let shown = shown(prefix);
    match Selector::parse(prefix) {
        Ok(Selector::Prefix(_)) => Ok(()),
        Ok(Selector::Key(_)) => {
            Err(misuse(format!("`{shown}` is no prefix; one ends in a slash: `{shown}/`")))
        }
        Err(error) => Err(misuse(format!("`{shown}` is no prefix: {error}"))),
    }
}

/// What is watched for this. What was watched stays in the state.
struct Following<'a> {
    server: &'a ClientBuilder,
    clients: Vec<Watching>,
}

/// A client, and what it watches.
struct Watching {
    client: Client,
    keys: Vec<Watch<Bytes>>,
    prefixes: Vec<Watch<Entries<Bytes>>>,
    bytes: usize,
}

impl<'a> Following<'a> {
    fn new(server: &'a ClientBuilder) -> Self {
        Self { server, clients: Vec::new() }
    }

    /// The state of what is listed, until nothing more is. A request for everything could not be followed beside others.
    async fn listed(&mut self, client: &Client, prefix: &str, who: Reached) -> Result<Whole, Failure> {
        let mut known = BTreeSet::new();
        for _ in 0..ATTEMPTS {
            let mut listed = client.capabilities().await?;
            listed.retain(|one| one.key.starts_with(prefix) && one.value_type != DIRECTORY);
            let (keys, left_out) = checked(listed);
            // One of the original follows keys only.
            let entry = |key| if who == Reached::Current { outermost(key) } else { key };
            let entries: BTreeSet<String> = keys.iter().map(|key| entry(key).to_owned()).collect();
            let new: Vec<_> = entries.difference(&known).map(String::as_str).collect();
            if new.is_empty() {
                return Ok(Whole { left_out, ..self.together().await? });
            }
            self.state(new).await?;
            known.extend(entries);
        }
        Err(Failure::new(Code::Other, "keys are born faster than they can be read; try again"))
    }

    /// The state of these keys and prefixes, and of those before.
    async fn state<'b>(&mut self, entries: impl IntoIterator<Item = &'b str>) -> Result<Whole, Failure> {
        for entry in entries {
            match self.clients.last_mut().filter(|last| last.has_room(entry)) {
                Some(last) => last.watch(entry),
                None => {
                    let mut next = Watching::of(self.server.clone().connect());
                    next.watch(entry);
                    self.clients.push(next);
                }
            }
        }
        for watching in &self.clients {
            watching.ready().await?;
        }
        self.together().await
    }

    /// What all of the clients hold, once they are at one position.
    async fn together(&self) -> Result<Whole, Failure> {
        let began = Instant::now();
        loop {
            let snapshots: Vec<_> = self.clients.iter().map(|watching| watching.client.snapshot()).collect();
            let position = snapshots.first().and_then(|first| first.position());
            if snapshots.iter().all(|snapshot| snapshot.position() == position) {
                let settings = snapshots.iter().flat_map(|snapshot| held(snapshot)).collect();
                return Ok(Whole { position: position.cloned(), settings, left_out: BTreeMap::new() });
            }
            if began.elapsed() > TOGETHER {
                let why = "more than 9,000 keys at the top change too often to be read as one";
                return Err(Failure::new(Code::Other, format!("{why}; try again, or name a prefix")));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

impl Watching {
    fn of(client: Client) -> Self {
        Self { client, keys: Vec::new(), prefixes: Vec::new(), bytes: 0 }
    }

    fn has_room(&self, entry: &str) -> bool {
        self.keys.len() + self.prefixes.len() < ENTRIES && self.bytes + entry.len() <= ENTRY_BYTES
    }

    fn watch(&mut self, entry: &str) {
        self.bytes += entry.len();
        match entry.ends_with('/') {
            true => self.prefixes.push(self.client.watch_prefix(entry)),
            false => self.keys.push(self.client.watch::<Bytes>(entry)),
        }
    }

    /// Waits until all of it is known; a key that does not exist is known too.
    async fn ready(&self) -> Result<(), Failure> {
        for prefix in &self.prefixes {
            prefix.ready().await?;
        }
        for key in &self.keys {
            match key.ready().await {
                Ok(()) | Err(Unavailable::Missing { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The keys of a list, and what stands in it that is none.
fn checked(listed: Vec<Capability>) -> (Vec<String>, BTreeMap<String, KeyError>) {
    let (mut keys, mut left_out) = (Vec::new(), BTreeMap::new());
    for Capability { key, .. } in listed {
        match key::check(&key) {
            Ok(()) => keys.push(key),
            Err(rule) => _ = left_out.insert(key, rule),
        }
    }
    (keys, left_out)
}

fn held(snapshot: &Snapshot) -> impl Iterator<Item = (String, Arc<Held>)> {
    snapshot.keys().filter_map(|key| Some((key.to_owned(), snapshot.held(key)?.clone())))
}

/// What asks for a key and as many others as can be: its first segment, if there is more than one.
fn outermost(key: &str) -> &str {
    key.find('/').map_or(key, |slash| &key[..=slash])
}
