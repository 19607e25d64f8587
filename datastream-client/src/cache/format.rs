//! What a file looks like: one line of text, then one message.
//!
//! The line names the format, its version, and the length and the checksum (CRC-32) of the message, so that whatever
//! was cut, lost or flipped is found before anything is read. The message has the settings as the contract has them.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use datastream::key::{self, KeySet, Selector};
use datastream::position::Position;
use datastream::proto;
use prost::Message as _;

use super::{Kept, LastGood, Unfit};
use crate::snapshot::{Held, Snapshot};
use crate::status::Origin;

/// The first word of a file.
const NAME: &str = "datastream-settings";
/// The version of what follows. A change that an older client would read wrongly makes it another.
const VERSION: &str = "1";
/// More than the line can have.
const LINE_BYTES: usize = 128;

/// The message.
#[derive(Clone, PartialEq, prost::Message)]
#[prost(skip_debug)]
struct Content {
    #[prost(string, tag = "1")]
    server: String,
    #[prost(message, optional, tag = "2")]
    confirmed: Option<prost_types::Timestamp>,
    #[prost(message, optional, tag = "3")]
    position: Option<proto::Position>,
    /// Keys and prefixes, as a request has them.
    #[prost(string, repeated, tag = "4")]
    covered: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    values: Vec<proto::Data>,
    /// Of those keys whose value not every handle could use: the last that every one did.
    #[prost(message, repeated, tag = "6")]
    last_good: Vec<proto::Data>,
}

/// Writes what a file is to hold, and of each key that `last_good` names its last good value.
///
/// What could not be read again is not written, since it would take the rest with it: a key outside the grammar, which a
/// server may have below a prefix, and the revision of a value in a history that was left.
#[must_use]
pub fn encode(kept: &Kept, last_good: &LastGood) -> Vec<u8> {
    let state = &kept.state;
    let content = Content {
        server: kept.server.clone(),
        confirmed: Some(kept.confirmed.into()),
        position: state.position().map(Position::to_proto),
        covered: state.covered().iter().map(Selector::as_str).filter(is_entry).map(str::to_owned).collect(),
        values: values(state).collect(),
        last_good: last_good
            .iter()
            .filter(|(key, _)| state.held(key).is_some())
            .map(|(k, v)| data(k, v))
            .collect(),
    };
    framed(&content.encode_to_vec())
}

/// The line for a message, and the message.
pub(super) fn framed(content: &[u8]) -> Vec<u8> {
    [first_line(content).as_bytes(), content].concat()
}

/// Reads a file whose values are to be shown with this origin.
///
/// # Errors
///
/// [`Unfit`], whatever the bytes are; never for what is read of the file system.
pub fn decode(file: &[u8], origin: Origin) -> Result<Kept, Unfit> {
    let content = Content::decode(checked(file)?).map_err(|_| Unfit::Invalid("the message is malformed"))?;
    let state = read_state(&content, origin).map_err(Unfit::Invalid)?;
    let confirmed = content.confirmed.and_then(|at| SystemTime::try_from(at).ok());
    let confirmed = confirmed.ok_or(Unfit::Invalid("it has no time"))?;
    Ok(Kept { server: content.server, confirmed, state: Arc::new(state) })
}

fn first_line(content: &[u8]) -> String {
    format!("{NAME} {VERSION} {} {:08x}\n", content.len(), crc32fast::hash(content))
}

/// The message, if the line speaks of this very one.
fn checked(file: &[u8]) -> Result<&[u8], Unfit> {
    let start = &file[..file.len().min(LINE_BYTES)];
    let rest = start.strip_prefix(NAME.as_bytes()).and_then(|rest| rest.strip_prefix(b" "));
    let rest = rest.ok_or(Unfit::Foreign)?;
    let version = rest.split(|byte| *byte == b' ').next().unwrap_or_default();
    if version != VERSION.as_bytes() {
        return Err(Unfit::Version);
    }
    let end = start.iter().position(|byte| *byte == b'\n').ok_or(Unfit::Damaged)?;
    let (line, content) = file.split_at(end + 1);
    if line == first_line(content).as_bytes() { Ok(content) } else { Err(Unfit::Damaged) }
}

fn values(state: &Snapshot) -> impl Iterator<Item = proto::Data> {
    let is_placed = state.position().is_some();
    let known = state.entries().filter(|(key, _)| key::check(key).is_ok());
    known.map(move |(key, held)| {
        let data = data(key, held);
        if is_placed { data } else { proto::Data { revision: 0, ..data } }
    })
}

fn is_entry(text: &&str) -> bool {
    Selector::parse(text).is_ok()
}

fn read_state(content: &Content, origin: Origin) -> Result<Snapshot, &'static str> {
    let position = Position::from_proto(content.position.clone().unwrap_or_default());
    let position = position.map_err(|_| "its position is malformed")?;
    let covered = content.covered.iter().map(|entry| Selector::parse(entry)).collect::<Result<KeySet, _>>();
    let covered = covered.map_err(|_| "what it covers is no key and no prefix")?;
    let head = position.as_ref().map_or(0, |position| position.revision);
    let mut below = LastGood::new();
    for data in &content.last_good {
        below.insert(data.key.as_str().into(), Arc::new(held(data, origin, None)));
    }
    let mut values = Vec::with_capacity(content.values.len());
    for data in &content.values {
        key::check(&data.key).map_err(|_| "it has a value whose key is none")?;
        if !covered.matches(&data.key) {
            return Err("it has a value that it does not cover");
        }
        if data.revision > head {
            return Err("a value is newer than its position");
        }
        let below = below.remove(data.key.as_str());
        values.push((Arc::from(data.key.as_str()), Arc::new(held(data, origin, below))));
    }
    Ok(Snapshot::assembled(origin, position, covered, values))
}

fn held(data: &proto::Data, origin: Origin, below: Option<Arc<Held>>) -> Held {
    Held { origin, below, ..Held::new(data) }
}

fn data(key: &str, held: &Held) -> proto::Data {
    proto::Data {
        key: key.to_owned(),
        value: Bytes::clone(&held.value),
        value_type: held.value_type.to_string(),
        revision: held.revision,
        ..proto::Data::default()
    }
}
