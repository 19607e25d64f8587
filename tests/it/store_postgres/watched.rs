//! A table that is served, and who watches what comes of it: a stream, as it is on the wire, and a handle.

use std::collections::BTreeMap;
use std::time::Duration;

use datastream::proto::{Phase, Position};
use datastream_client::{Client, Watch};
use datastream_server::{Config, incoming, serve};
use tokio::task::JoinHandle;
use tonic::{Code, Status};

use crate::pushers::Counters;
use crate::wire::{Deliveries, Delivery, Wire, announced, data, eventually, resuming, within};

use super::open;

/// What we push.
const COUNTERS: usize = 2;
/// What others write.
const THEIRS: &str = "theirs";
/// Between two attempts at what is refused.
const PAUSE: Duration = Duration::from_millis(10);

/// A server in this process; ended when dropped.
pub(super) struct Watched {
    pub(super) wire: Wire,
    counters: Counters,
    stream: Deliveries,
    /// What the stream said so far.
    told: BTreeMap<String, i64>,
    /// Where it stands.
    position: Position,
    /// On the first counter.
    handle: Watch<i64>,
    serving: JoinHandle<()>,
}

impl Watched {
    /// Serves the table at `url`, which is empty.
    pub(super) async fn serve(url: &str) -> Self {
        let store = open(url).await.expect("the table can be served");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let config = Config::default().heartbeat(Duration::from_millis(50));
        let serving = tokio::spawn(async {
            serve(incoming(listener), store, config, std::future::pending()).await.expect("it serves");
        });
        let (wire, mut counters) = (Wire::to(&url).await, Counters::new(COUNTERS));
        counters.push_once(&wire).await;
        let stream = wire.subscribe(announced(counters.keys().chain([THEIRS]))).await;
        let handle = Client::connect(url).watch::<i64>("counter/0");
        within("the value", handle.ready()).await.expect("it was pushed");
        let (told, position) = (BTreeMap::new(), Position::default());
        Self { wire, counters, stream, told, position, handle, serving }
    }

    /// The SQL by which others write.
    pub(super) fn theirs(value: i64) -> String {
        format!(
            "INSERT INTO data (key, value, value_type) VALUES ('{THEIRS}', '{value}', 'int')
             ON CONFLICT (key) DO UPDATE SET value = excluded.value"
        )
    }

    /// The next word of the server. Nothing is ever told anew, or goes back.
    async fn follow(&mut self) -> Delivery {
        let next = self.stream.next().await;
        assert_ne!(next.phase, Phase::Reset, "{next}");
        for (key, value) in values(&next) {
            let before = self.told.insert(key, value);
            assert!(before.is_none_or(|before| before < value), "{next} after {before:?}");
        }
        self.position = next.position.clone();
        next
    }

    /// What others wrote arrives.
    pub(super) async fn shows_theirs(&mut self, value: i64) {
        self.shows(THEIRS, value).await;
    }

    pub(super) async fn shows(&mut self, key: &str, value: i64) {
        let shown = async {
            while self.told.get(key) != Some(&value) {
                self.follow().await;
            }
        };
        within("what was written", shown).await;
    }

    /// Pushes each counter until that is taken, and sees it arrive. What is refused meanwhile may be so only because the
    /// database was away.
    pub(super) async fn goes_on(&mut self) {
        let taken = async {
            loop {
                let refused = self.counters.push_each(&self.wire).await;
                if refused.is_empty() {
                    break;
                }
                let is_away = |status: &Status| status.code() == Code::Unavailable;
                assert!(refused.iter().all(is_away), "{refused:?}");
                tokio::time::sleep(PAUSE).await;
            }
        };
        within("pushes that are taken", taken).await;
        self.arrives().await;
    }

    /// What was acknowledged arrives, and is not said to be old.
    pub(super) async fn arrives(&mut self) {
        let acknowledged = self.counters.acknowledged();
        let is_told =
            |told: &BTreeMap<_, _>| acknowledged.iter().all(|(key, value)| told.get(key) == Some(value));
        let arrived = async {
            while !is_told(&self.told) {
                self.follow().await;
            }
            while self.follow().await.source_age.is_some() {}
        };
        within("what was acknowledged", arrived).await;
        eventually("the handle has it", || self.handle.get() == Some(acknowledged["counter/0"])).await;
        let is_young = || self.handle.status().age.is_some_and(|age| age < Duration::from_secs(1));
        eventually("it is fresh", is_young).await;
    }

    /// Who follows is told that the database cannot be asked, and since when, and keeps what there was.
    pub(super) async fn ages(&mut self) {
        let old = Duration::from_secs(1);
        let aged = async {
            loop {
                let age = self.follow().await.source_age;
                if age.is_some_and(|age| Duration::try_from(age).is_ok_and(|age| age >= old)) {
                    break;
                }
            }
        };
        within("an age", aged).await;
        eventually("the handle knows it", || self.handle.status().age.is_some_and(|age| age >= old)).await;
        assert_eq!(self.handle.get(), Some(self.counters.acknowledged()["counter/0"]));
    }

    /// Pushes until each counter is refused with `code`; for a moment it may be another.
    pub(super) async fn refuses(&mut self, code: Code) -> Status {
        let refused = async {
            loop {
                let mut refused = self.counters.push_each(&self.wire).await;
                if refused.len() == COUNTERS && refused.iter().all(|status| status.code() == code) {
                    return refused.swap_remove(0);
                }
            }
        };
        within("such a refusal", refused).await
    }

    /// Another history is told, which has `counters` for ours, and the handle has it too. The stream may be ended
    /// before, and then it is told to the next one.
    pub(super) async fn is_reset_to(&mut self, counters: i64) {
        let reset = async {
            loop {
                match self.stream.try_next().await {
                    Ok(next) if next.phase == Phase::Reset => return next,
                    Ok(next) => self.position = next.position,
                    Err(status) => {
                        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                        let keys = self.counters.keys().chain([THEIRS]);
                        self.stream = self.wire.subscribe(resuming(keys, &self.position)).await;
                    }
                }
            }
        };
        let reset = within("a reset", reset).await;
        self.told = values(&reset).collect();
        assert_eq!(self.told.get("counter/0"), Some(&counters), "{reset}");
        eventually("the handle has it", || self.handle.get() == Some(counters)).await;
    }

    /// A push to one key, of which it is not asked whether it arrives.
    pub(super) async fn try_push(&self) -> Result<(), Status> {
        self.wire.push(data("tried", "int", "1")).await.map(drop)
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

fn values(delivery: &Delivery) -> impl Iterator<Item = (String, i64)> {
    delivery.data.values().map(|data| {
        let text = std::str::from_utf8(&data.value).expect("an int is a text");
        (data.key.clone(), text.parse().expect("it is an int"))
    })
}
