//! The keys below a prefix as a tree that serde reads: `/` is nesting, and each value is read by its type.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, btree_map};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use datastream::key::shown;
use datastream::value::{self, Value, ValueError, ValueType};
use serde::Deserializer;
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, Visitor};

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
    fn held(&self) -> Result<&'a Held, Error> {
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

    fn is_made_up(&self) -> bool {
        self.leaf.is_some_and(|(key, _)| self.notes.made_up.contains(key))
    }

    fn is(&self, value_type: ValueType) -> bool {
        self.leaf.is_some_and(|(_, held)| ValueType::named(&held.value_type) == Some(value_type))
    }

    /// Reads the value by the table of [`datastream::value`].
    fn decode<T: Value>(&self) -> Result<T, Error> {
        let held = self.held()?;
        if self.is_made_up() {
            let text = Bytes::from_static(some_text(T::WRITES).as_bytes());
            return Ok(T::from_text(T::WRITES, &text)?);
        }
        Ok(value::decode(&held.value_type, &held.value)?)
    }

    /// Reads the value, which is to be JSON, with serde.
    fn json<V>(&self, read: impl FnOnce(&mut Json<'a>) -> Result<V, serde_json::Error>) -> Result<V, Error> {
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
    fn children(&self) -> Result<Children<'a>, Error> {
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

    fn is_folder(&self) -> bool {
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

/// A length of time, as serde reads [`Duration`] and [`SystemTime`].
fn seconds<'de, V: Visitor<'de>>(
    names: [&'static str; 2],
    time: Duration,
    visitor: V,
) -> Result<V::Value, Error> {
    let parts = [time.as_secs(), u64::from(time.subsec_nanos())];
    visitor.visit_map(MapDeserializer::new(names.into_iter().zip(parts)))
}

const DURATION: [&str; 2] = ["secs", "nanos"];
const SYSTEM_TIME: [&str; 2] = ["secs_since_epoch", "nanos_since_epoch"];

fn since_epoch(time: SystemTime) -> Result<Duration, Error> {
    time.duration_since(UNIX_EPOCH).map_err(|_| Error::rule("serde reads no time before 1970"))
}

macro_rules! scalars {
    ($($method:ident $visit:ident $wide:ty,)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            visitor.$visit(self.decode::<$wide>()?.into())
        }
    )*};
}

impl<'de> Deserializer<'de> for Node<'de> {
    type Error = Error;

    scalars! {
        deserialize_bool visit_bool bool,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_i128 visit_i128 i64,
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_u128 visit_u128 u64,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
        deserialize_char visit_string String,
        deserialize_str visit_string String,
        deserialize_string visit_string String,
        deserialize_identifier visit_string String,
        deserialize_bytes visit_byte_buf Vec<u8>,
        deserialize_byte_buf visit_byte_buf Vec<u8>,
    }

    /// For who takes what there is. What cannot be read is handed over as bytes, and harms nobody who ignores it.
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_folder() {
            return self.deserialize_map(visitor);
        }
        let held = self.held()?;
        let read = match ValueType::named(&held.value_type) {
            Some(ValueType::Int) => self.decode().map(Scalar::Int),
            Some(ValueType::Float) => self.decode().map(Scalar::Float),
            Some(ValueType::Bool) => self.decode().map(Scalar::Bool),
            Some(ValueType::String) => self.decode().map(Scalar::String),
            Some(ValueType::Json) => return self.json(|json| json.deserialize_any(visitor)),
            Some(ValueType::Duration) => self.decode().map(|time| Scalar::Time(DURATION, time)),
            Some(ValueType::Timestamp) => {
                self.decode().and_then(since_epoch).map(|time| Scalar::Time(SYSTEM_TIME, time))
            }
            _ => Ok(Scalar::Bytes),
        };
        match read.unwrap_or(Scalar::Bytes) {
            Scalar::Int(number) => visitor.visit_i64(number),
            Scalar::Float(number) => visitor.visit_f64(number),
            Scalar::Bool(truth) => visitor.visit_bool(truth),
            Scalar::String(text) => visitor.visit_string(text),
            Scalar::Time(names, time) => seconds(names, time, visitor),
            Scalar::Bytes => visitor.visit_byte_buf(held.value.to_vec()),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let is_null = self.is(ValueType::Json)
            && self.folder.is_none()
            && self.leaf.is_some_and(|(_, held)| held.value.trim_ascii() == b"null");
        if is_null { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        self.json(|json| json.deserialize_unit(visitor))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.held()? {
            _ if self.is_made_up() => visitor.visit_seq(SeqDeserializer::new(std::iter::empty::<u8>())),
            held if self.is(ValueType::Bytes) => {
                visitor.visit_seq(SeqDeserializer::new(held.value.iter().copied()))
            }
            _ => self.json(|json| json.deserialize_seq(visitor)),
        }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        if self.is_folder() {
            return visitor.visit_map(self.children()?);
        }
        self.json(|json| json.deserialize_map(visitor))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        match name {
            _ if self.is(ValueType::Json) => self.json(|json| json.deserialize_struct(name, fields, visitor)),
            "Duration" if fields == DURATION => seconds(DURATION, self.decode()?, visitor),
            "SystemTime" if fields == SYSTEM_TIME => {
                seconds(SYSTEM_TIME, since_epoch(self.decode()?)?, visitor)
            }
            _ => self.deserialize_map(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if self.is_made_up() {
            return visitor.visit_enum(variants.first().copied().unwrap_or_default().into_deserializer());
        }
        if self.is_folder() {
            let children = self.children()?;
            if children.nodes.len() != 1 {
                return Err(Error::rule("an enumeration is one value, or one folder named as its variant"));
            }
            return MapAccessDeserializer::new(children).deserialize_enum(name, variants, visitor);
        }
        if self.is(ValueType::Json) {
            return self.json(|json| json.deserialize_enum(name, variants, visitor));
        }
        visitor.visit_enum(self.decode::<String>()?.into_deserializer())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let below = self.folder.into_iter().flat_map(|(_, entries)| entries);
        let keys = self.leaf.into_iter().chain(below).map(|(key, _)| key.clone());
        self.notes.unknown.borrow_mut().extend(keys);
        visitor.visit_unit()
    }
}

/// A value that was read without anybody saying as what.
enum Scalar {
    Int(i64),
    Float(f64),
    Bool(bool),
    String(String),
    Time([&'static str; 2], Duration),
    Bytes,
}

/// What lies in a folder, read one after the other.
#[derive(Default)]
struct Children<'a> {
    nodes: btree_map::IntoIter<&'a str, Node<'a>>,
    /// The one whose name was read.
    next: Option<Node<'a>>,
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
