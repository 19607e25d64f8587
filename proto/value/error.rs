//! Why a value cannot be used.

use std::any::type_name;
use std::borrow::Cow;

use super::ValueType;
use crate::key::shown;

/// Why a value cannot be read or written, by what can be done about it.
///
/// The texts never contain the value. They do not name the key either, which is not known here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// This version does not know the type: read the value as `Bytes`, or upgrade.
    #[error("the type `{name}` is unknown; only its bytes can be read")]
    UnknownType {
        /// The name of the type, escaped and cut.
        name: String,
    },
    /// The type is known, but the Rust type does not read it: watch the key with another one, or change
    /// the type of the value.
    #[error("the type `{found}` is not read as {target}, which reads {}", list(.reads))]
    Unreadable {
        /// The name of the type, escaped and cut.
        found: String,
        /// The Rust type.
        target: &'static str,
        /// What that reads.
        reads: &'static [ValueType],
    },
    /// The text breaks the grammar of its type: correct the value.
    #[error("not of the type {value_type}: {rule}")]
    Grammar {
        /// The type.
        value_type: ValueType,
        /// Its rule.
        rule: &'static str,
    },
    /// The text is not JSON as the contract wants it: correct the value.
    #[error("not of the type json: {rule} (line {line}, column {column})")]
    Json {
        /// The rule.
        rule: &'static str,
        /// The line where it is broken, from 1; 0 if that is not known.
        line: usize,
        /// The column where it is broken, from 1; 0 if that is not known.
        column: usize,
    },
    /// The value is good, but does not fit: choose a wider type, or correct the value.
    #[error("outside the range of {target}")]
    OutOfRange {
        /// What it does not fit into: a Rust type where it was read, a value type where it was written.
        target: &'static str,
    },
    /// The text has the grammar of its type, but the Rust type has rules of its own.
    #[error("refused by {target}: {rule}")]
    Refused {
        /// The Rust type.
        target: &'static str,
        /// Its rule. An application that writes this text itself must keep the value out of it.
        rule: Cow<'static, str>,
    },
}

impl ValueError {
    /// `T` refuses a value for breaking a rule of its own. For implementations of [`Value`](super::Value):
    /// the text reaches logs and peers, so let it say the rule and not the value.
    #[must_use]
    pub fn refused<T>(rule: impl Into<Cow<'static, str>>) -> Self {
        Self::Refused { target: type_name::<T>(), rule: rule.into() }
    }

    pub(super) fn unknown(name: &str) -> Self {
        Self::UnknownType { name: shown(name).to_string() }
    }

    pub(super) fn unreadable<T: super::Value>(found: &str) -> Self {
        Self::Unreadable { found: shown(found).to_string(), target: type_name::<T>(), reads: T::READS }
    }

    /// The value does not fit into `T`.
    pub(super) fn too_wide<T>() -> Self {
        Self::OutOfRange { target: type_name::<T>() }
    }
}

fn list(types: &[ValueType]) -> String {
    types.iter().map(|value_type| value_type.name()).collect::<Vec<_>>().join(", ")
}
