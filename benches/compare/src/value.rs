//! What is published: a number, and what proves that it arrived as it was sent.

use bytes::Bytes;

/// The length of every value.
pub const BYTES: usize = 20;
const PAD: [u8; 4] = *b"pad.";

/// The value with this number.
pub fn encode(sequence: u64) -> Bytes {
    let mut value = [0; BYTES];
    value[..8].copy_from_slice(&sequence.to_be_bytes());
    value[8..16].copy_from_slice(&proof(sequence).to_be_bytes());
    value[16..].copy_from_slice(&PAD);
    Bytes::copy_from_slice(&value)
}

/// The number of a value, if it is one.
pub fn decode(value: &[u8]) -> Option<u64> {
    let sequence = u64::from_be_bytes(value.get(..8)?.try_into().ok()?);
    (value == encode(sequence)).then_some(sequence)
}

fn proof(sequence: u64) -> u64 {
    (sequence ^ 0x5bd1_e995_9e37_79b9).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
