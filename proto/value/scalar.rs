//! Numbers and truth values.

use std::str::FromStr;

use bytes::Bytes;
use serde::de::IgnoredAny;

use super::{Value, ValueError, ValueType};

const INT: ValueError = ValueError::Grammar {
    value_type: ValueType::Int,
    rule: "a decimal whole number within 64 bits, without a plus sign or leading zeros",
};
const FLOAT: ValueError = ValueError::Grammar {
    value_type: ValueType::Float,
    rule: "a number as JSON writes it, such as -0.5 or 1e9",
};
const FINITE: ValueError = ValueError::Grammar {
    value_type: ValueType::Float,
    rule: "a finite number, and not one so small that it would be read as zero",
};
const BOOL: ValueError = ValueError::Grammar { value_type: ValueType::Bool, rule: "true or false" };

/// Reads an `int`.
pub(super) fn int(text: &[u8]) -> Result<i64, ValueError> {
    let text = str::from_utf8(text).map_err(|_| INT)?;
    let number: i64 = text.parse().map_err(|_| INT)?;
    // The standard library also takes `+1`, `01` and `-0`; only the canonical form comes back the same.
    if number.to_string() == text { Ok(number) } else { Err(INT) }
}

/// Reads a `float`.
pub(super) fn float(text: &[u8]) -> Result<f64, ValueError> {
    finite(text)?.ok_or(FINITE)
}

/// Reads a `bool`.
pub(super) fn truth(text: &[u8]) -> Result<bool, ValueError> {
    match text {
        b"true" => Ok(true),
        b"false" => Ok(false),
        _ => Err(BOOL),
    }
}

/// Reads a number; `None` if it is too large for `F`, or so small that nothing of it would be left.
///
/// The number grammar of JSON is what JSON and Rust both take: Rust alone takes `.5`, `+1` and `inf`, JSON
/// alone takes white space and what is no number.
fn finite<F: FromStr + Copy + Into<f64>>(text: &[u8]) -> Result<Option<F>, ValueError> {
    serde_json::from_slice::<IgnoredAny>(text).map_err(|_| FLOAT)?;
    let number = str::from_utf8(text).map_err(|_| FLOAT)?;
    let value: F = number.parse().map_err(|_| FLOAT)?;
    let wide: f64 = value.into();
    let mut mantissa = number.bytes().take_while(|byte| !matches!(byte, b'e' | b'E'));
    let vanished = wide == 0.0 && mantissa.any(|byte| matches!(byte, b'1'..=b'9'));
    Ok((wide.is_finite() && !vanished).then_some(value))
}

macro_rules! integers {
    ($($integer:ty)*) => {$(
        impl Value for $integer {
            const READS: &'static [ValueType] = &[ValueType::Int];
            const WRITES: ValueType = ValueType::Int;

            fn from_text(_: ValueType, text: &Bytes) -> Result<Self, ValueError> {
                int(text)?.try_into().map_err(|_| ValueError::too_wide::<Self>())
            }

            fn to_text(&self) -> Result<Bytes, ValueError> {
                let number = i64::try_from(*self)
                    .map_err(|_| ValueError::OutOfRange { target: ValueType::Int.name() })?;
                Ok(number.to_string().into())
            }
        }
    )*};
}

integers!(i8 i16 i32 i64 isize u8 u16 u32 u64 usize);

macro_rules! floats {
    ($($float:ty)*) => {$(
        impl Value for $float {
            const READS: &'static [ValueType] = &[ValueType::Int, ValueType::Float];
            const WRITES: ValueType = ValueType::Float;

            fn from_text(_: ValueType, text: &Bytes) -> Result<Self, ValueError> {
                finite(text)?.ok_or_else(ValueError::too_wide::<Self>)
            }

            fn to_text(&self) -> Result<Bytes, ValueError> {
                // The shortest text that reads as the same number, with an exponent where that is shorter.
                if self.is_finite() { Ok(format!("{self:?}").into()) } else { Err(FINITE) }
            }
        }
    )*};
}

floats!(f32 f64);

impl Value for bool {
    const READS: &'static [ValueType] = &[ValueType::Bool];
    const WRITES: ValueType = ValueType::Bool;

    fn from_text(_: ValueType, text: &Bytes) -> Result<Self, ValueError> {
        truth(text)
    }

    fn to_text(&self) -> Result<Bytes, ValueError> {
        Ok(Bytes::from_static(if *self { b"true" } else { b"false" }))
    }
}
