//! A handle that always has a value.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{Stream, StreamExt as _};

use super::{Loaded, Watch};
use crate::callback::{self, Callback};
use crate::error::Unavailable;
use crate::status::{Origin, Status};

/// A [`Watch`] with a default: made by [`Watch::or`].
pub struct WatchOr<T> {
    pub(super) watch: Watch<T>,
    pub(super) default: Arc<T>,
}

impl<T> Clone for WatchOr<T> {
    fn clone(&self) -> Self {
        Self { watch: self.watch.clone(), default: self.default.clone() }
    }
}

/// A value that was read and not copied, or the default.
///
/// As [`Loaded`], it keeps its value alive: drop it soon, and do not hold it across an await.
pub struct LoadedOr<'a, T> {
    loaded: Loaded<T>,
    default: &'a T,
}

impl<T> Deref for LoadedOr<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.loaded.as_ref().unwrap_or(self.default)
    }
}

impl<T> WatchOr<T> {
    pub(super) fn new(watch: Watch<T>, default: T) -> Self {
        Self { watch, default: Arc::new(default) }
    }

    /// The value now, or the default while there is none, without copying it. Costs what [`Watch::load`] does.
    #[must_use]
    pub fn load(&self) -> LoadedOr<'_, T> {
        LoadedOr { loaded: self.watch.load(), default: &self.default }
    }

    /// The value now, or the default while there is none. Costs what [`Watch::get`] does.
    #[must_use]
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        T::clone(&self.load())
    }

    /// As [`Watch::max_age`]: the default is read while the value is too old.
    #[must_use]
    pub fn max_age(self, max_age: Duration) -> Self {
        Self { watch: self.watch.max_age(max_age), default: self.default }
    }

    /// The handle without the default.
    #[must_use]
    pub fn watch(&self) -> &Watch<T> {
        &self.watch
    }

    /// As [`Watch::ready`]: waits for a value of the server, whatever the default is. Cancel safe.
    ///
    /// # Errors
    ///
    /// As [`Watch::ready`]; then the default is what is read.
    pub async fn ready(&self) -> Result<(), Unavailable> {
        self.watch.ready().await
    }

    /// As [`Watch::changed`].
    pub async fn changed(&mut self) {
        self.watch.changed().await;
    }

    /// As [`Watch::stream`], with the default where there is no value; it does not begin with the default.
    pub fn stream(&self) -> impl Stream<Item = Arc<T>> + Send + Unpin + use<T>
    where
        T: Send + Sync + 'static,
    {
        let default = self.default.clone();
        self.watch.stream().map(move |value| value.unwrap_or_else(|| default.clone()))
    }

    /// As [`Watch::on_change`], with the default where there is no value; it does not begin with the default.
    pub fn on_change(&self, callback: impl FnMut(Arc<T>) + Send + 'static) -> Callback
    where
        T: Send + Sync + 'static,
    {
        callback::tell(self.stream(), callback)
    }

    /// As [`Watch::status`]; while the default is what is read, the origin says so.
    #[must_use]
    pub fn status(&self) -> Status {
        let status = self.watch.status();
        let origin = if status.origin == Origin::None { Origin::Default } else { status.origin };
        Status { origin, ..status }
    }
}

impl<T> fmt::Debug for WatchOr<T> {
    /// Shows the handle, and no value.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatchOr").field("watch", &self.watch).finish_non_exhaustive()
    }
}
