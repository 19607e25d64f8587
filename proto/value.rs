//! Values: the value types, their text grammars, and which Rust type reads which.
//!
//! A value travels as text in the grammar of its type; the header of `datastream.proto` states the
//! grammars. [`check`] is strict and for writing. [`decode`] is for reading what any writer left: it takes
//! the aliases of a type, ignores ASCII white space around an `int`, `float`, `bool`, `duration` or
//! `timestamp`, and then is as strict as [`check`]. How large a value may be is not decided here.
//!
//! | Rust type | reads | writes |
//! |---|---|---|
//! | `i8` to `i64`, `u8` to `u64`, `isize`, `usize` | int | int |
//! | `f32`, `f64` | int, float | float |
//! | `bool` | bool | bool |
//! | `String` | string | string |
//! | `Json<T>` | json | json |
//! | `serde_json::Value` | int, float, bool, string, json | json |
//! | `Bytes`, `Vec<u8>` | int, float, bool, string, json, bytes, duration, timestamp | bytes |
//! | `Duration` | duration | duration |
//! | `SystemTime` | timestamp | timestamp |
//! | `Text<T>` | int, float, bool, string, duration, timestamp | string |
//!
//! An integer that does not fit is an error and is never cut. A number that a float cannot hold exactly
//! becomes the nearest. Raw bytes are neither trimmed nor checked, and are also what a type unknown to
//! this version is read as: the way out when a writer is newer. The text of a file (`text/plain`, `.txt`,
//! `.md`, `.toml`, `.yaml`, `.yml`) has no type but the one that the reader wants: every Rust type that
//! reads a scalar, and no json, also reads it, trimmed. `text` means string, `binary` and `.bin` mean
//! bytes, and `.json` means json.

mod duration;
mod error;
mod json;
mod kind;
mod raw;
mod scalar;
mod text;
mod timestamp;

use bytes::Bytes;

pub use error::ValueError;
pub use json::Json;
pub use kind::{ValueType, same_type};
pub use text::Text;

/// A Rust type that values are read as and written from.
///
/// Applications read with [`decode`] and write with [`encode`] and do not call the methods.
///
/// # Contract
///
/// To implement it for a type of your own, delegate to a type that reads the same text. Both methods are
/// pure and quick: they run on the task that applies updates, for each update, and must not block. They
/// need not be free of panics, since a client takes a panic as a refusal, but an error says why. They keep
/// the value out of their errors.
///
/// ```
/// use bytes::Bytes;
/// use datastream::value::{Value, ValueError, ValueType, decode};
///
/// #[derive(Debug, PartialEq)]
/// struct Percent(u8);
///
/// impl Value for Percent {
///     const READS: &'static [ValueType] = u8::READS;
///     const WRITES: ValueType = u8::WRITES;
///
///     fn from_text(value_type: ValueType, text: &Bytes) -> Result<Self, ValueError> {
///         match u8::from_text(value_type, text)? {
///             percent @ 0..=100 => Ok(Self(percent)),
///             _ => Err(ValueError::refused::<Self>("a percentage is at most 100")),
///         }
///     }
///
///     fn to_text(&self) -> Result<Bytes, ValueError> {
///         self.0.to_text()
///     }
/// }
///
/// assert_eq!(decode::<Percent>("int", &Bytes::from("70")), Ok(Percent(70)));
/// assert!(decode::<Percent>("int", &Bytes::from("101")).is_err());
/// assert!(decode::<Percent>("string", &Bytes::from("70")).is_err());
/// ```
pub trait Value: Sized + Send + Sync + 'static {
    /// The types that it reads. With [`ValueType::Bytes`] among them it also reads unknown types, as bytes.
    const READS: &'static [ValueType];

    /// The type that it is written as, and whose grammar the text of a file has for it. A type that is
    /// written as [`ValueType::Bytes`] gets every text raw: neither trimmed nor checked.
    const WRITES: ValueType;

    /// Makes it of a text of one of the types that it reads. The text has passed the grammar of the type.
    ///
    /// # Errors
    ///
    /// [`ValueError::OutOfRange`] or [`ValueError::refused`] if this is no value of `Self`.
    fn from_text(value_type: ValueType, text: &Bytes) -> Result<Self, ValueError>;

    /// Writes it in the grammar of [`WRITES`](Self::WRITES).
    ///
    /// # Errors
    ///
    /// [`ValueError`] if that grammar has no text for it.
    fn to_text(&self) -> Result<Bytes, ValueError>;
}

/// Checks a value that is about to be written: the type is known, and the text is in its grammar exactly.
/// Returns the type that the name means.
///
/// # Errors
///
/// [`ValueError::UnknownType`], [`ValueError::Grammar`] or [`ValueError::Json`].
pub fn check(value_type: &str, value: &[u8]) -> Result<ValueType, ValueError> {
    let value_type = ValueType::named(value_type).ok_or_else(|| ValueError::unknown(value_type))?;
    check_grammar(value_type, value)?;
    Ok(value_type)
}

/// Reads a value as `T`, by the table of this module.
///
/// # Errors
///
/// [`ValueError::UnknownType`] and [`ValueError::Unreadable`] tell of the type, [`ValueError::Grammar`] and
/// [`ValueError::Json`] of the text, [`ValueError::OutOfRange`] and [`ValueError::Refused`] of `T`.
pub fn decode<T: Value>(value_type: &str, value: &Bytes) -> Result<T, ValueError> {
    let (read_as, file) = read_as::<T>(value_type)?;
    if T::WRITES == ValueType::Bytes {
        return T::from_text(read_as, value);
    }
    let text = if file || read_as.is_scalar() { value.slice_ref(value.trim_ascii()) } else { value.clone() };
    check_grammar(read_as, &text)?;
    T::from_text(read_as, &text)
}

/// Whether `T` reads values of this type at all, by the table of this module.
///
/// # Errors
///
/// [`ValueError::UnknownType`] and [`ValueError::Unreadable`].
///
/// ```
/// use datastream::value::reads;
///
/// assert!(reads::<f64>("int").is_ok());
/// assert!(reads::<i64>("float").is_err());
/// ```
pub fn reads<T: Value>(value_type: &str) -> Result<(), ValueError> {
    read_as::<T>(value_type).map(drop)
}

/// The type as which `T` reads values of this type, and whether they are the text of a file.
fn read_as<T: Value>(value_type: &str) -> Result<(ValueType, bool), ValueError> {
    let reads = |value_type: &ValueType| T::READS.contains(value_type);
    let (read_as, file) = match kind::find(value_type) {
        Some(name) if name.file && reads_files::<T>() => (T::WRITES, true),
        Some(name) => (name.value_type, false),
        None if reads(&ValueType::Bytes) => (ValueType::Bytes, false),
        None => return Err(ValueError::unknown(value_type)),
    };
    if reads(&read_as) { Ok((read_as, file)) } else { Err(ValueError::unreadable::<T>(value_type)) }
}

/// Writes a value as the text of the type [`T::WRITES`](Value::WRITES), and checks that it can be pushed.
///
/// # Errors
///
/// [`ValueError`] if the type has no text for it.
pub fn encode<T: Value>(value: &T) -> Result<Bytes, ValueError> {
    let text = value.to_text()?;
    check_grammar(T::WRITES, &text)?;
    Ok(text)
}

/// Whether the text of a file, which no writer gave a type, may be read in the grammar that `T` wants.
fn reads_files<T: Value>() -> bool {
    T::READS.iter().any(|value_type| value_type.is_scalar()) && !T::READS.contains(&ValueType::Json)
}

fn check_grammar(value_type: ValueType, text: &[u8]) -> Result<(), ValueError> {
    match value_type {
        ValueType::Int => scalar::int(text).map(drop),
        ValueType::Float => scalar::float(text).map(drop),
        ValueType::Bool => scalar::truth(text).map(drop),
        ValueType::String => text::utf8(text).map(drop),
        ValueType::Json => json::check(text),
        ValueType::Bytes => Ok(()),
        ValueType::Duration => duration::parse(text).map(drop),
        ValueType::Timestamp => timestamp::parse(text).map(drop),
    }
}
