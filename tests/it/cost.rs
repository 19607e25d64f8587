//! What an update costs, counted: whom it wakes, and what a woken subscriber looks at. Counts are the same on
//! every machine; instructions are counted by `tests/cost/run`.

use std::sync::Arc;
use std::time::Duration;

use datastream::key::{KeySet, Selector};
use datastream::proto::DataResponse;
use datastream_server::feed::{Feed, Registration};
use datastream_server::frame::{self, Frame};
use datastream_server::store::{Commit, Operation, Retention};
use datastream_server::stores::MemoryStore;
use datastream_server::subscription::{Input, Output, Pace, Request, Subscription};
use prost::Message as _;

use crate::wire::within;

/// A feed on an empty store in memory, followed by a task of its own.
async fn feed() -> Arc<Feed> {
    let feed = Feed::start(Arc::new(MemoryStore::new()), Retention::default()).await;
    let feed = feed.expect("memory can be read");
    tokio::spawn(feed.clone().run());
    feed
}

/// Commits puts of `keys`, and waits until the feed has published and rung for them.
async fn put(feed: &Feed, keys: &[&str], value: u64) {
    let operations = keys.iter().map(|key| Operation::put(key, "int", value.to_string())).collect();
    let committed = feed.store().commit(Commit { operations, ..Commit::default() }).await;
    committed.expect("memory takes the commit");
    assert!(feed.catch_up(Duration::from_secs(10)).await, "the feed publishes");
}

fn set(selectors: &[&str]) -> Arc<KeySet> {
    Arc::new(selectors.iter().map(|text| Selector::parse(text).expect("a key or a prefix")).collect())
}

/// A subscriber, as the service drives it.
struct Line {
    registration: Registration,
    subscription: Subscription,
}

impl Line {
    fn open(feed: &Arc<Feed>, keys: Arc<KeySet>) -> Self {
        Self::of(feed, keys, true)
    }

    fn of_the_original(feed: &Arc<Feed>, keys: Arc<KeySet>) -> Self {
        Self::of(feed, keys, false)
    }

    fn of(feed: &Arc<Feed>, keys: Arc<KeySet>, announced: bool) -> Self {
        let registration = feed.register(keys.clone());
        let request = Request { keys, fresh: Arc::default(), resume: None, announced };
        let pace = Pace { heartbeat: Duration::from_secs(3600), join_bytes: frame::JOIN_BYTES };
        Self { registration, subscription: Subscription::new(request, pace) }
    }

    /// The next message, if one is owed.
    fn next(&mut self) -> Option<Frame> {
        let state = self.registration.feed().state();
        let touched = self.registration.touch().revision();
        let input =
            Input { now: Duration::ZERO, state: &state, touched, source_age: None, authoritative: true };
        match self.subscription.step(input) {
            Output::Send(frame) => Some(frame),
            _ => None,
        }
    }

    /// Takes what is owed. Returns how many messages that were, and how many entries were looked at for them.
    fn drain(&mut self) -> (usize, u64) {
        let before = self.subscription.looked_at();
        let messages = std::iter::from_fn(|| self.next()).count();
        (messages, self.subscription.looked_at() - before)
    }
}

#[tokio::test]
async fn an_update_wakes_those_of_its_key_and_nobody_else() {
    let feed = feed().await;
    let others: Vec<_> = (0..1000).map(|n| feed.register(set(&[&format!("other/{n}")]))).collect();
    let own = [["app/db/max"], ["app/db/"], ["app/"]].map(|keys| Line::open(&feed, set(&keys)));
    let everything = feed.register(Arc::new(KeySet::all()));
    assert_eq!(feed.subscribers(), others.len() + own.len() + 1);

    put(&feed, &["app/db/max"], 1).await;
    assert_eq!(feed.woken(), 4, "the key's own, those of its prefixes, and the one of everything");
    put(&feed, &["app/db"], 1).await;
    assert_eq!(feed.woken(), 4 + 2, "a key is not below the prefix of the same name");
    put(&feed, &["app/db/max", "app/db/min"], 2).await;
    assert_eq!(feed.woken(), 4 + 2 + 4, "once for a commit, however many of its keys are watched");

    drop((own, everything));
    put(&feed, &["app/db/max"], 3).await;
    assert_eq!(feed.woken(), 4 + 2 + 4, "who left is not woken");
    within("the ring of another key's subscriber", async {
        put(&feed, &["other/7"], 1).await;
        others[7].touch().rung().await;
    })
    .await;
    assert_eq!(feed.woken(), 4 + 2 + 4 + 1);
}

#[tokio::test]
async fn a_message_is_made_once_for_all_who_are_owed_the_same() {
    let feed = feed().await;
    let mut lines = [["app/db"], ["app/db"], ["app/"]].map(|keys| Line::open(&feed, set(&keys)));
    for line in &mut lines {
        line.drain();
    }
    put(&feed, &["app/db"], 1).await;
    let messages = lines.each_mut().map(|line| line.next().expect("it is owed the change").bytes);
    assert_eq!(messages[0].as_ptr(), messages[1].as_ptr(), "these are the same bytes");
    assert_ne!(messages[0].as_ptr(), messages[2].as_ptr(), "who watches another set is owed it for himself");
    assert_eq!(messages[0], messages[2], "and the same, as it happens");
}

/// The keys, from where, and whether the client announces itself: whoever differs in one of them is owed another message.
#[tokio::test]
async fn who_stands_elsewhere_or_is_of_the_original_gets_a_message_of_his_own() {
    let feed = feed().await;
    put(&feed, &["app/a", "app/b"], 1).await;
    let keys = set(&["app/"]);
    let [mut here, mut behind] = [0; 2].map(|_| Line::open(&feed, keys.clone()));
    let mut original = Line::of_the_original(&feed, keys.clone());
    for line in [&mut here, &mut behind, &mut original] {
        line.drain();
    }
    put(&feed, &["app/a"], 2).await;
    here.drain();
    original.drain();
    feed.store().commit(Commit::one(Operation::delete("app/b"))).await.expect("memory takes the commit");
    assert!(feed.catch_up(Duration::from_secs(10)).await, "the feed publishes");
    let said = |line: &mut Line| {
        let message = DataResponse::decode(line.next().expect("it is owed something").bytes);
        let mut keys: Vec<_> = message.expect("a message").data.into_keys().collect();
        keys.sort();
        keys
    };
    assert_eq!(said(&mut here), ["app/b"], "what came since");
    assert_eq!(said(&mut behind), ["app/a", "app/b"], "all that came since it stood there");
    assert!(original.next().is_none(), "one of the original knows no deletions");
}

#[tokio::test]
async fn an_untouched_subscriber_looks_at_nothing() {
    let feed = feed().await;
    let mut line = Line::open(&feed, set(&["app/"]));
    line.drain();
    for n in 0..100 {
        put(&feed, &[&format!("other/{n}")], n).await;
    }
    assert_eq!(line.drain(), (0, 0), "it is owed nothing");
}

/// How many other keys the test below changes.
const OTHERS: u64 = 5000;

/// How many entries a subscriber of `keys`, who has taken nothing since, looks at when `app/7` is put after so
/// many changes of other keys.
async fn looked_at_after(changes: u64, keys: &Arc<KeySet>) -> u64 {
    let feed = feed().await;
    put(&feed, &["app/7"], 0).await;
    let mut line = Line::open(&feed, keys.clone());
    line.drain();
    let others: Vec<_> = (0..OTHERS.min(changes)).map(|n| format!("other/{n}")).collect();
    let others: Vec<_> = others.iter().map(String::as_str).collect();
    for round in 0..changes.div_ceil(OTHERS) {
        put(&feed, &others, round).await;
    }
    put(&feed, &["app/7"], 1).await;
    let (messages, looked_at) = line.drain();
    assert_ne!(messages, 0, "what it is owed comes");
    // What does not fit into a message is met again by the next.
    looked_at - (messages as u64 - 1)
}

async fn looked_at_after_few_and_many(name: &str, keys: &Arc<KeySet>) -> (u64, u64) {
    let (few, many) = (looked_at_after(10, keys).await, looked_at_after(100_000, keys).await);
    println!("{name}: looks at {few} entries after 10 changes of others, at {many} after 100,000");
    (few, many)
}

#[tokio::test]
async fn exact_keys_cost_the_same_after_ten_and_after_100_000_changes_of_others() {
    let twenty: Vec<_> = (0..20).map(|n| format!("app/{n}")).collect();
    let twenty: Vec<_> = twenty.iter().map(String::as_str).collect();
    for (name, keys) in [("1 key", &["app/7"][..]), ("3 keys", &twenty[6..9]), ("20 keys", &twenty)] {
        let (few, many) = looked_at_after_few_and_many(name, &set(keys)).await;
        // It looks at as many changes as it has keys, and at one more, to see whether its keys are fewer.
        let most = 2 * keys.len() as u64 + 1;
        assert!(few <= most && many <= most, "{few} and {many} of at most {most}");
    }
}

#[tokio::test]
async fn a_prefix_costs_each_key_that_changed_once_however_often_it_did() {
    for (name, keys) in [("a prefix", set(&["app/"])), ("everything", Arc::new(KeySet::all()))] {
        assert_eq!(looked_at_after_few_and_many(name, &keys).await, (10 + 1, OTHERS + 1));
    }
}
