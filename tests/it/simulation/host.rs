//! What runs on the hosts: a server, or an application.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datastream_client::{Client, ClientBuilder};
use datastream_server::store::Store;
use datastream_server::{Config, ServeError, serve};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::time::sleep;
use turmoil::net::TcpListener;

use super::line::{Accepted, Tap};
use super::stage::Stage;
use super::store::DistantStore;
use crate::model::store::Role;

pub(super) const PORT: u16 = 8080;
/// How soon whoever looks after a server starts it again.
const STARTED_AGAIN: Duration = Duration::from_millis(500);

/// A server, until it is told to stop.
pub(super) async fn server(
    stage: Arc<Stage>,
    role: Role,
    config: Config,
    stop: Arc<Notify>,
) -> turmoil::Result {
    loop {
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await?;
        let incoming = futures_util::stream::unfold(listener, async |listener| {
            let accepted = listener.accept().await;
            Some((accepted.map(|(stream, _)| Accepted(stream)), listener))
        });
        let store: Arc<dyn Store> = Arc::new(DistantStore::new(&stage, role));
        match serve(Box::pin(incoming), store, config.clone(), stop.notified()).await {
            Ok(()) => return Ok(()),
            // Its store cannot be read at the start.
            Err(ServeError::Store(_)) => sleep(STARTED_AGAIN).await,
            Err(error) => panic!("a server ended: {error}"),
        }
    }
}

/// Where an application that runs is found.
pub(super) type Slot = Arc<Mutex<Option<(Client, Handle)>>>;

/// An application: a client, and a runtime for its calls.
pub(super) async fn application(client: ClientBuilder, tap: Arc<Tap>, slot: Slot) -> turmoil::Result {
    tap.restart();
    let client = client.connector(move |address| tap.clone().connect(address)).connect();
    *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some((client, Handle::current()));
    std::future::pending().await
}
