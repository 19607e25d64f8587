//! Who received what, and when: every delivery of every peer is noted here, and judged.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use tokio::sync::Notify;

use crate::value;

/// By when a value has to be everywhere, on a machine that does other things as well.
const DEADLINE: Duration = Duration::from_secs(30);

/// A delivery that was lost, came twice, or was not what was sent: a comparison that saw one has failed.
#[derive(Debug)]
pub struct Wrong(pub String);

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Wrong {}

/// What may happen to values that are followed by others.
#[derive(Clone, Copy, PartialEq)]
pub enum Rule {
    /// Each arrives, in order.
    Each,
    /// Newer ones may take their place.
    Newest,
    /// The publisher has several under way at once, so they need no order either.
    Any,
}

/// What all subscribers of a server received.
pub struct Board {
    inner: RefCell<Inner>,
    changed: Notify,
}

struct Inner {
    /// The highest number that each subscriber has.
    last: Vec<u64>,
    /// When each number was published, from 1.
    published: Vec<Instant>,
    rule: Rule,
    /// The number that is awaited, and how many subscribers have it or a later one.
    awaited: u64,
    arrived: usize,
    deliveries: u64,
    /// From publication to delivery, while they are collected.
    latencies: Option<Vec<Duration>>,
    fault: Option<Fault>,
}

enum Fault {
    Wrong(String),
    Ended(String),
}

impl Board {
    pub fn new(subscribers: usize) -> Rc<Self> {
        let inner = Inner {
            last: vec![0; subscribers],
            published: Vec::new(),
            rule: Rule::Newest,
            awaited: 0,
            arrived: subscribers,
            deliveries: 0,
            latencies: None,
            fault: None,
        };
        Rc::new(Self { inner: RefCell::new(inner), changed: Notify::new() })
    }

    /// Says that a value is published now. Returns its number.
    pub fn publish(&self) -> u64 {
        let mut inner = self.inner.borrow_mut();
        inner.published.push(Instant::now());
        inner.published.len() as u64
    }

    /// Notes that a subscriber received a value.
    pub fn deliver(&self, subscriber: usize, value: &[u8]) {
        let now = Instant::now();
        let mut inner = self.inner.borrow_mut();
        if let Err(wrong) = inner.deliver(subscriber, value, now) {
            inner.fault.get_or_insert(Fault::Wrong(wrong));
            self.changed.notify_one();
        } else if inner.arrived == inner.last.len() {
            self.changed.notify_one();
        }
    }

    /// Notes that a subscriber will receive nothing more.
    pub fn end(&self, subscriber: usize, why: impl fmt::Display) {
        let ended = format!("the stream of subscriber {subscriber} ended: {why}");
        self.inner.borrow_mut().fault.get_or_insert(Fault::Ended(ended));
        self.changed.notify_one();
    }

    pub fn set_rule(&self, rule: Rule) {
        self.inner.borrow_mut().rule = rule;
    }

    /// How many deliveries there were.
    pub fn deliveries(&self) -> u64 {
        self.inner.borrow().deliveries
    }

    /// Collects the latencies from now on. Returns those collected before, the shortest first.
    pub fn collect(&self, goes_on: bool) -> Vec<Duration> {
        let mut latencies = self.inner.borrow_mut().latencies.take().unwrap_or_default();
        latencies.sort_unstable();
        self.inner.borrow_mut().latencies = goes_on.then(Vec::new);
        latencies
    }

    /// Waits until everybody has this number, or a later one. An error if that does not come about.
    pub async fn reached(&self, sequence: u64) -> Result<()> {
        let missing = match tokio::time::timeout(DEADLINE, self.reached_some_time(sequence)).await {
            Ok(reached) => return reached,
            Err(_) => self.missing(),
        };
        bail!(Wrong(format!("value {sequence} did not reach {missing} subscribers in {DEADLINE:?}")))
    }

    /// The same with a shorter wait, which says whether it was long enough.
    pub async fn reached_within(&self, sequence: u64, limit: Duration) -> Result<bool> {
        tokio::time::timeout(limit, self.reached_some_time(sequence))
            .await
            .map_or(Ok(false), |it| it.map(|()| true))
    }

    async fn reached_some_time(&self, sequence: u64) -> Result<()> {
        self.inner.borrow_mut().wait_for(sequence);
        loop {
            match &self.inner.borrow().fault {
                Some(Fault::Wrong(wrong)) => bail!(Wrong(wrong.clone())),
                Some(Fault::Ended(ended)) => bail!(ended.clone()),
                None => {}
            }
            if self.missing() == 0 {
                return Ok(());
            }
            self.changed.notified().await;
        }
    }

    fn missing(&self) -> usize {
        let inner = self.inner.borrow();
        inner.last.len() - inner.arrived
    }
}

impl Inner {
    fn deliver(&mut self, subscriber: usize, value: &[u8], now: Instant) -> Result<(), String> {
        let Some(sequence) = value::decode(value) else {
            return Err(format!("subscriber {subscriber} received {} bytes that nobody sent", value.len()));
        };
        let Some(published) = sequence.checked_sub(1).and_then(|at| self.published.get(at as usize)) else {
            return Err(format!("subscriber {subscriber} received value {sequence}, which nobody sent yet"));
        };
        let last = &mut self.last[subscriber];
        let fits = match self.rule {
            Rule::Each => sequence == *last + 1,
            Rule::Newest => sequence > *last,
            Rule::Any => true,
        };
        if !fits {
            return Err(format!("subscriber {subscriber} received value {sequence} after {last}"));
        }
        if *last < self.awaited && sequence >= self.awaited {
            self.arrived += 1;
        }
        *last = sequence.max(*last);
        self.deliveries += 1;
        if let Some(latencies) = &mut self.latencies {
            latencies.push(now - *published);
        }
        Ok(())
    }

    fn wait_for(&mut self, sequence: u64) {
        self.awaited = sequence;
        self.arrived = self.last.iter().filter(|last| **last >= sequence).count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a board says of these deliveries to one subscriber, after three values were published.
    fn judged(rule: Rule, values: &[&[u8]]) -> Result<bool> {
        let board = Board::new(1);
        board.set_rule(rule);
        (0..3).for_each(|_| _ = board.publish());
        values.iter().for_each(|value| board.deliver(0, value));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        runtime.block_on(board.reached_within(3, Duration::from_millis(10)))
    }

    fn is_wrong(rule: Rule, values: &[&[u8]]) -> bool {
        judged(rule, values).is_err_and(|error| error.is::<Wrong>())
    }

    #[test]
    fn what_arrives_as_it_was_sent_is_right() {
        let [one, two, three] = [1, 2, 3].map(value::encode);
        assert!(judged(Rule::Each, &[&one, &two, &three]).is_ok_and(|reached| reached));
        assert!(judged(Rule::Newest, &[&one, &three]).is_ok_and(|reached| reached));
        assert!(judged(Rule::Any, &[&three, &one]).is_ok_and(|reached| reached));
    }

    #[test]
    fn a_value_that_is_skipped_repeated_or_late_is_wrong() {
        let [one, two, three] = [1, 2, 3].map(value::encode);
        assert!(is_wrong(Rule::Each, &[&one, &three]));
        assert!(is_wrong(Rule::Each, &[&one, &one]));
        assert!(is_wrong(Rule::Newest, &[&two, &one]));
    }

    #[test]
    fn a_value_that_nobody_sent_is_wrong() {
        let mut altered = value::encode(1).to_vec();
        altered[19] ^= 1;
        assert!(is_wrong(Rule::Any, &[&altered]));
        assert!(is_wrong(Rule::Any, &[&value::encode(4)]));
        assert!(is_wrong(Rule::Any, &[b""]));
    }

    #[test]
    fn the_last_value_has_to_arrive() {
        assert!(judged(Rule::Newest, &[&value::encode(2)]).is_ok_and(|reached| !reached));
    }
}
