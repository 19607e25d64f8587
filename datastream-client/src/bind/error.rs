//! Why a struct cannot be made of the keys below a prefix.

use std::borrow::Cow;
use std::fmt;

use datastream::key::shown;
use datastream::value::ValueError;
use serde::de::{self, Expected, Unexpected};

/// Why, and at which key.
///
/// It is told what went wrong by code that has the value, so it keeps what is known to be a rule, and nothing else.
#[derive(Debug)]
pub(super) struct Error {
    /// The key, as it is; of a struct its prefix. `None` until somebody who knows it has seen the error.
    key: Option<String>,
    /// The field of a struct of which only the name is known.
    field: Option<String>,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Value(ValueError),
    Rule(Cow<'static, str>),
}

impl Error {
    /// A rule that is broken; it names no value.
    pub(super) fn rule(rule: impl Into<Cow<'static, str>>) -> Self {
        Self { key: None, field: None, why: Why::Rule(rule.into()) }
    }

    fn of_field(field: &str, rule: &'static str) -> Self {
        Self { field: Some(field.to_owned()), ..Self::rule(rule) }
    }

    /// Names the key, or the prefix with its `/`, at which it was met. Who is nearest knows best.
    #[must_use]
    pub(super) fn at(mut self, path: &str) -> Self {
        let field = self.field.take().unwrap_or_default();
        let slash = if field.is_empty() || path.ends_with('/') { "" } else { "/" };
        self.key.get_or_insert_with(|| format!("{path}{slash}{field}"));
        self
    }

    /// The key, and why `S` cannot be made of what is there.
    pub(super) fn of<S>(self) -> (String, ValueError) {
        let why = match self.why {
            Why::Value(error) => error,
            Why::Rule(rule) => ValueError::refused::<S>(rule),
        };
        (self.key.unwrap_or_default(), why)
    }
}

impl From<ValueError> for Error {
    fn from(error: ValueError) -> Self {
        Self { key: None, field: None, why: Why::Value(error) }
    }
}

impl de::Error for Error {
    /// What a type says of its own may repeat the value.
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::rule("its Deserialize does not take it")
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::rule(format!("found {}, where {} is read", kind(found), cut(expected)))
    }

    fn invalid_value(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::rule(format!("where it is read, only this is taken: {}", cut(expected)))
    }

    fn invalid_length(_: usize, expected: &dyn Expected) -> Self {
        Self::rule(format!("of another length than {}", cut(expected)))
    }

    fn unknown_variant(_: &str, expected: &'static [&'static str]) -> Self {
        Self::rule(format!("none of the variants {}", expected.join(", ")))
    }

    fn unknown_field(field: &str, _: &'static [&'static str]) -> Self {
        Self::of_field(field, "the struct has no such field, and denies unknown ones")
    }

    fn missing_field(field: &'static str) -> Self {
        Self::of_field(field, MISSING)
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::of_field(field, "two keys are read as this field")
    }
}

/// The rule that a key breaks which does not exist.
pub(super) const MISSING: &str = "there is no such key, and its field has no default";

impl std::error::Error for Error {}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Value(error) => error.fmt(f),
            Why::Rule(rule) => f.write_str(rule),
        }
    }
}

fn cut(expected: &dyn Expected) -> impl fmt::Display {
    shown(&expected.to_string())
}

/// What was found, without its value.
const fn kind(found: Unexpected<'_>) -> &'static str {
    match found {
        Unexpected::Bool(_) => "a bool",
        Unexpected::Unsigned(_) | Unexpected::Signed(_) => "an integer",
        Unexpected::Float(_) => "a float",
        Unexpected::Char(_) | Unexpected::Str(_) => "a string",
        Unexpected::Bytes(_) => "bytes",
        Unexpected::Unit | Unexpected::Option => "nothing",
        Unexpected::Seq => "a list",
        Unexpected::Map => "a map",
        Unexpected::Enum
        | Unexpected::UnitVariant
        | Unexpected::NewtypeVariant
        | Unexpected::TupleVariant
        | Unexpected::StructVariant => "an enumeration",
        Unexpected::NewtypeStruct | Unexpected::Other(_) => "something else",
    }
}
