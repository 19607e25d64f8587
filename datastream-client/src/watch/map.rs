//! Handles of what is computed from settings.

use super::{Watch, WatchOr};

impl<T: Send + Sync + 'static> Watch<T> {
    /// A handle of what `map` makes of each value: computed once for each, and not at each read.
    ///
    /// The function is pure and quick. It runs on the task that applies updates, once for each change, and the first
    /// time in this call. A panic in it is a refusal of the new handle, which keeps its last good value; this handle is
    /// not concerned. What the new handle reads, waits for and says is otherwise as with this one, at the same
    /// key. It is a change even if the function makes the same of two values.
    ///
    /// ```
    /// use datastream_client::Watch;
    ///
    /// let hosts = Watch::fixed("a,b".to_owned());
    /// let list = hosts.map(|hosts| hosts.split(',').map(str::to_owned).collect::<Vec<_>>());
    /// assert_eq!(list.get(), Some(vec!["a".to_owned(), "b".to_owned()]));
    /// ```
    #[must_use]
    pub fn map<U: Send + Sync + 'static>(&self, map: impl Fn(&T) -> U + Send + Sync + 'static) -> Watch<U> {
        let cell = self.cell.map(map);
        if let Some(client) = self.client.as_ref().filter(|_| cell.is_followed()) {
            client.shared.add(&cell, &client.commands);
            client.attend();
        }
        Watch { limits: self.limits.clone(), ..Watch::new(cell, self.client.clone()) }
    }
}

impl<T: Send + Sync + 'static> WatchOr<T> {
    /// As [`Watch::map`]; the default is computed in this call, where a panic is the caller's.
    #[must_use]
    pub fn map<U: Send + Sync + 'static>(&self, map: impl Fn(&T) -> U + Send + Sync + 'static) -> WatchOr<U> {
        let default = map(&self.default);
        self.watch.map(map).or(default)
    }
}
