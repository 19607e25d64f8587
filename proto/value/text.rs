//! Text, and what has a text form of its own.

use std::fmt::Display;
use std::str::FromStr;

use bytes::Bytes;

use super::{Value, ValueError, ValueType};

const UTF8: ValueError = ValueError::Grammar { value_type: ValueType::String, rule: "text in UTF-8" };

/// A value that is read with [`FromStr`] and written with [`Display`]: a URL, an address, an enumeration.
///
/// It reads every type that has a text, but `json`. What `FromStr` says about a text that it refuses is
/// not shown, because it may repeat the value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<T>(
    /// What the text means.
    pub T,
);

/// Reads a `string`.
pub(super) fn utf8(text: &[u8]) -> Result<&str, ValueError> {
    str::from_utf8(text).map_err(|_| UTF8)
}

impl Value for String {
    const READS: &'static [ValueType] = &[ValueType::String];
    const WRITES: ValueType = ValueType::String;

    fn from_text(_: ValueType, text: &Bytes) -> Result<Self, ValueError> {
        utf8(text).map(Self::from)
    }

    fn to_text(&self) -> Result<Bytes, ValueError> {
        Ok(Bytes::copy_from_slice(self.as_bytes()))
    }
}

impl<T: FromStr + Display + Send + Sync + 'static> Value for Text<T> {
    const READS: &'static [ValueType] = &[
        ValueType::Int,
        ValueType::Float,
        ValueType::Bool,
        ValueType::String,
        ValueType::Duration,
        ValueType::Timestamp,
    ];
    const WRITES: ValueType = ValueType::String;

    fn from_text(_: ValueType, text: &Bytes) -> Result<Self, ValueError> {
        utf8(text)?
            .parse()
            .map(Self)
            .map_err(|_| ValueError::refused::<T>("not a text that its FromStr takes"))
    }

    fn to_text(&self) -> Result<Bytes, ValueError> {
        Ok(self.0.to_string().into())
    }
}
