//! What the project's own bench `client_keys` says of a client that holds many keys.

use std::process::Command;

use anyhow::{Context as _, Result};

/// Its two figures.
pub struct ClientKeys {
    /// An update among the most keys, in one among the fewest.
    pub update: f64,
    /// The bytes of a key beside its text.
    pub bytes: f64,
}

pub fn measure() -> Result<ClientKeys> {
    let bench = std::env::var_os("COMPARE_CLIENT_KEYS").filter(|path| !path.is_empty());
    let output = Command::new(bench.context("the bench client_keys was not built")?).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let after = |words: &str| {
        let (_, rest) = text.lines().find_map(|line| line.split_once(words))?;
        rest.split(' ').next()?.parse().ok()
    };
    let update = after(" an update among the most keys: ").context("client_keys says nothing of updates")?;
    let bytes = after(" a key: ").context("client_keys says nothing of bytes")?;
    Ok(ClientKeys { update, bytes })
}
