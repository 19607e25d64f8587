//! How a client reaches its server, and says who it is.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use tokio::io::{AsyncRead, AsyncWrite};

use super::ClientBuilder;
use crate::transport::{Connector, Token};

impl ClientBuilder {
    /// Says with every call who this is, as `authorization: Bearer TOKEN`. It is of visible ASCII characters, at most
    /// 8 KiB; anything else is shown by [`status`](crate::Client::status), as a bad address is. Without TLS everybody on the
    /// way can read it, and a warning says so, once, where the way leaves this machine.
    pub fn token(mut self, token: impl Into<String>) -> Self {
        self.access.token = Token::Fixed(token.into());
        self
    }

    /// As [`token`](Self::token), from a file that is read for each call, so that it may be replaced at any time. White
    /// space around it is ignored. One that cannot be read is shown by [`status`](crate::Client::status), and read again by
    /// the next attempt.
    pub fn token_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.access.token = Token::from_file(path.into());
        self
    }

    /// As [`token`](Self::token), from a function that is asked for each call, on a thread of its own where it may block for
    /// as long as [`Limits::connect`](crate::Limits::connect); what comes later is for the next call. It is never asked twice at
    /// once: calls that need a token meanwhile have the same. Its error is shown by [`status`](crate::Client::status), so it should
    /// not name the secret; it is asked again by the next attempt.
    ///
    /// ```
    /// use datastream_client::Client;
    ///
    /// let client = Client::builder("https://settings.example").token_from(|| std::env::var("SETTINGS_TOKEN"));
    /// ```
    pub fn token_from<E>(mut self, ask: impl Fn() -> Result<String, E> + Send + Sync + 'static) -> Self
    where
        E: Into<Box<dyn Error + Send + Sync>>,
    {
        self.access.token = Token::asked(move || ask().map_err(|why| why.into().to_string()));
        self
    }

    /// What is trusted where an address begins with `https://`, and how the client shows who it is. Default: what the
    /// system trusts, and nothing.
    #[cfg(feature = "tls")]
    pub fn tls(mut self, tls: crate::Tls) -> Self {
        self.access.tls = tls;
        self
    }

    /// Makes connections in the place of the system: through a proxy, or over the network of a simulation. `connect` is
    /// given host and port, such as `settings.example:8443`, and may take as long as [`Limits::connect`](crate::Limits::connect). TLS, if the
    /// address asks for it, is spoken over what it returns. Sockets of Unix are not asked of it. It runs on the runtime of
    /// the client, where it must not block; if it panics, the server counts as not to be reached.
    ///
    /// ```
    /// use datastream_client::Client;
    /// use tokio::net::TcpStream;
    ///
    /// let client = Client::builder("http://settings.example:8080").connector(|_| TcpStream::connect("127.0.0.1:8080"));
    /// ```
    pub fn connector<C, F>(mut self, connect: impl Fn(String) -> F + Send + Sync + 'static) -> Self
    where
        C: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        F: Future<Output = io::Result<C>> + Send + 'static,
    {
        self.access.connector = Some(Connector::new(connect));
        self
    }
}
