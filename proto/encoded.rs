//! A message that is already encoded.

use bytes::{Buf, BufMut, Bytes};
use prost::encoding::{DecodeContext, WireType};

/// A `DataResponse` in its encoded form.
///
/// A protobuf map is a repeated entry, so such a message is the concatenation of its entries, each of
/// which was encoded once, when its value was committed. Encoding it again copies these bytes and
/// nothing else. It is made by a server and never received: decoding it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Encoded(pub Bytes);

impl prost::Message for Encoded {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        buf.put_slice(&self.0);
    }

    fn merge_field(
        &mut self,
        _tag: u32,
        _wire_type: WireType,
        _buf: &mut impl Buf,
        _ctx: DecodeContext,
    ) -> Result<(), prost::DecodeError> {
        #[allow(deprecated, reason = "prost offers no other way to make this error")]
        Err(prost::DecodeError::new("an encoded response is only ever sent"))
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn clear(&mut self) {
        self.0 = Bytes::new();
    }
}
