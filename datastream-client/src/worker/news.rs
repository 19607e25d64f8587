//! What the log is told of the servers: one line for each thing that is new.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::Disconnect;
use crate::session::Link;
use crate::status::Peer;

/// What was told.
pub(super) struct News {
    servers: Vec<String>,
    /// The number of the one that is followed, or was asked last.
    asked: usize,
    followed: Option<Peer>,
    /// Why each was lost, since one was followed: with several, the reasons come by turns.
    lost: HashMap<usize, String>,
}

impl News {
    pub(super) fn of(servers: Vec<String>) -> Self {
        Self { servers, asked: 0, followed: None, lost: HashMap::new() }
    }

    /// Another server is asked. Returns its name.
    pub(super) fn asked(&mut self, server: usize) -> &str {
        self.asked = server;
        self.server()
    }

    fn server(&self) -> &str {
        self.servers.get(self.asked).map_or("", String::as_str)
    }

    /// Tells what became of the link, if that is new.
    pub(super) fn tell(&mut self, link: &Link) {
        match link {
            Link::Lost(why) if **why == Disconnect::Closed => tracing::info!("the settings client is closed"),
            Link::Lost(why) => self.tell_lost(why),
            Link::Live(peer) if self.followed != Some(*peer) => self.tell_followed(*peer),
            Link::Live(_) | Link::Idle | Link::Connecting => {}
        }
    }

    fn tell_lost(&mut self, why: &Arc<Disconnect>) {
        self.followed = None;
        let text = why.to_string();
        let is_new = self.lost.insert(self.asked, text.clone()).as_ref() != Some(&text);
        let server = self.server();
        match why.is_fatal() {
            _ if !is_new => {}
            true => {
                tracing::error!(server, %why, "the settings server cannot be followed; the last values stay");
            }
            false => tracing::warn!(server, %why, "the settings server is lost; the last values stay"),
        }
    }

    fn tell_followed(&mut self, peer: Peer) {
        self.followed = Some(peer);
        self.lost.clear();
        let server = self.server();
        match peer {
            Peer::Current => tracing::info!(server, "following the settings server"),
            Peer::Original => {
                let what = "following a settings server of the original: live, no heartbeats, no deletions";
                tracing::info!(server, "{what}");
            }
        }
    }
}
