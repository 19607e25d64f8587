//! How a server reads what a client sends.

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder};

/// The codec of the generated server: protobuf, and one message in a call.
///
/// All requests of the contract are one message. tonic reads the first and discards what follows it, so a caller
/// who sends two would take the second for done. Here the second ends the call, before anything of it is applied.
#[derive(Debug, Default)]
pub(crate) struct OneMessage<T, U>(ProstCodec<T, U>);

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
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        OneDecoder { inner: self.0.decoder(), has_read: false }
    }
}

/// The decoder of one call.
#[derive(Debug)]
pub(crate) struct OneDecoder<U> {
    inner: ProstDecoder<U>,
    has_read: bool,
}

impl<U: Message + Default> Decoder for OneDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, buf: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if std::mem::replace(&mut self.has_read, true) {
            // What gRPC says of a call with another number of messages than its method takes.
            return Err(Status::unimplemented("the method takes one message"));
        }
        self.inner.decode(buf)
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.inner.buffer_settings()
    }
}
