//! A server that says what no gRPC server says: any status, any body, over HTTP/2.

use bytes::Bytes;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response};
use tokio::net::{TcpListener, TcpStream};

/// What each call is answered with.
#[derive(Clone, Debug)]
pub(crate) struct Said {
    pub(crate) http: u16,
    pub(crate) body: Bytes,
    /// The status of gRPC that comes last, if one does.
    pub(crate) status: Option<u16>,
    /// The details of it, as they are said.
    pub(crate) details: Option<&'static str>,
}

/// Answers every call in this way, for as long as the test runs. Returns the address, which has no scheme.
pub(crate) async fn start(said: Said) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection, said.clone()));
        }
    });
    address
}

/// A client that does not like what it hears goes away; the test looks at what it says.
async fn serve(connection: TcpStream, said: Said) {
    let Ok(mut connection) = h2::server::handshake(connection).await else { return };
    while let Some(Ok((_, respond))) = connection.accept().await {
        // What is left of the body is sent while the connection is driven here.
        let _ = answer(respond, &said);
    }
}

fn answer(mut respond: SendResponse<Bytes>, said: &Said) -> Result<(), h2::Error> {
    let head = Response::builder().status(said.http).body(()).expect("it is a response");
    let ends = said.body.is_empty() && said.status.is_none();
    let mut body = respond.send_response(head, ends)?;
    if !said.body.is_empty() {
        body.send_data(said.body.clone(), said.status.is_none())?;
    }
    if let Some(status) = said.status {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from(status));
        if let Some(details) = said.details {
            trailers.insert("grpc-status-details-bin", HeaderValue::from_static(details));
        }
        body.send_trailers(trailers)?;
    }
    Ok(())
}
