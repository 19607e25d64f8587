//! A client as applications have it, behind a switch that sends it from one server to another.

use std::collections::BTreeMap;

use datastream_client::{Client, Entries, Watch};
use tokio::task::JoinHandle;

use super::switch::Switch;
use crate::wire::within;

/// It checks that nothing that it shows ever goes back.
pub(super) struct Watcher {
    switch: Switch,
    own: Watch<Entries<String>>,
    shared: Watch<Entries<String>>,
    check: JoinHandle<()>,
}

impl Watcher {
    pub(super) async fn start(url: &str) -> Self {
        let switch = Switch::to(url).await;
        let client = Client::connect(switch.url());
        let [own, shared] = ["own/", "shared/"].map(|prefix| client.watch_prefix::<String>(prefix));
        for handle in [&own, &shared] {
            within("a first state", handle.ready()).await.expect("the server is there");
        }
        let check = tokio::spawn(never_goes_back(client, own.clone()));
        Self { switch, own, shared, check }
    }

    /// Sends it to the server at `url`.
    pub(super) fn hop(&self, url: &str) {
        self.switch.point(url);
    }

    /// Waits until it shows what the table holds.
    pub(super) async fn shows(self, table: &BTreeMap<String, Vec<u8>>) {
        let table: BTreeMap<&str, &[u8]> = table.iter().map(|(key, value)| (&**key, &**value)).collect();
        let shows = async {
            let mut handles = [self.own.clone(), self.shared.clone()];
            while !self.is_showing(&table) {
                let [own, shared] = &mut handles;
                tokio::select! {
                    () = own.changed() => {}
                    () = shared.changed() => {}
                }
            }
        };
        within("a client shows what the table holds", shows).await;
        assert!(!self.check.is_finished(), "a client went back");
        self.check.abort();
    }

    fn is_showing(&self, table: &BTreeMap<&str, &[u8]>) -> bool {
        let shown = [&self.own, &self.shared].map(|handle| handle.load().into_arc());
        let shown = shown
            .iter()
            .flatten()
            .flat_map(|entries| entries.iter())
            .map(|(key, value)| (key, value.as_bytes()));
        shown.eq(table.iter().map(|(key, value)| (*key, *value)))
    }
}

async fn never_goes_back(client: Client, mut handle: Watch<Entries<String>>) {
    let mut revision = 0;
    loop {
        let now = client.snapshot().position().map_or(0, |position| position.revision);
        assert!(now >= revision, "a client went back from {revision} to {now}");
        revision = now;
        handle.changed().await;
    }
}
