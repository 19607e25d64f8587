//! How a server reads what a client sends.

use std::any::TypeId;
use std::marker::PhantomData;

use bytes::Buf as _;
use prost::Message;
use prost::encoding::{DecodeContext, decode_key, skip_field};
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder};

use crate::limit;
use crate::proto::CommitRequest;

/// What the encoder of a call holds before anything is sent: most calls are subscriptions that wait, and tonic's 8 KiB
/// would be most of what one takes. The first message makes it grow, and those after it find room there.
const IDLE_BYTES: usize = 16;
/// What the decoder of a call begins with. Most requests are shorter.
const REQUEST_BYTES: usize = 1024;
/// From how many bytes on a message leaves before the next is asked for; tonic's own default.
const YIELD_BYTES: usize = 32 * 1024;

/// The codec of the generated server: protobuf, and one message in a call.
///
/// All requests of the contract are one message. tonic reads the first and discards what follows it, so a caller
/// who sends two would take the second for done. Here the second ends the call, before anything of it is applied.
#[derive(Debug, Default)]
pub(crate) struct OneMessage<T, U>(PhantomData<(T, U)>);

impl<T, U> Codec for OneMessage<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = <ProstCodec<T, U> as Codec>::Encoder;
    type Decoder = OneDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(IDLE_BYTES, YIELD_BYTES))
    }

    fn decoder(&mut self) -> Self::Decoder {
        let settings = BufferSettings::new(REQUEST_BYTES, YIELD_BYTES);
        OneDecoder { inner: ProstCodec::<T, U>::raw_decoder(settings), has_read: false }
    }
}

/// The decoder of one call.
#[derive(Debug)]
pub(crate) struct OneDecoder<U> {
    inner: ProstDecoder<U>,
    has_read: bool,
}

impl<U: Message + Default + 'static> Decoder for OneDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if std::mem::replace(&mut self.has_read, true) {
            // What gRPC says of a call with another number of messages than its method takes.
            return Err(Status::unimplemented("the method takes one message"));
        }
        // An empty operation is two bytes on the way and a hundred and more in memory: too many are not even read.
        if TypeId::of::<U>() == TypeId::of::<CommitRequest>() && exceeds(buf.chunk(), 1, limit::OPERATIONS) {
            return Err(Status::resource_exhausted("operations: at most 10,000 in one commit"));
        }
        self.inner.decode(buf)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.inner.buffer_settings()
    }
}

/// Whether a message has the field `tag` more than `most` times. What is malformed is left to the decoder.
fn exceeds(mut message: &[u8], tag: u32, most: usize) -> bool {
    let mut found = 0;
    while let Ok((at, wire_type)) = decode_key(&mut message) {
        if found > most || skip_field(wire_type, at, &mut message, DecodeContext::default()).is_err() {
            break;
        }
        found += usize::from(at == tag);
    }
    found > most
}

#[cfg(test)]
mod tests {
    use crate::proto::Operation;

    use super::*;

    #[test]
    fn a_field_is_counted_before_it_is_read() {
        let message = |operations| {
            let operations = vec![Operation::default(); operations];
            CommitRequest { operations, author: "ada".to_owned(), ..CommitRequest::default() }.encode_to_vec()
        };
        assert!(!exceeds(&message(10), 1, 10) && exceeds(&message(11), 1, 10));
        assert!(!exceeds(&message(11), 3, 10), "another field");
        assert!(!exceeds(&message(11)[..21], 1, 10), "what is malformed is not judged here");
        assert!(!exceeds(&[], 1, 0));
    }
}
