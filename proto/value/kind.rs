//! The value types and their names.

use std::fmt;

/// A value type: which grammar the text of a value has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ValueType {
    /// A whole number within 64 bits, signed.
    Int,
    /// A finite number.
    Float,
    /// `true` or `false`.
    Bool,
    /// UTF-8.
    String,
    /// JSON, at most 64 deep, no object with the same member twice.
    Json,
    /// Anything.
    Bytes,
    /// A length of time that is not negative.
    Duration,
    /// A point in time.
    Timestamp,
}

/// A name that a value may carry as its type.
pub(super) struct Name {
    text: &'static str,
    /// The type that it means.
    pub(super) value_type: ValueType,
    /// Whether it says that the value is the text of a file, which somebody typed without naming a type.
    pub(super) file: bool,
}

/// Every name that is known. The canonical ones come first, in the order of [`ValueType::ALL`].
const NAMES: &[Name] = &[
    name("int", ValueType::Int),
    name("float", ValueType::Float),
    name("bool", ValueType::Bool),
    name("string", ValueType::String),
    name("json", ValueType::Json),
    name("bytes", ValueType::Bytes),
    name("duration", ValueType::Duration),
    name("timestamp", ValueType::Timestamp),
    name("text", ValueType::String),
    name("binary", ValueType::Bytes),
    name(".json", ValueType::Json),
    name(".bin", ValueType::Bytes),
    text_file("text/plain"),
    text_file(".txt"),
    text_file(".md"),
    text_file(".toml"),
    text_file(".yaml"),
    text_file(".yml"),
];

impl ValueType {
    /// Every type.
    pub const ALL: [Self; 8] = [
        Self::Int,
        Self::Float,
        Self::Bool,
        Self::String,
        Self::Json,
        Self::Bytes,
        Self::Duration,
        Self::Timestamp,
    ];

    /// The type that a name means, canonical or an alias. Names are compared byte by byte.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        find(name).map(|name| name.value_type)
    }

    /// The canonical name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        NAMES[self as usize].text
    }

    /// Whether white space around the text cannot be a part of the value.
    pub(super) const fn is_scalar(self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Bool | Self::Duration | Self::Timestamp)
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Whether two names mean the same type. Names that are not known are the same if they are equal.
#[must_use]
pub fn same_type(a: &str, b: &str) -> bool {
    match (ValueType::named(a), ValueType::named(b)) {
        (None, None) => a == b,
        (a, b) => a == b,
    }
}

pub(super) fn find(name: &str) -> Option<&'static Name> {
    NAMES.iter().find(|known| known.text == name)
}

const fn name(text: &'static str, value_type: ValueType) -> Name {
    Name { text, value_type, file: false }
}

const fn text_file(text: &'static str) -> Name {
    Name { text, value_type: ValueType::String, file: true }
}
