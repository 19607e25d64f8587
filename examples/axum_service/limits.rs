//! What holds back the requests of a service: a pool and a rate, both of which follow a setting.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use datastream_client::WatchOr;
use tokio::sync::{AcquireError, Semaphore, SemaphorePermit};

/// How many requests may come at once after a pause, as time at the rate.
const BURST: Duration = Duration::from_millis(100);
/// As many permits as the setting says.
pub(crate) struct Pool {
    permits: Semaphore,
    size: AtomicU32,
}

impl Pool {
    pub(crate) fn empty() -> Self {
        Self { permits: Semaphore::new(0), size: AtomicU32::new(0) }
    }

    /// One of them, as soon as there is one.
    pub(crate) async fn permit(&self) -> Result<SemaphorePermit<'_>, AcquireError> {
        self.permits.acquire().await
    }

    /// The size that it has by now.
    pub(crate) fn size(&self) -> u32 {
        self.size.load(Ordering::Relaxed)
    }

    /// Is of the size of the setting, for ever.
    pub(crate) async fn follow(&self, mut setting: WatchOr<NonZeroU32>) {
        loop {
            self.resize(setting.get().get()).await;
            setting.changed().await;
        }
    }

    async fn resize(&self, wanted: u32) {
        let size = self.size();
        if wanted > size {
            self.permits.add_permits((wanted - size) as usize);
        } else if let Ok(permits) = self.permits.acquire_many(size - wanted).await {
            // They were taken as they came back: whoever was at work went on.
            permits.forget();
        }
        self.size.store(wanted, Ordering::Relaxed);
    }
}

/// When the next request may come.
pub(crate) struct RateLimit(Mutex<Instant>);

impl RateLimit {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Instant::now()))
    }

    /// The rate is that of the request, so there is nothing to change here when the setting does.
    pub(crate) fn admits(&self, a_second: NonZeroU32) -> bool {
        let now = Instant::now();
        let mut next = self.0.lock().expect("nobody panics with it");
        if *next > now {
            return false;
        }
        *next = (*next).max(now - BURST) + Duration::from_secs(1) / a_second.get();
        true
    }
}
