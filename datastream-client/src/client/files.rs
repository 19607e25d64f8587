//! What an application may keep beside its server: files to begin with, and overrides.

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::oneshot;

use super::{Client, ClientBuilder};
use crate::cache::WriteError;
use crate::worker::Command;

impl Client {
    /// Writes a [bootstrap file](ClientBuilder::bootstrap_file): all that this client watches, as the server has said
    /// it, without overrides. It replaces what is at `path` in one step. A [fixed](Client::fixed) client has nothing to
    /// write.
    ///
    /// The values lie in it as they are; only its owner may read it, unless you say otherwise. Once asked for, the
    /// file is written even if the future is dropped.
    ///
    /// ```no_run
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// use datastream_client::Client;
    ///
    /// let client = Client::connect("http://127.0.0.1:8080");
    /// let max = client.watch::<i64>("max_connections");
    /// max.ready().await?;
    /// client.write_bootstrap("settings.bootstrap").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`WriteError`]: no server has said anything yet, or the file cannot be written.
    pub async fn write_bootstrap(&self, path: impl Into<PathBuf>) -> Result<(), WriteError> {
        let (reply, written) = oneshot::channel();
        let command = Command::WriteBootstrap(path.into(), reply);
        self.inner.commands.send(command).map_err(|_| WriteError::Closed)?;
        self.inner.attend();
        written.await.map_err(|_| WriteError::Closed)?
    }
}

impl ClientBuilder {
    /// Keeps the last known good state in a file, and begins with it: an application that starts while its server,
    /// or the network, is down has the settings of its last run. Default: none.
    ///
    /// Until the first complete live state each handle shows what the file has, with the origin
    /// [`Cache`](crate::Origin::Cache), the state [`Stale`](crate::State::Stale), and its true age; then everything is
    /// replaced in one step, and the file does not count any more. Beside the newest value of a key it has the last
    /// one that every handle could use, if the newest is none.
    ///
    /// The file is replaced in one step, never by the task that takes updates, at most once per
    /// [interval](Self::cache_interval), and when the client ends, before [`close`](Client::close) returns. A process that exits at once after its last handle
    /// was dropped may miss that last write if it has no tokio runtime; it has an older file then, never a broken one.
    /// One file is for one client: two that share it overwrite each other. It is read before the first contact, which
    /// a slow disk delays; [`connect`](Self::connect) does not wait for it.
    ///
    /// A file that is cut, damaged, unreadable, of a newer version, of another server address, or no regular file,
    /// is as none: one warning names it, and the next good state replaces it. A path that cannot be written costs a
    /// warning, and is tried again.
    ///
    /// **The values lie in the file as they are.** On Unix only its owner may read it (mode 0600).
    ///
    /// ```
    /// use datastream_client::Client;
    ///
    /// let url = "http://127.0.0.1:8080";
    /// let client = Client::builder(url).cache_file("/var/cache/my-app/settings").connect();
    /// ```
    pub fn cache_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.wish.files.cache = Some(path.into());
        self
    }

    /// The least time from one write of the [cache file](Self::cache_file) to the next; after one that failed at
    /// least a second. Default: 10 s. With [`Duration::MAX`] the first state is written, and the last.
    pub fn cache_interval(mut self, interval: Duration) -> Self {
        self.wish.cache_interval = interval;
        self
    }

    /// Begins with a file that came with the application, where there is no good [cache file](Self::cache_file). It
    /// is only read, once; [`Client::write_bootstrap`] writes one. Default: none.
    ///
    /// It is used as a cache is, with the origin [`Bootstrap`](crate::Origin::Bootstrap). It may be a link, and of
    /// another server: a server to which its position means nothing sends everything. One that is not there, or not
    /// good, costs a warning.
    pub fn bootstrap_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.wish.files.bootstrap = Some(path.into());
        self
    }

    /// Lets an operator replace settings of this one application, whatever the server says, for as long as they stand
    /// in a file: a JSON object of keys and values. Default: none.
    ///
    /// ```json
    /// { "max_connections": 10, "limits/timeout": "30s", "debug_enabled": true }
    /// ```
    ///
    /// The file is read each second; it may come, change and go at any time, and each override that begins or ends is
    /// a warning in the log, which names the key. Handles and [snapshots](Client::snapshot) show an override with the
    /// origin [`Override`](crate::Origin::Override), with or without a server; it is never written to a server or to a
    /// cache file. A string is read as the text of the type that a handle wants; objects and lists are JSON. Where a
    /// handle cannot use it, the handle goes on with the live value, and its status has the refusal; a struct or a map
    /// of a prefix keeps what it showed last. A file that is no such object is not used: the overrides stay as they
    /// were.
    pub fn override_file(mut self, path: impl Into<PathBuf>) -> Self {
        self.wish.override_file = Some(path.into());
        self
    }

    /// As [`override_file`](Self::override_file), from variables of the environment, which are read once, by this
    /// builder's [`connect`](Self::connect). The file wins. Default: off.
    ///
    /// The variable of a key is `DATASTREAM_OVERRIDE_` and the key in capitals, with `__` for each `/` and `_` for
    /// whatever else is no ASCII letter or digit: `DATASTREAM_OVERRIDE_LIMITS__MAX_RATE` is for `limits/max-rate`, and
    /// for `limits/max_rate` as well. It is read as a string in the file is. Below a prefix it concerns keys that the
    /// server has.
    pub fn overrides_from_env(mut self) -> Self {
        self.wish.overrides_from_env = true;
        self
    }
}
