//! The limits of a connection, read from the wire: a library that leaves one unset means "no limit" by it.

use datastream_server::testing::TestServer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::bad_input::raw::PREFACE;
use crate::wire::within;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const MAX_HEADER_LIST_SIZE: u16 = 6;

async fn connect(server: &TestServer) -> TcpStream {
    let url = server.url();
    let address = url.strip_prefix("http://").expect("a test server speaks plaintext");
    within("connecting", TcpStream::connect(address)).await.expect("it listens")
}

/// The settings that a server sends in its first frame.
async fn settings(server: &TestServer) -> Vec<(u16, u32)> {
    let mut stream = connect(server).await;
    stream.write_all(PREFACE).await.expect("it reads");
    let mut head = [0; 9];
    within("a frame", stream.read_exact(&mut head)).await.expect("it answers");
    assert_eq!(head[3], 4, "the first frame is SETTINGS");
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).expect("a frame is small")];
    within("its payload", stream.read_exact(&mut payload)).await.expect("it is whole");
    let (entries, rest) = payload.as_chunks::<6>();
    assert!(rest.is_empty(), "a setting has six bytes");
    let read =
        |[a, b, c, d, e, f]: &[u8; 6]| (u16::from_be_bytes([*a, *b]), u32::from_be_bytes([*c, *d, *e, *f]));
    entries.iter().map(read).collect()
}

#[tokio::test]
async fn a_connection_states_how_many_streams_and_how_many_headers_it_takes() {
    let settings = settings(&TestServer::start()).await;
    assert!(settings.contains(&(MAX_CONCURRENT_STREAMS, 128)), "{settings:?}");
    assert!(settings.contains(&(MAX_HEADER_LIST_SIZE, 16 << 10)), "{settings:?}");
}
