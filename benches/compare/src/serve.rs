//! The servers to compare with that nobody else wrote.

pub mod naive;
pub mod raw;
