//! A client that says what no gRPC client says: any body, any header, over HTTP/2.

use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use prost::Message;
use tokio::net::TcpStream;
use tonic::Code;

use crate::wire::within;

/// What a client says first, and an empty SETTINGS frame.
pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// The value of a header that is not sent at all.
pub(crate) const LEFT_OUT: &str = "(left out)";

/// How a call was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) trailers: HeaderMap,
}

impl Answer {
    /// The status of gRPC, which stands in the trailers, or in the headers where there is no body.
    pub(crate) fn code(&self) -> Option<Code> {
        Some(Code::from_bytes(self.field("grpc-status")?.as_bytes()))
    }

    pub(crate) fn message(&self) -> &str {
        self.field("grpc-message").unwrap_or_default()
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.trailers.get(name).or_else(|| self.headers.get(name))?.to_str().ok()
    }
}

/// Sends `body` as it is, on a connection of its own. Fails if the server resets the call.
pub(crate) async fn call(
    url: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Answer, h2::Error> {
    let address = url.strip_prefix("http://").expect("a test server speaks plain HTTP");
    let tcp = TcpStream::connect(address).await.expect("the server accepts");
    let (client, connection) = h2::client::handshake(tcp).await?;
    let connection = tokio::spawn(connection);
    let mut client = within("ready", client.ready()).await?;
    let mut request = Request::post(format!("{url}{path}")).header("te", "trailers");
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    let sent = headers.iter().filter(|(_, value)| *value != LEFT_OUT);
    let request = sent.fold(request, |request, (name, value)| request.header(*name, *value));
    let (response, mut sending) = client.send_request(request.body(()).expect("it is a request"), false)?;
    // The server may have answered, and reset the call, before it read all of the body.
    let _ = sending.send_data(Bytes::copy_from_slice(body), true);
    let (head, mut body) = within("headers", response).await?.into_parts();
    while let Some(data) = within("the body", body.data()).await {
        let _ = body.flow_control().release_capacity(data?.len());
    }
    let trailers = within("trailers", body.trailers()).await?.unwrap_or_default();
    connection.abort();
    Ok(Answer { http: head.status, headers: head.headers, trailers })
}

/// A message in the frame of gRPC.
pub(crate) fn framed(message: &impl Message) -> Vec<u8> {
    frame(0, &message.encode_to_vec())
}

/// `payload` in the frame of gRPC, with the flag that says whether it is compressed.
pub(crate) fn frame(flag: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a test sends less than 4 GiB");
    [&[flag], &length.to_be_bytes()[..], payload].concat()
}

/// The most memory that this process has had so far, in MiB; 0 where the system does not tell.
pub(crate) fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.strip_suffix("kB"));
    peak.and_then(|kib| kib.trim().parse::<u64>().ok()).unwrap_or_default() >> 10
}
