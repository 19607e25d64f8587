//! Raw bytes: the way out of the types.

use bytes::Bytes;

use super::{Value, ValueError, ValueType};

impl Value for Bytes {
    const READS: &'static [ValueType] = &ValueType::ALL;
    const WRITES: ValueType = ValueType::Bytes;

    fn from_text(_: ValueType, text: &Bytes) -> Result<Self, ValueError> {
        Ok(text.clone())
    }

    fn to_text(&self) -> Result<Bytes, ValueError> {
        Ok(self.clone())
    }
}

impl Value for Vec<u8> {
    const READS: &'static [ValueType] = &ValueType::ALL;
    const WRITES: ValueType = ValueType::Bytes;

    fn from_text(_: ValueType, text: &Bytes) -> Result<Self, ValueError> {
        Ok(text.to_vec())
    }

    fn to_text(&self) -> Result<Bytes, ValueError> {
        Ok(Bytes::copy_from_slice(self))
    }
}
