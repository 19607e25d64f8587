//! The thread that writes: one transaction after the other, comparisons between them.
//!
//! Before the first piece of work it makes sure that it writes into what it knows: the file, its history, the schema.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

use datastream::position::Position;
use rusqlite::{Connection, Error, ErrorCode};
use tokio::sync::mpsc;

use super::error::Failed;
use super::file::Sight;
use super::reconcile::{self, Comparison};
use super::target::Target;
use super::writer::{Chore, Job, Task, in_savepoint};
use super::{history, open, table};
use crate::store::{News, Since};

/// The most work of one transaction, in pieces: with 512 the cost of making it durable is spread thin already.
const GROUP: usize = 512;
/// The most work of one transaction, in bytes: it stays far below the size at which the WAL is checkpointed.
const GROUP_BYTES: usize = 4 << 20;
/// How many pieces are done each by itself after a transaction was refused as a whole, so that the one to blame harms
/// no other.
const ALONE: usize = GROUP;

/// How many changes are told at most, and of no more bytes than a transaction of ours writes: others may have written any
/// number, and nobody writes while they are read.
const NEWS: u64 = 2 * GROUP as u64;

/// What the thread owns.
pub(super) struct Thread {
    connection: Connection,
    target: Arc<Target>,
    known: Known,
    comparison: Option<Comparison>,
    /// How many pieces of work are still to be done each by itself.
    alone: usize,
    /// How many rows had no key of text at the last count.
    unkeyed: u64,
}

/// What the last transaction left; whatever is otherwise was changed by somebody else.
struct Known {
    /// SQLite's number of the schema.
    schema: i64,
    /// When the file itself was last written.
    written: Option<SystemTime>,
    head: Position,
}

/// What was found before a transaction.
enum Found {
    Known,
    /// The schema is another, and the table was compared with the log.
    Compared,
}

impl Thread {
    /// The thread of a connection whose table and triggers are in order.
    pub(super) fn new(connection: Connection, target: Arc<Target>) -> Result<Self, Error> {
        let head = history::newest(&connection)?;
        let known = Known { schema: schema(&connection)?, written: target.place.look().written, head };
        Ok(Self { connection, target, known, comparison: None, alone: 0, unkeyed: 0 })
    }

    pub(super) fn run(&mut self, mut queue: mpsc::Receiver<Task>) {
        self.count_unkeyed();
        loop {
            let task = if self.comparison.is_none() { queue.blocking_recv() } else { queue.try_recv().ok() };
            match task {
                Some(Task::Work(first)) => {
                    let (group, rest) = self.gather(first, &mut queue);
                    self.work(group);
                    rest.into_iter().for_each(|chore| self.chore(&chore));
                }
                Some(Task::Chore(chore)) => self.chore(&chore),
                None if queue.is_closed() && queue.is_empty() => break,
                None => {}
            }
            self.compare();
        }
        if self.target.place.is_displaced() {
            // SQLite leaves the log of a file that is not at its path where it lies.
            self.checkpoint(open::BUSY);
        }
    }

    fn chore(&mut self, chore: &Chore) {
        match chore {
            Chore::Compare => _ = self.comparison.get_or_insert_with(Comparison::new),
            Chore::Checkpoint => self.checkpoint(Duration::ZERO),
        }
    }

    /// The work that waits already, within bounds; and the first chore behind it.
    fn gather(&mut self, first: Job, queue: &mut mpsc::Receiver<Task>) -> (Vec<Job>, Option<Chore>) {
        let limit = if self.alone > 0 { 1 } else { GROUP };
        self.alone = self.alone.saturating_sub(1);
        let mut bytes = first.bytes;
        let mut group = vec![first];
        while group.len() < limit && bytes < GROUP_BYTES {
            match queue.try_recv() {
                Ok(Task::Work(job)) => {
                    bytes += job.bytes;
                    group.push(job);
                }
                Ok(Task::Chore(chore)) => return (group, Some(chore)),
                Err(_) => break,
            }
        }
        (group, None)
    }

    fn work(&mut self, group: Vec<Job>) {
        let size = group.len();
        let mut answers = Vec::with_capacity(size);
        let made =
            self.transaction(|connection| answers.extend(group.into_iter().map(|job| (job.run)(connection))));
        let failed = made.err().map(|error| match error {
            // A foreign key that is checked at the end alone.
            Failed::Sqlite(error) if error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
                if size == 1 {
                    return Failed::Rules;
                }
                self.alone = ALONE;
                Failed::Sqlite(error)
            }
            error => error,
        });
        let failed = failed.map(Arc::new);
        answers.into_iter().for_each(|answer| answer(failed.clone()));
    }

    /// The next step of a comparison. One that fails is begun anew soon.
    fn compare(&mut self) {
        let Some(mut comparison) = self.comparison.take() else { return };
        let mut compared = Ok(false);
        let table = self.target.table.clone();
        let made = self.transaction(|connection| {
            if !connection.is_autocommit() {
                compared = in_savepoint(connection, |connection| comparison.step(connection, &table));
            }
        });
        match made.and_then(|found| Ok((found, compared?))) {
            Ok((Found::Known, true)) => self.comparison = Some(comparison),
            Ok(_) => self.count_unkeyed(),
            Err(error) => {
                self.target.ask_to_compare();
                let error = crate::error_chain(&error);
                tracing::warn!(%error, "the table cannot be compared with the log now: it will be tried again");
            }
        }
    }

    fn count_unkeyed(&mut self) {
        let Ok(rows) = reconcile::unkeyed(&self.connection, &self.target.table) else { return };
        if std::mem::replace(&mut self.unkeyed, rows) != rows && rows > 0 {
            tracing::warn!(rows, "rows whose key is no text are not served");
        }
    }

    /// Runs `work` in a transaction; outside of one, if none can be begun.
    fn transaction(&mut self, work: impl FnOnce(&Connection)) -> Result<Found, Failed> {
        let begun = self.begin();
        work(&self.connection);
        let result = begun.and_then(|found| self.finish().map(|()| found));
        if result.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        result
    }

    fn begin(&mut self) -> Result<Found, Failed> {
        let seen = self.target.place.look();
        if self.target.place.is_left() || seen.is_moved {
            return Err(self.target.leave());
        }
        let is_written = seen.written != self.known.written;
        if is_written {
            // What is cached may be what was there before somebody wrote over it.
            self.connection.execute_batch("PRAGMA shrink_memory")?;
        }
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let found = self.make_sure(is_written);
        if found.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        found
    }

    /// Nothing is written into a history that is not the one that was left, nor past the triggers.
    fn make_sure(&self, is_written: bool) -> Result<Found, Failed> {
        let schema = schema(&self.connection)?;
        if (is_written || schema != self.known.schema)
            && history::continued(&self.connection, &self.known.head)?.is_none()
        {
            return Err(self.target.leave());
        }
        if schema == self.known.schema {
            return Ok(Found::Known);
        }
        let table = &self.target.table;
        let rule = table::unfit(&self.connection, table)?;
        self.target.show_fit(rule.as_deref());
        if let Some(rule) = rule {
            return Err(Failed::Unfit { table: table.to_string(), rule });
        }
        open::keep_history(&self.connection, table)?;
        Ok(Found::Compared)
    }

    fn finish(&mut self) -> Result<(), Failed> {
        let head = history::newest(&self.connection)?;
        let news = self.news(&head);
        let schema = schema(&self.connection)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        let Sight { is_moved, written } = self.target.place.look();
        if is_moved {
            return Err(self.target.leave());
        }
        self.target.transactions.fetch_add(1, Ordering::Relaxed);
        match news {
            Some(news) => self.target.bell.tell(news),
            None => self.target.bell.ring_for(&head),
        }
        self.known = Known { schema, written, head };
        Ok(())
    }

    /// What came since the last transaction, if that is not much. It is read before the end of this one, while what it
    /// wrote is in memory. Whatever speaks against that is no reason to refuse a commit: then it is asked for.
    fn news(&self, head: &Position) -> Option<News> {
        let after = &self.known.head;
        if !(1..=NEWS).contains(&head.revision.saturating_sub(after.revision)) {
            return None;
        }
        match history::since_within(&self.connection, after, GROUP_BYTES) {
            Ok(Some(Since::Changes(batch))) => Some(News { after: after.clone(), batch }),
            _ => None,
        }
    }

    /// When all of it is in the file, a copy of the file is a copy of the store, and another file that is put in its
    /// place meets no log of this one.
    fn checkpoint(&mut self, patience: Duration) {
        let checkpoint = || {
            self.connection.busy_timeout(patience)?;
            let done = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            self.connection.busy_timeout(open::BUSY)?;
            done
        };
        // Somebody reads or writes: it is tried again after the next change.
        let _ = checkpoint();
        self.known.written = self.target.place.look().written;
    }
}

/// SQLite's number of the schema, which moves with every change of it.
pub(super) fn schema(connection: &Connection) -> Result<i64, Error> {
    connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))
}
