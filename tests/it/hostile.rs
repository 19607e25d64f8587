//! A server whose streams say what the test wants, and clients of it.

use std::time::Duration;

use datastream::proto::DataResponse;
use datastream_client::{Client, ClientBuilder, Limits};
use datastream_server::testing::{Asked, Script, ScriptedStream, TestServer};

use crate::wire::within;

/// The other side of a client. It is gone when dropped.
pub(crate) struct Hostile {
    server: TestServer,
    script: Script,
}

impl Hostile {
    pub(crate) fn start() -> Self {
        let server = TestServer::start();
        let script = server.script();
        Self { server, script }
    }

    /// What a client connects to.
    pub(crate) fn url(&self) -> String {
        self.server.url()
    }

    /// A client that gives a stream two seconds for its first message.
    pub(crate) fn client(&self) -> Client {
        self.client_with(Limits::default()).connect()
    }

    /// The same, with other limits beside.
    pub(crate) fn client_with(&self, limits: Limits) -> ClientBuilder {
        let limit = Duration::from_secs(2);
        Client::builder(self.url()).limits(limits.first_message(limit).seen(limit))
    }

    /// A client that gives a stream half a second: for tests that wait until its patience ends.
    pub(crate) fn impatient_client(&self) -> Client {
        let limit = Duration::from_millis(500);
        let limits = Limits::default().first_message(limit).seen(limit);
        Client::builder(self.url()).limits(limits).connect()
    }

    /// The next `Subscribe`.
    pub(crate) async fn asked(&mut self) -> Asked {
        within("Subscribe", self.script.next()).await
    }

    /// Lets the next `Subscribe` in, with heartbeats each two seconds as it says: no busy machine is taken for silence.
    pub(crate) async fn accept(&mut self) -> ScriptedStream {
        self.asked().await.accept_with_heartbeat("2000")
    }

    /// Lets it in, with heartbeats each 100 ms as it says, so that silence is soon missed.
    pub(crate) async fn accept_to_be_missed(&mut self) -> ScriptedStream {
        self.asked().await.accept_with_heartbeat("100")
    }

    /// Lets it in, and sends a first state.
    pub(crate) async fn serve(&mut self, state: DataResponse) -> ScriptedStream {
        let stream = self.accept().await;
        stream.say(state);
        stream
    }
}

/// Waits until the client has left the stream.
pub(crate) async fn left(stream: &ScriptedStream) {
    within("the client leaves the stream", stream.dropped()).await;
}
