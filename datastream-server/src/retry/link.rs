//! A connection that comes back.

use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};

use super::Pauses;
use crate::store::StoreError;

/// How long after a failure a connection is not tried again.
const REDIAL: Pauses = Pauses::between(Duration::from_millis(50), Duration::from_secs(2));

/// A connection, as a [`Link`] sees it.
pub(crate) trait Connection: Send {
    /// Whether it has ended.
    fn is_lost(&self) -> bool;
}

type Dial<C> = Box<dyn Fn() -> BoxFuture<'static, Result<C, StoreError>> + Send + Sync>;

/// A connection that is made when it is needed, and made anew when it was lost. One caller at a time has it; the others
/// wait for their turn.
///
/// While it cannot be made, callers are told so at once, and it is tried again now and then.
pub(crate) struct Link<C> {
    dial: Dial<C>,
    line: Mutex<Line<C>>,
}

struct Line<C> {
    connection: Option<C>,
    pauses: Pauses,
    /// When it may be tried again, after a failure.
    retry_at: Instant,
}

impl<C: Connection> Link<C> {
    pub(crate) fn new(dial: Dial<C>) -> Self {
        Self { dial, line: Mutex::new(Line { connection: None, pauses: REDIAL, retry_at: Instant::now() }) }
    }

    /// Runs `work` on the connection. Its turn is waited for as long as `limit`; a connection that has not answered when
    /// `limit` is over is given up, and what it was asked may still happen.
    ///
    /// As cancel safe as `work` is: the connection stays, so what was begun on it must end when `work` is dropped.
    pub(crate) async fn run<T, E: From<StoreError>>(
        &self,
        limit: Duration,
        work: impl for<'c> FnOnce(&'c mut C) -> BoxFuture<'c, Result<T, E>>,
    ) -> Result<T, E> {
        let no_answer = || StoreError::Unavailable(format!("no answer within {limit:?}").into());
        let mut line = timeout(limit, self.line.lock()).await.map_err(|_| no_answer())?;
        let connection = line.connected(&self.dial).await?;
        match timeout(limit, work(connection)).await {
            Ok(answer) => answer,
            Err(_) => {
                line.connection = None;
                Err(no_answer().into())
            }
        }
    }
}

impl<C: Connection> Line<C> {
    async fn connected(&mut self, dial: &Dial<C>) -> Result<&mut C, StoreError> {
        let connection = match self.connection.take().filter(|connection| !connection.is_lost()) {
            Some(connection) => connection,
            None => self.dial(dial).await?,
        };
        Ok(self.connection.insert(connection))
    }

    async fn dial(&mut self, dial: &Dial<C>) -> Result<C, StoreError> {
        if Instant::now() < self.retry_at {
            return Err(StoreError::Unavailable("it could not be reached a moment ago".into()));
        }
        let dialled = dial().await;
        match &dialled {
            Ok(_) => self.pauses.reset(),
            Err(_) => self.retry_at = Instant::now() + self.pauses.next(),
        }
        dialled
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::FutureExt as _;

    use super::*;

    /// The number of the call that made it; the first is lost at once.
    struct Numbered(u32);

    impl Connection for Numbered {
        fn is_lost(&self) -> bool {
            self.0 == 1
        }
    }

    fn link(
        dials: Arc<AtomicU32>,
        reachable: impl Fn(u32) -> bool + Send + Sync + 'static,
    ) -> Link<Numbered> {
        Link::new(Box::new(move || {
            let number = dials.fetch_add(1, Ordering::Relaxed) + 1;
            let dialled = reachable(number).then_some(Numbered(number));
            async move { dialled.ok_or_else(|| StoreError::Unavailable("nobody there".into())) }.boxed()
        }))
    }

    async fn number(link: &Link<Numbered>) -> Result<u32, StoreError> {
        link.run(Duration::from_secs(1), |numbered| async { Ok(numbered.0) }.boxed()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_until_it_is_lost() {
        let link = link(Arc::default(), |_| true);
        for expected in [1, 2, 2] {
            assert_eq!(number(&link).await.expect("it is reachable"), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_cannot_be_reached_is_not_dialled_by_each_caller() {
        let dials = Arc::new(AtomicU32::new(0));
        let link = link(dials.clone(), |number| number > 3);
        for _ in 0..20 {
            assert!(matches!(number(&link).await, Err(StoreError::Unavailable(_))));
        }
        assert_eq!(dials.load(Ordering::Relaxed), 1);
        while number(&link).await.is_err() {
            tokio::time::advance(Duration::from_millis(10)).await;
        }
        assert_eq!(dials.load(Ordering::Relaxed), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_does_not_answer_is_given_up() {
        let link = link(Arc::default(), |_| true);
        number(&link).await.expect("the first, which is lost then");
        let silent: Result<(), StoreError> =
            link.run(Duration::from_secs(1), |_| std::future::pending().boxed()).await;
        assert!(matches!(silent, Err(StoreError::Unavailable(_))));
        assert_eq!(number(&link).await.expect("another"), 3);
    }
}
