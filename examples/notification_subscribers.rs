//! Subscribers of events, of which none is missed and none is handled twice, whoever is away meanwhile.
//!
//! ```text
//! cargo run --example notification_subscribers
//! ```
//!
//! A setting has one value, the latest; so each event is a setting of its own, below `events/`, and is never changed. Each
//! subscriber remembers the revision of the last event that it handled. One of them goes away while events are published, and
//! comes back; then the server is killed, and comes back. What is old is deleted, or the prefix would grow for ever: who is away
//! for longer than an event is kept misses it. All of it runs in this process, and ends by itself after some seconds.

use std::collections::BTreeSet;
use std::error::Error;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use datastream_client::{Change, Client};
use datastream_server::testing::TestServer;
use futures_util::StreamExt as _;
use tokio::time::{sleep, timeout};

type Failure = Box<dyn Error + Send + Sync>;

/// How many events there will be.
const EVENTS: u64 = 120;
/// How many of them are kept.
const KEPT: u64 = 100;
const PACE: Duration = Duration::from_millis(10);
/// For how long the server is dead.
const DEAD: Duration = Duration::from_millis(300);
/// For what should take some seconds, where the server was killed.
const PATIENCE: Duration = Duration::from_secs(12);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut server = TestServer::start();
    let url = server.url();
    let publisher = Client::connect(&url);
    let follow = |subscriber: Subscriber, last| tokio::spawn(subscriber.follow(url.clone(), last));
    let mail = follow(Subscriber::new("mail"), EVENTS);
    let audit = follow(Subscriber::new("audit"), EVENTS);

    let pager = follow(Subscriber::new("pager"), 40);
    publish(&publisher, 1..=40).await?;
    let pager = timeout(PATIENCE, pager).await???;
    println!("pager: is gone, after {} events", pager.handled.len());
    publish(&publisher, 41..=80).await?;
    let pager = timeout(PATIENCE, follow(pager, 80)).await???;
    println!("pager: was back, and has handled {} events", pager.handled.len());

    let pager = follow(pager, EVENTS);
    println!("server: is killed");
    server.kill();
    let restarted = async {
        sleep(DEAD).await;
        server.restart();
        println!("server: is back");
    };
    // A commit is sent again until there is an answer, and made once all the same.
    let (published, ()) = tokio::join!(publish(&publisher, 81..=EVENTS), restarted);
    published?;
    for subscriber in [mail, audit, pager] {
        timeout(PATIENCE, subscriber).await???.report();
    }
    let events = publisher.watch_prefix::<String>("events/");
    events.ready().await?;
    let kept = events.load().as_ref().map_or(0, |events| events.iter().count());
    println!("server: keeps {kept} of {EVENTS} events");
    Ok(())
}

/// Publishes these events. An old one is deleted for each of them, in the same commit.
async fn publish(publisher: &Client, numbers: RangeInclusive<u64>) -> Result<(), Failure> {
    println!("publisher: events {} to {}", numbers.start(), numbers.end());
    for number in numbers {
        // With several publishers, whoever finds that the key exists takes the next number.
        let event = key(number);
        let mut commit = publisher.commit().put(&event, text(number)).must_not_exist(&event);
        if number > KEPT {
            commit = commit.delete(key(number - KEPT));
        }
        commit.send().await?;
        sleep(PACE).await;
    }
    Ok(())
}

/// Of one length for all, so that the order of the keys is that of the events.
fn key(number: u64) -> String {
    format!("events/{number:08}")
}

/// What an event says.
fn text(number: u64) -> String {
    format!("order {number} is paid")
}

/// Who handles events.
struct Subscriber {
    name: &'static str,
    /// The revision of the last event that was handled. A real subscriber keeps it where it keeps what it did, so that both
    /// are durable or neither is.
    last: u64,
    /// What was handled, with the revisions.
    handled: Vec<(u64, Arc<String>)>,
}

impl Subscriber {
    fn new(name: &'static str) -> Self {
        Self { name, last: 0, handled: Vec::new() }
    }

    /// Handles events, up to that one. Its client ends with this.
    async fn follow(mut self, url: String, last: u64) -> Result<Self, Failure> {
        let client = Client::builder(url).client_name(self.name).connect();
        // They begin with all events that are kept, so with what was missed as well.
        let mut changes = client.watch_prefix::<String>("events/").changes();
        while let Some((event, change)) = changes.next().await {
            // An event never changes, and that it is deleted is no news.
            let Change::Added(text) = change else { continue };
            // What was deleted just now was kept for long enough.
            let Some(revision) = client.snapshot().held(&event).map(|held| held.revision) else { continue };
            if revision > self.last {
                self.last = revision;
                self.handled.push((revision, text));
            }
            if *event == *key(last) {
                break;
            }
        }
        Ok(self)
    }

    fn report(&self) {
        let revisions: BTreeSet<_> = self.handled.iter().map(|(revision, _)| revision).collect();
        let texts: BTreeSet<_> = self.handled.iter().map(|(_, text)| text.as_str()).collect();
        let missed = (1..=EVENTS).filter(|number| !texts.contains(&*text(*number))).count();
        let twice = self.handled.len() - revisions.len();
        println!("{}: {} events handled, {missed} missed, {twice} twice", self.name, self.handled.len());
    }
}
