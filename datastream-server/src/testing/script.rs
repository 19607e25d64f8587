//! A server that says what the test wants, right or wrong.

use std::sync::Arc;

use bytes::Bytes;
use datastream::proto::{DataRequest, DataResponse};
use datastream::{Encoded, header};
use futures_util::{StreamExt as _, stream};
use prost::Message as _;
use tokio::sync::{mpsc, oneshot};
use tonic::{Code, Response, Status};

use super::faults::Faults;
use super::tampering::Frames;

/// Answers each `Subscribe` of a [`TestServer`](super::TestServer) in place of it, until this is dropped. Its streams last
/// until they are dropped themselves.
///
/// ```
/// use datastream_client::{Client, State};
/// use datastream_server::testing::{TestServer, message};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let server = TestServer::start();
/// let mut script = server.script();
/// let n = Client::connect(server.url()).watch::<i64>("n");
/// let stream = script.answer([message::state(5, [("n", 5, "int", "10")])]).await;
/// n.ready().await?;
/// // A revision below the one that the client has breaks the contract: it leaves.
/// stream.say(message::heartbeat(4));
/// stream.dropped().await;
/// assert_eq!(n.get(), Some(10));
/// # Ok::<(), Box<dyn std::error::Error>>(()) })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Script {
    calls: mpsc::UnboundedReceiver<Asked>,
    faults: Arc<Faults>,
}

impl Script {
    pub(super) fn begin(faults: Arc<Faults>) -> Self {
        let (asked, calls) = mpsc::unbounded_channel();
        faults.set_script(Some(asked));
        Self { calls, faults }
    }

    /// The next `Subscribe`, which waits for its answer. Waits for ever if none comes: give it a deadline.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when this is dropped.
    pub async fn next(&mut self) -> Asked {
        match self.calls.recv().await {
            Some(asked) => asked,
            // The sender is in `faults` as long as this lives.
            None => std::future::pending().await,
        }
    }

    /// Lets the next `Subscribe` in, [without heartbeats](Asked::accept), and says exactly these messages. Waits as
    /// [`next`](Self::next) does.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when this is dropped.
    pub async fn answer(&mut self, messages: impl IntoIterator<Item = DataResponse>) -> ScriptedStream {
        let stream = self.next().await.accept();
        messages.into_iter().for_each(|message| stream.say(message));
        stream
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.faults.set_script(None);
    }
}

/// A `Subscribe` that waits for its answer. Dropped, it is refused with UNAVAILABLE.
pub struct Asked {
    request: DataRequest,
    reply: oneshot::Sender<Result<Response<Frames>, Status>>,
}

impl Asked {
    /// What the client asks for.
    #[must_use]
    pub fn request(&self) -> &DataRequest {
        &self.request
    }

    /// Sends headers that name no heartbeats: the client takes no silence amiss.
    #[must_use = "a stream ends when it is dropped"]
    pub fn accept(self) -> ScriptedStream {
        self.open(None)
    }

    /// Sends headers with this as the interval of heartbeats, which is in milliseconds where it is right.
    ///
    /// # Panics
    ///
    /// If it cannot stand in a header.
    #[must_use = "a stream ends when it is dropped"]
    pub fn accept_with_heartbeat(self, interval: &str) -> ScriptedStream {
        self.open(Some(interval))
    }

    fn open(self, heartbeat: Option<&str>) -> ScriptedStream {
        let (frames, mut received) = mpsc::unbounded_channel();
        let stream: Frames = Box::pin(stream::poll_fn(move |context| received.poll_recv(context)));
        let mut response = Response::new(stream);
        if let Some(interval) = heartbeat {
            let interval = interval.parse().expect("it can stand in a header");
            response.metadata_mut().insert(header::HEARTBEAT_MS, interval);
        }
        // A client that has gone meanwhile is no failure.
        let _ = self.reply.send(Ok(response));
        ScriptedStream { frames }
    }

    /// Ends it at once with this status; OK is a stream without a message.
    pub fn refuse(self, status: Status) {
        let answer = match status.code() {
            Code::Ok => Ok(Response::new(stream::empty().boxed())),
            _ => Err(status),
        };
        let _ = self.reply.send(answer);
    }
}

/// A stream that a client reads. It ends, with the status OK, when this is dropped.
pub struct ScriptedStream {
    frames: mpsc::UnboundedSender<Result<Encoded, Status>>,
}

impl ScriptedStream {
    /// Sends a message. To a client that no longer listens it is lost.
    pub fn say(&self, message: DataResponse) {
        self.say_bytes(message.encode_to_vec());
    }

    /// Sends what may not even be a message.
    pub fn say_bytes(&self, message: impl Into<Bytes>) {
        let _ = self.frames.send(Ok(Encoded(message.into())));
    }

    /// Ends it with this status.
    pub fn end(self, status: Status) {
        let _ = self.frames.send(Err(status));
    }

    /// Waits until the client has left the stream; for ever, if it does not.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost when this is dropped.
    pub async fn dropped(&self) {
        self.frames.closed().await;
    }
}

/// Has the script answer.
pub(super) async fn answer(
    script: &mpsc::UnboundedSender<Asked>,
    request: DataRequest,
) -> Result<Response<Frames>, Status> {
    let (reply, answer) = oneshot::channel();
    let _ = script.send(Asked { request, reply });
    answer.await.unwrap_or_else(|_| Err(Status::unavailable("the script let it fall")))
}
