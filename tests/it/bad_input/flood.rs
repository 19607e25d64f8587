//! Row 73: one connection that opens calls and gives them up, as fast as it can. Each flood is bounded in count and
//! in time, so that a server that withstands it badly fails the test and not the machine.

use std::time::Duration;

use datastream_server::testing::TestServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::raw::{PREFACE, peak_mib};
use super::{assert_serves, server};
use crate::captured_log;
use crate::wire::{Wire, eventually, within};

/// How many calls a flood opens, at once or one by one, and how long it may take.
const AT_ONCE: u32 = 3000;
const ONE_BY_ONE: u32 = 1000;
const TIME: Duration = Duration::from_secs(20);

const PING: u8 = 6;
const ACK: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("it is short").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The stream of a call.
fn stream(number: u32) -> u32 {
    2 * number + 1
}

/// Opens a `Subscribe` with its whole request: HEADERS, DATA.
fn open(number: u32) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).expect("it is short")], text.as_bytes()].concat();
    // POST and http by their places in the table of HPACK, then the values of path (4) and content-type (31).
    let path = text("/datastream.DataService/Subscribe");
    let headers = [&[0x83, 0x86, 0x04][..], &path, &[0x0f, 0x10], &text("application/grpc")].concat();
    [frame(1, 4, stream(number), &headers), frame(0, 1, stream(number), &[0; 5])].concat()
}

/// Gives it up: RST_STREAM (CANCEL).
fn reset(number: u32) -> Vec<u8> {
    frame(3, 0, stream(number), &8_u32.to_be_bytes())
}

async fn connect(server: &TestServer) -> TcpStream {
    let mut connection =
        TcpStream::connect(server.url().replace("http://", "")).await.expect("the server accepts");
    connection.set_nodelay(true).expect("it is TCP");
    connection.write_all(PREFACE).await.expect("the server reads");
    connection
}

/// Sends a PING, and reads until it is answered: then the server has read all that came before.
async fn ping(connection: &mut TcpStream) {
    connection.write_all(&frame(PING, 0, 0, &[7; 8])).await.expect("the server reads");
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await.expect("the connection is there");
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).expect("a frame is small")];
        connection.read_exact(&mut payload).await.expect("the connection is there");
        if (head[3], head[4]) == (PING, ACK) {
            return;
        }
    }
}

/// Checks that others are served while `flood` goes on, and afterwards, and that it leaves nothing behind.
async fn withstands(server: &TestServer, wire: &Wire, flood: impl Future<Output = ()>) {
    let before = peak_mib();
    let others = async {
        for _ in 0..20 {
            assert_serves(wire).await;
        }
    };
    let flood = async { timeout(TIME, flood).await.expect("the flood ends in time") };
    within("the others", async { tokio::join!(flood, others) }).await;
    eventually("the subscribers are gone", || server.subscribers() == 0).await;
    assert_serves(wire).await;
    let grown = peak_mib() - before;
    assert!(grown < 256, "calls that were given up took {grown} MiB");
}

#[tokio::test]
async fn row_73_calls_that_are_reset_before_they_are_looked_at_end_their_connection() {
    let (server, _, wire) = server().await;
    let connection = connect(&server).await;
    let flood = async {
        let (mut reading, mut writing) = connection.into_split();
        let calls: Vec<u8> = (0..AT_ONCE).flat_map(|number| [open(number), reset(number)].concat()).collect();
        // The server may be gone before it has read all of them; a reset is an end as well.
        let write = async {
            let _ = writing.write_all(&calls).await;
        };
        let mut answer = Vec::new();
        let _ = tokio::join!(write, reading.read_to_end(&mut answer));
    };
    withstands(&server, &wire, flood).await;
}

#[tokio::test]
async fn row_73_calls_that_are_reset_one_by_one_leave_nothing_behind() {
    let (server, _, wire) = server().await;
    let mut connection = connect(&server).await;
    let peer = format!("peer={} ", connection.local_addr().expect("it is connected"));
    let flood = async {
        for number in 0..ONE_BY_ONE {
            for said in [open(number), reset(number)] {
                connection.write_all(&said).await.expect("the server reads");
                ping(&mut connection).await;
            }
        }
    };
    withstands(&server, &wire, flood).await;
    let subscribed =
        captured_log::lines_with(&peer).iter().filter(|line| line.contains("subscribed")).count();
    assert!(subscribed > ONE_BY_ONE as usize / 2, "only {subscribed} calls came as far as their method");
}
