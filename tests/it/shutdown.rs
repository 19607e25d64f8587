//! The program stops when it is asked to, with streams open and pushes under way.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use tempfile::TempDir;

use crate::file_server::FileServer;
use crate::pushers::Counters;
use crate::wire::{Wire, announced, unannounced, within};

const CONNECTIONS: usize = 4;
const STREAMS: usize = 200;
const COUNTERS: usize = 16;
/// By when a process is to be gone that was asked to go.
const LIMIT: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sigterm_with_200_streams_and_pushes_in_flight_exits_0_and_keeps_every_acknowledged_push() {
    let folder = TempDir::new().expect("a folder");
    let mut server = FileServer::start(folder.path());
    let wires = join_all((0..CONNECTIONS).map(async |_| Wire::to(&server.url()).await)).await;
    let mut counters = Counters::new(COUNTERS);
    counters.push_once(&wires[0]).await;
    let pushed_once = counters.tally().0;

    let mut streams = Vec::new();
    for n in 0..STREAMS {
        let keys = counters.keys();
        let request = if n % 4 == 0 { unannounced(keys) } else { announced(keys) };
        let mut stream = wires[n % CONNECTIONS].subscribe(request).await;
        stream.next().await;
        streams.push(stream);
    }
    let pushers = counters.push_until_gone(Wire::to(&server.url()).await);
    let stop = async {
        // The streams see pushes: they are under way.
        for stream in &mut streams {
            stream.delivery().await;
        }
        server.terminate();
        let asked = Instant::now();
        let status = server.ended(LIMIT).await;
        (status, asked.elapsed())
    };
    let ((), (status, took)) = within("the end of the server", async { tokio::join!(pushers, stop) }).await;
    let status = status.unwrap_or_else(|| panic!("it goes on after {took:?}: {}", server.log()));
    assert_eq!(status.code(), Some(0), "{}", server.log());

    let (acknowledged, _) = counters.tally();
    println!("gone after {took:.1?}, {acknowledged} pushes acknowledged, {STREAMS} streams open");
    assert!(acknowledged > pushed_once, "no push was under way");
    counters.held_in(folder.path());
    server.start_again();
    counters.push_once(&Wire::to(&server.url()).await).await;
    counters.held_in(folder.path());
}
