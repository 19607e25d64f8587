//! One open `Subscribe` call: a subscription, driven by time, by the feed and by the transport.
//!
//! The transport pulls. When it takes no message, nothing is made and nothing is queued; what the subscriber
//! is owed meanwhile costs nothing. Only a delivery of several messages holds something: a version of the
//! state, and a watchdog ends it if it is stuck.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::Stream;
use tokio::sync::watch;
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use crate::feed::Registration;
use crate::frame::{self, Frame};
use crate::subscription::{Input, Output, Subscription};

/// Why a stream ends, seen from the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The client is ahead of a store that lags.
    Behind,
    /// The server is going away.
    Draining,
    /// The transport took no message of a delivery for too long.
    Stuck,
}

/// What the streams of a server have in common.
#[derive(Clone, Debug)]
pub(crate) struct Common {
    /// When the server started: the zero of all times.
    pub(crate) started: Instant,
    /// See [`Config::stall_limit`](crate::Config::stall_limit).
    pub(crate) stall_limit: Duration,
    /// Turns true when the server is going away; then everybody is rung.
    pub(crate) draining: watch::Receiver<bool>,
}

/// What is known of the client when its stream opens.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client {
    /// Whether it understands the additions to the contract.
    pub(crate) announced: bool,
    /// Whether this server has seen all that the store had when the client came, or the client is not ahead of it.
    pub(crate) caught_up: bool,
}

/// The messages of one call. Dropping it ends the subscription.
pub(crate) fn open(
    subscription: Subscription,
    client: Client,
    registration: Registration,
    common: Common,
) -> impl Stream<Item = Result<Frame, End>> + Send {
    Line {
        rests: false,
        until: None,
        timer: Box::pin(sleep_until(common.started)),
        seat: Arc::new(Seat {
            watched: Mutex::new(Watched { subscription: Some(subscription), is_guarded: false }),
            taken: AtomicU64::new(0),
        }),
        registration,
        common,
        client,
        ended: false,
    }
}

/// Where the subscription is, so that a watchdog can end it.
struct Seat {
    watched: Mutex<Watched>,
    /// How often the transport asked for a message. It does when it has taken the last one.
    taken: AtomicU64,
}

struct Watched {
    /// `None` once it was ended.
    subscription: Option<Subscription>,
    /// Whether a watchdog is there: one for a stream, however many deliveries it guards.
    is_guarded: bool,
}

struct Line {
    /// Whether nothing was owed at the last look.
    rests: bool,
    /// When to look again without being rung.
    until: Option<Duration>,
    /// Each message moves `until` on; the timer is set again only when it has run out.
    timer: Pin<Box<Sleep>>,
    seat: Arc<Seat>,
    registration: Registration,
    common: Common,
    client: Client,
    ended: bool,
}

/// Written by hand, since each message to each subscriber goes through it: nothing is set up for a wait and taken
/// down again but the waker.
impl Stream for Line {
    type Item = Result<Frame, End>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let line = self.get_mut();
        if line.ended {
            return Poll::Ready(None);
        }
        line.seat.taken.fetch_add(1, Ordering::Relaxed);
        loop {
            // The transport asks for reasons of its own as well; then there is nothing to look at.
            if line.rests {
                ready!(line.poll_end_of_rest(context));
                line.rests = false;
            }
            if *line.common.draining.borrow() {
                return Poll::Ready(Some(line.say_goodbye()));
            }
            match line.step() {
                Ok(Output::Send(frame)) => {
                    // All is sent up to the version that was read; who publishes the next one rings.
                    line.rests = !frame.more;
                    return Poll::Ready(Some(Ok(frame)));
                }
                Ok(Output::Wait(until)) => (line.rests, line.until) = (true, until),
                Ok(Output::Behind) => return Poll::Ready(Some(line.end(End::Behind))),
                Err(end) => return Poll::Ready(Some(line.end(end))),
            }
        }
    }
}

impl Line {
    /// Whether it was rung since it last looked, or the time to look again has come.
    fn poll_end_of_rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.registration.touch().poll_rung(context).is_ready() {
            return Poll::Ready(());
        }
        let Some(until) = self.until else { return Poll::Pending };
        let until = self.common.started + until;
        loop {
            ready!(self.timer.as_mut().poll(context));
            if self.timer.deadline() >= until {
                return Poll::Ready(());
            }
            self.timer.as_mut().reset(until);
        }
    }

    fn step(&mut self) -> Result<Output, End> {
        let mut watched = lock(&self.seat.watched);
        let subscription = watched.subscription.as_mut().ok_or(End::Stuck)?;
        let feed = self.registration.feed();
        // In this order: a state is read that is no older than its age says.
        let source_age = feed.source_age();
        let (state, touched) = self.registration.read();
        let now = self.common.started.elapsed();
        let authoritative = self.client.caught_up && feed.store().authoritative() && source_age.is_none();
        let output = subscription.step(Input { now, state: &state, touched, source_age, authoritative });
        // The first step judges the position or ends the stream; a later judgement is of a store loaded since.
        self.client.caught_up = true;
        self.until = Some(subscription.next_heartbeat());
        if subscription.is_delivering() && !watched.is_guarded {
            watched.is_guarded = true;
            tokio::spawn(end_if_stuck(Arc::downgrade(&self.seat), self.common.stall_limit));
        }
        Ok(output)
    }

    /// An announced client is told when to come back, unless it is in the middle of a delivery.
    fn say_goodbye(&mut self) -> Result<Frame, End> {
        let subscription = lock(&self.seat.watched).subscription.take();
        match subscription {
            Some(subscription) if self.client.announced && !subscription.is_delivering() => {
                Ok(frame::drain(Duration::from_millis(fastrand::u64(500..1500))))
            }
            _ => self.end(End::Draining),
        }
    }

    fn end(&mut self, end: End) -> Result<Frame, End> {
        self.ended = true;
        Err(end)
    }
}

/// Ends a delivery of which the transport took no message for `limit`, or up to twice that: it pins a version of the
/// state.
async fn end_if_stuck(seat: Weak<Seat>, limit: Duration) {
    let mut seen = None;
    while seat.upgrade().is_some_and(|seat| seat.goes_on(&mut seen)) {
        sleep(limit).await;
    }
}

impl Seat {
    /// Whether there is still a delivery to guard. One of which nothing was taken since the last look is ended.
    fn goes_on(&self, seen: &mut Option<u64>) -> bool {
        let mut watched = lock(&self.watched);
        let is_delivering = watched.subscription.as_ref().is_some_and(Subscription::is_delivering);
        let taken = self.taken.load(Ordering::Relaxed);
        let is_stuck = is_delivering && seen.replace(taken) == Some(taken);
        if is_stuck {
            watched.subscription = None;
        }
        watched.is_guarded = is_delivering && !is_stuck;
        watched.is_guarded
    }
}

/// A panic in a step leaves a subscription that ends with its stream; nobody else sees it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
