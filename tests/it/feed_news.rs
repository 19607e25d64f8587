//! The feed takes what its store tells in place of asking, and nothing that does not fit.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use datastream::position::Position;
use datastream_server::feed::Feed;
use datastream_server::store::{
    Batch, Commit, CommitError, News, Operation, Retention, Since, Snapshot, Store, StoreError,
};
use datastream_server::stores::MemoryStore;
use tokio::sync::Notify;

const DEADLINE: Duration = Duration::from_secs(10);

/// What a test makes of the news before they are told.
type Told = fn(News) -> News;

/// A store that rings for what a test told it to tell, and counts how often it is asked.
struct Telling {
    inner: MemoryStore,
    asked: AtomicU64,
    bell: Notify,
    news: Mutex<Option<News>>,
    told: Told,
}

impl Telling {
    /// Commits, and rings for that.
    async fn put(&self, value: u32, after: Position) -> Position {
        let put = Commit::one(Operation::put("ours", "int", value.to_string()));
        let made = self.inner.commit(put).await.expect("memory takes the commit");
        let Since::Changes(batch) = self.inner.changes(&after).await.expect("memory can be read") else {
            panic!("memory knows where the feed stands");
        };
        *self.news.lock().unwrap_or_else(PoisonError::into_inner) = Some(News { after, batch });
        self.bell.notify_one();
        made
    }
}

#[async_trait]
impl Store for Telling {
    async fn load(&self) -> Result<Snapshot, StoreError> {
        self.inner.load().await
    }

    async fn changes(&self, after: &Position) -> Result<Since, StoreError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        // Whoever was woken before the answer goes on before it.
        tokio::task::yield_now().await;
        self.inner.changes(after).await
    }

    async fn commit(&self, commit: Commit) -> Result<Position, CommitError> {
        self.inner.commit(commit).await
    }

    async fn seed(&self, commit: Commit) -> Result<bool, CommitError> {
        self.inner.seed(commit).await
    }

    async fn compact(&self, retention: Retention) -> Result<u64, StoreError> {
        self.inner.compact(retention).await
    }

    async fn rung(&self) {
        self.bell.notified().await;
    }

    fn news(&self) -> Option<News> {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner).take();
        news.map(self.told)
    }
}

/// A feed that has looked once and rests.
async fn feed(told: Told) -> (Arc<Feed>, Arc<Telling>) {
    let store = Telling {
        inner: MemoryStore::new(),
        asked: AtomicU64::new(0),
        bell: Notify::new(),
        news: Mutex::default(),
        told,
    };
    let store = Arc::new(store);
    let feed = Feed::start(store.clone(), Retention::default()).await.expect("memory can be read");
    tokio::spawn(feed.clone().run());
    // The look with which it begins answers the first of them, and the second is then still due.
    assert!(feed.catch_up(DEADLINE).await && feed.catch_up(DEADLINE).await);
    (feed, store)
}

/// Pushes five times, and waits each time until the feed holds that. Returns how often the store was asked for each.
async fn asked(told: Told) -> Vec<u64> {
    let (feed, store) = feed(told).await;
    let mut asked = Vec::new();
    for value in 1..=5 {
        let before = store.asked.load(Ordering::Relaxed);
        let made = store.put(value, feed.state().position().clone()).await;
        assert!(feed.reach(&made, DEADLINE).await);
        let held = feed.state().get("ours").map(|entry| entry.revision);
        assert_eq!(held, Some(made.revision));
        asked.push(store.asked.load(Ordering::Relaxed) - before);
    }
    asked
}

#[tokio::test(start_paused = true)]
async fn the_state_takes_what_the_store_tells_and_does_not_ask() {
    assert_eq!(asked(|news| news).await, [0; 5]);
}

#[tokio::test(start_paused = true)]
async fn what_is_told_of_another_position_is_asked_for() {
    let elsewhere: Told = |news| News { after: Position { revision: 1, token: "another".into() }, ..news };
    assert_eq!(asked(elsewhere).await, [1; 5]);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_panics_as_it_tells_is_asked() {
    assert_eq!(asked(|_| panic!("the panic that a test asked for")).await, [1; 5]);
}

/// Of what is told nothing says that it is all: here it is nothing at all. The bell and who asks for a look are heard
/// in no order of their own: so many times.
#[tokio::test(start_paused = true)]
async fn to_catch_up_the_store_is_asked_whatever_it_told() {
    let empty: Told = |news| {
        let batch =
            Batch { position: news.after.clone(), positions: Vec::new(), changes: Vec::new(), ..news.batch };
        News { batch, ..news }
    };
    for _ in 0..50 {
        let (feed, store) = feed(empty).await;
        let made = store.put(1, feed.state().position().clone()).await;
        assert!(feed.catch_up(DEADLINE).await);
        assert_eq!(feed.state().position().revision, made.revision);
    }
}
