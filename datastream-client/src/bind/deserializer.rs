//! How serde reads a node: each value by the table of [`datastream::value`], a folder as a map.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use datastream::value::ValueType;
use serde::Deserializer;
use serde::de::value::{MapAccessDeserializer, MapDeserializer, SeqDeserializer};
use serde::de::{IntoDeserializer, Visitor};

use super::error::Error;
use super::node::Node;

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
        if self.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
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
            if children.len() != 1 {
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
        self.ignore();
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
