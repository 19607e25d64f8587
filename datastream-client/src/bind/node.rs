//! The keys below a prefix as a tree, in which `/` is nesting.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::sync::Arc;

use bytes::Bytes;
use datastream::key::shown;
use datastream::value::{self, Value, ValueError, ValueType};
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess};

use super::error::Error;
use crate::snapshot::Held;

/// A key and its value.
pub(super) type Entry = (Arc<str>, Arc<Held>);

/// What is noted while a struct is read, and what is known before.
#[derive(Default)]
pub(super) struct Notes {
    /// The keys that no field reads.
    pub(super) unknown: RefCell<Vec<Arc<str>>>,
    /// The keys of which the value is made up: whatever a field reads.
    pub(super) made_up: BTreeSet<Arc<str>>,
}

/// What is read for a field: a value, or the keys of a folder, which may be none.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    leaf: Option<&'a Entry>,
    /// The prefix of the folder, with its `/`, and what lies below it.
    folder: Option<(&'a str, &'a [Entry])>,
    notes: &'a Notes,
}

impl<'a> Node<'a> {
    /// The folder `prefix`, of which `entries` are all keys, in order. Each is a key of the grammar, so that it is
    /// at most 256 folders deep.
    pub(super) const fn root(prefix: &'a str, entries: &'a [Entry], notes: &'a Notes) -> Self {
        Self { leaf: None, folder: Some((prefix, entries)), notes }
    }

    fn path(&self) -> &'a str {
        match (self.leaf, self.folder) {
            (Some((key, _)), _) => key,
            (None, Some((prefix, _))) => prefix,
            (None, None) => "",
        }
    }

    /// What it holds as a value.
    pub(super) fn held(&self) -> Result<&'a Held, Error> {
        self.check_one_kind()?;
        match self.leaf {
            Some((_, held)) => Ok(held),
            None => Err(Error::rule("found a folder, where a value is read")),
        }
    }

    /// A key beside a folder of its name would be read as either, by chance.
    fn check_one_kind(&self) -> Result<(), Error> {
        match (self.leaf, self.folder) {
            (Some((key, _)), Some((folder, _))) if !self.is_made_up() => Err(Error::rule(format!(
                "the key `{}` and the folder `{}` stand for the same field",
                shown(key),
                shown(folder)
            ))),
            _ => Ok(()),
        }
    }

    pub(super) fn is_made_up(&self) -> bool {
        self.leaf.is_some_and(|(key, _)| self.notes.made_up.contains(key))
    }

    pub(super) fn is(&self, value_type: ValueType) -> bool {
        self.leaf.is_some_and(|(_, held)| ValueType::named(&held.value_type) == Some(value_type))
    }

    /// Whether it is the JSON that stands for no value.
    pub(super) fn is_null(&self) -> bool {
        let is_null = |(_, held): &Entry| held.value.trim_ascii() == b"null";
        self.is(ValueType::Json) && self.folder.is_none() && self.leaf.is_some_and(is_null)
    }

    /// Notes that no field reads it.
    pub(super) fn ignore(&self) {
        let below = self.folder.into_iter().flat_map(|(_, entries)| entries);
        let keys = self.leaf.into_iter().chain(below).map(|(key, _)| key.clone());
        self.notes.unknown.borrow_mut().extend(keys);
    }

    /// Reads the value by the table of [`datastream::value`].
    pub(super) fn decode<T: Value>(&self) -> Result<T, Error> {
        let held = self.held()?;
        if self.is_made_up() {
            let text = Bytes::from_static(some_text(T::WRITES).as_bytes());
            return Ok(T::from_text(T::WRITES, &text)?);
        }
        Ok(value::decode(&held.value_type, &held.value)?)
    }

    /// Reads the value, which is to be JSON, with serde.
    pub(super) fn json<V>(
        &self,
        read: impl FnOnce(&mut Json<'a>) -> Result<V, serde_json::Error>,
    ) -> Result<V, Error> {
        let held = self.held()?;
        if !self.is(ValueType::Json) {
            let found = shown(&held.value_type).to_string();
            let (target, reads) = ("a list or a struct", &[ValueType::Json]);
            return Err(ValueError::Unreadable { found, target, reads }.into());
        }
        value::check(ValueType::Json.name(), &held.value)?;
        // What serde says of JSON may repeat the value.
        read(&mut serde_json::Deserializer::from_slice(&held.value)).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            Error::rule(format!("the JSON does not fit it at line {line}, column {column}"))
        })
    }

    /// What lies in the folder, by name. A name is a key, a folder, or by mistake both.
    pub(super) fn children(&self) -> Result<Children<'a>, Error> {
        self.check_one_kind()?;
        let Some((prefix, mut rest)) = self.folder else {
            return Ok(Children::default());
        };
        let mut nodes: BTreeMap<&'a str, Self> = BTreeMap::new();
        while let Some((first, others)) = rest.split_first() {
            let name = &first.0[prefix.len()..];
            let (name, is_folder) = name.split_once('/').map_or((name, false), |(name, _)| (name, true));
            let node = nodes.entry(name).or_insert(Self { leaf: None, folder: None, notes: self.notes });
            if is_folder {
                let folder = &first.0[..prefix.len() + name.len() + 1];
                let (inside, after) = rest.split_at(rest.partition_point(|(key, _)| key.starts_with(folder)));
                node.folder = Some((folder, inside));
                rest = after;
            } else {
                node.leaf = Some(first);
                rest = others;
            }
        }
        Ok(Children { nodes: nodes.into_iter(), next: None })
    }

    pub(super) fn is_folder(&self) -> bool {
        self.leaf.is_none() || self.is_made_up()
    }
}

type Json<'a> = serde_json::Deserializer<serde_json::de::SliceRead<'a>>;

/// A text of a type that every reader of that type takes.
pub(super) const fn some_text(value_type: ValueType) -> &'static str {
    match value_type {
        ValueType::Int | ValueType::Float => "0",
        ValueType::Bool => "false",
        ValueType::Duration => "0s",
        ValueType::Timestamp => "1970-01-01T00:00:00Z",
        ValueType::Json => "null",
        _ => "",
    }
}

/// What lies in a folder, read one after the other.
#[derive(Default)]
pub(super) struct Children<'a> {
    nodes: btree_map::IntoIter<&'a str, Node<'a>>,
    /// The one whose name was read.
    next: Option<Node<'a>>,
}

impl Children<'_> {
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }
}

impl<'de> MapAccess<'de> for Children<'de> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Error> {
        let Some((name, node)) = self.nodes.next() else { return Ok(None) };
        self.next = Some(node);
        seed.deserialize(name.into_deserializer()).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Error> {
        let node = self.next.take().ok_or_else(|| Error::rule("a value was read before its name"))?;
        seed.deserialize(node).map_err(|error| error.at(node.path()))
    }
}
