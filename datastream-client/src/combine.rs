//! Several handles read as one.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};

use datastream::key::shown;
use datastream::value::ValueError;

use crate::cell::{AnyCell, Cell, Report, Source, not_ready};
use crate::client::Inner;
use crate::error::Unavailable;
use crate::session::Changed;
use crate::snapshot::Snapshot;
use crate::status::{Origin, Refusal};
use crate::watch::Watch;

/// Reads two to six handles of one client as one: their values are always of the same position, so keys that are
/// committed together are seen together.
///
/// ```
/// use datastream_client::{Client, combine};
///
/// let client = Client::connect("http://127.0.0.1:8080");
/// let (min, max) = (client.watch::<i64>("min"), client.watch::<i64>("max"));
/// let range = combine((&min, &max)).or((0, 100));
/// let (min, max) = range.get();
/// assert!(min <= max);
/// ```
///
/// It has a value while each of them has one. A key that is deleted takes it away, and so does one that is older than its
/// handle [allows](Watch::max_age); a value of one key that is refused keeps all of them as they were, and the refusal
/// names the key. What is combined may be combined again. For a struct of the application see
/// [`Client::bind`](crate::Client::bind).
///
/// The values are cloned once for each change, on the task of the client, and once more by `get`. Fixed handles may
/// stand beside others; with handles of several clients, which have no common position, there is never a value. With
/// a server of the [original](crate::Peer::Original) each key arrives by itself, and so it does here.
#[must_use]
pub fn combine<H: Handles>(handles: H) -> Watch<H::Values> {
    handles.combined()
}

/// Handles that can be [combined](combine): a tuple of two to six `&Watch`.
pub trait Handles: sealed::Combined {}

mod sealed {
    use crate::watch::Watch;

    /// Only tuples of handles are.
    pub trait Combined {
        /// The tuple of their values.
        type Values: Send + Sync + 'static;

        fn combined(self) -> Watch<Self::Values>;
    }
}

/// Clones the values of all parts; `None` if one of them has none.
type Read<T> = Box<dyn Fn() -> Option<T> + Send + Sync>;

/// How a tuple is made of the values of its parts.
struct Combination<T> {
    parts: Vec<Arc<dyn AnyCell>>,
    read: Read<T>,
    /// The versions of the parts that were read last. Only the worker looks at them.
    seen: Mutex<Vec<u64>>,
}

impl<T> Combination<T> {
    fn new(parts: Vec<Arc<dyn AnyCell>>, read: Read<T>) -> Self {
        Self { parts, read, seen: Mutex::default() }
    }

    /// A handle of it.
    fn watch<'a>(self, clients: impl IntoIterator<Item = &'a Option<Arc<Inner>>>) -> Watch<T>
    where
        T: Send + Sync + 'static,
    {
        let names: Vec<&str> = self.parts.iter().map(|part| &**part.key()).collect();
        let name: Arc<str> = names.join(" + ").into();
        let clients: Vec<_> = clients.into_iter().flatten().collect();
        let client = clients.first().copied();
        let is_one = clients.iter().all(|other| client.is_some_and(|client| Arc::ptr_eq(client, other)));
        let commands = client.filter(|_| is_one).map(|client| client.commands.clone());
        let cell = Arc::new(Cell::new(name, self, commands.clone()));
        match (client, commands) {
            (Some(client), Some(commands)) => {
                client.shared.add(&cell, &commands);
                client.attend();
            }
            (Some(_), None) => {
                cell.absent(Unavailable::SeveralClients { key: shown(&cell.key).to_string() });
                clients.iter().for_each(|client| client.shared.note_unfollowed(&cell));
            }
            (None, _) => cell.offer(&Snapshot::default(), &Changed::All),
        }
        Watch::new(cell, client.cloned())
    }
}

impl<T: Send + Sync> Source<T> for Combination<T> {
    fn offer(&self, cell: &Cell<T>, snapshot: &Snapshot, _: &Changed) {
        let reports: Vec<_> = self.parts.iter().map(|part| part.report()).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.iter().any(|report| !report.is_known) {
            // The first state of a part is still to come, or only a file has said something of it.
            seen.clear();
            return cell.absent(not_ready(&cell.key));
        }
        if let Some(why) = reports.iter().find_map(|report| report.unavailable.clone()) {
            seen.clear();
            return cell.absent(why);
        }
        if let Some(refusal) = reports.iter().find_map(|report| report.refusal.clone()) {
            if cell.report.load().refusal.as_ref() != Some(&refusal) {
                cell.refuse(refusal);
            }
            return;
        }
        let versions: Vec<_> = self.parts.iter().map(|part| part.version()).collect();
        let origins = reports.iter().map(|part| part.origin);
        let origin = origins.reduce(|a, b| if a == Origin::Live { b } else { a }).unwrap_or(Origin::None);
        let revision = snapshot.known_revision();
        let note = |report: &mut Report| (report.revision, report.origin) = (revision, origin);
        if *seen == versions {
            let report = cell.report.load();
            if report.refusal.is_none() && report.origin != origin {
                cell.restamp(note);
            }
            return;
        }
        *seen = versions;
        match catch_unwind(AssertUnwindSafe(&self.read)) {
            Ok(Some(values)) => cell.accept(values, note),
            Ok(None) => {} // A part without a value says why, above.
            Err(_) => {
                let error = ValueError::refused::<T>("its Clone panicked");
                cell.refuse(Refusal::log(&cell.key, revision.unwrap_or_default(), error));
            }
        }
    }

    fn parts(&self) -> &[Arc<dyn AnyCell>] {
        &self.parts
    }
}

macro_rules! tuples {
    ($($(($handle:ident $value:ident))+;)+) => {$(
        impl<$($value: Clone + Send + Sync + 'static),+> Handles for ($(&Watch<$value>,)+) {}

        impl<$($value: Clone + Send + Sync + 'static),+> sealed::Combined for ($(&Watch<$value>,)+) {
            type Values = ($($value,)+);

            fn combined(self) -> Watch<Self::Values> {
                let ($($handle,)+) = self;
                let parts: Vec<Arc<dyn AnyCell>> = vec![$($handle.cell.clone()),+];
                let clients = [$(&$handle.client),+];
                let limits = [$(&$handle.limits),+].into_iter().flatten();
                let ($($handle,)+) = ($($handle.cell.clone(),)+);
                let read = move || Some(($($handle.value.load_full()?.as_ref().clone(),)+));
                let mut watch = Combination::new(parts, Box::new(read)).watch(clients);
                limits.for_each(|limit| watch.limit(limit.of_part(&watch.cell)));
                watch
            }
        }
    )+};
}

tuples! {
    (a A) (b B);
    (a A) (b B) (c C);
    (a A) (b B) (c C) (d D);
    (a A) (b B) (c C) (d D) (e E);
    (a A) (b B) (c C) (d D) (e E) (f F);
}
