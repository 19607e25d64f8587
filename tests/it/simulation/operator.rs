//! Somebody who asks the servers how they are.

use std::time::Duration;

use datastream_client::Client;
use tokio::time::{Instant, sleep};
use turmoil::net::TcpStream;

use super::host::PORT;
use super::run::SERVERS;

/// How long a server keeps the stream of a client that is gone: it pings after 20 s and waits for 10 s. One that takes no
/// message is ended after twice 30 s.
const LET_GO_WITHIN: Duration = Duration::from_secs(65);

/// Nothing is left at the servers of streams that were: in bounded time there are as many as clients that follow.
pub(super) async fn expects_streams(streams: u64) -> turmoil::Result {
    let clients = SERVERS.map(|server| {
        let connect = |address: String| async move { TcpStream::connect(address.as_str()).await };
        Client::builder(format!("http://{server}:{PORT}")).connector(connect).connect()
    });
    let until = Instant::now() + LET_GO_WITHIN;
    loop {
        let mut there = 0;
        for client in &clients {
            there += client.server_status().await.map_or(0, |status| status.subscriptions);
        }
        if there == streams {
            return Ok(());
        }
        if Instant::now() > until {
            return Err(format!("{there} streams are open, and {streams} clients follow").into());
        }
        sleep(Duration::from_secs(1)).await;
    }
}
