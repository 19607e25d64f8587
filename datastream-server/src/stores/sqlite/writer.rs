//! The one connection that writes, on a thread of its own.
//!
//! What waits when the thread is free goes into one transaction (group commit), each piece of work inside a
//! savepoint, so that one which is refused harms no other. Nobody is answered before the transaction is
//! durable. Before the first piece it makes sure that it writes into what it knows: the file and the schema.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use datastream::position::Position;
use rusqlite::{Connection, Error};
use tokio::sync::{mpsc, oneshot};

use super::error::Failed;
use super::file::Place;
use super::reconcile::{self, Comparison};
use super::target::Target;
use super::{bell, history, open, table};
use crate::store::{CommitError, Refused, StoreError};

/// How much work may wait; one who brings more waits with it.
const QUEUE: usize = 1024;
/// The most work of one transaction, in pieces: with 512 the cost of making it durable is spread thin already.
const GROUP: usize = 512;
/// The most work of one transaction, in bytes: it stays far below the size at which the WAL is checkpointed.
const GROUP_BYTES: usize = 4 << 20;

/// What the thread is asked to do.
pub(super) enum Task {
    Work(Job),
    /// Compare the table with the log, between other work.
    Compare,
    /// Bring the write-ahead log into the file, if nobody reads in it now.
    Checkpoint,
}

/// A piece of work, run inside a savepoint. Answers when it is known whether it is durable.
pub(super) struct Job {
    bytes: usize,
    run: Box<dyn FnOnce(&Connection) -> Answer + Send>,
}

/// Tells who asked, given why the transaction as a whole failed, if it did.
type Answer = Box<dyn FnOnce(Option<Arc<Failed>>) + Send>;

/// The front of the writing thread; dropping it ends the thread once all work is done.
#[derive(Debug)]
pub(super) struct Writer {
    tasks: Option<mpsc::Sender<Task>>,
    thread: Option<JoinHandle<()>>,
}

impl Writer {
    /// Writes on `connection`, whose table and triggers are in order.
    pub(super) fn start(connection: Connection, target: Arc<Target>) -> Result<Self, Failed> {
        let (tasks, queue) = mpsc::channel(QUEUE);
        let head = history::head(&connection)?.position;
        let known = Some(Known::now(schema(&connection)?, &target.place, &head));
        let mut thread = Thread { connection, target, known, comparison: None, unkeyed: 0 };
        let thread =
            std::thread::Builder::new().name("sqlite-writer".into()).spawn(move || thread.run(queue))?;
        Ok(Self { tasks: Some(tasks), thread: Some(thread) })
    }

    /// The way to ask for what nobody waits for.
    pub(super) fn tasks(&self) -> Option<mpsc::Sender<Task>> {
        self.tasks.clone()
    }

    /// Runs `work`, of about that many bytes, in a transaction. Dropped before it
    /// has begun, it is not run; later it is run to its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&Connection) -> Result<T, CommitError> + Send + 'static,
    ) -> Result<T, CommitError> {
        let (reply, answer) = oneshot::channel();
        let run = Box::new(move |connection: &Connection| -> Answer {
            // Where SQLite rolled the transaction back by itself, as it may when the disk is full, nothing more is
            // run: a savepoint would be a transaction of its own then.
            // Nor what nobody waits for any more.
            let is_run = !connection.is_autocommit() && !reply.is_closed();
            let result = is_run.then(|| in_savepoint(connection, work));
            Box::new(move |failed| {
                let result = match (result, failed) {
                    // What this work met itself says more than what it did to the others.
                    // A trigger of the user's may end the transaction as well, when it refuses a value.
                    (Some(Err(own @ (CommitError::Store(_) | CommitError::Refused(Refused::Rules)))), _) => {
                        Err(own)
                    }
                    (_, Some(failed)) => Err(StoreError::from(failed).into()),
                    (result, None) => result.unwrap_or_else(|| Err(ended())),
                };
                // Nobody waits any more: the work is done all the same.
                let _ = reply.send(result);
            })
        });
        let tasks = self.tasks.as_ref().ok_or_else(ended)?;
        tasks.send(Task::Work(Job { bytes, run })).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.tasks = None;
        if let Some(thread) = self.thread.take() {
            // It has nobody to tell whether it panicked.
            let _ = thread.join();
        }
    }
}

fn ended() -> CommitError {
    StoreError::Unavailable("the writing thread has ended".into()).into()
}

/// What the thread owns.
struct Thread {
    connection: Connection,
    target: Arc<Target>,
    known: Option<Known>,
    comparison: Option<Comparison>,
    /// How many rows had no key of text at the last count.
    unkeyed: u64,
}

/// What the last transaction left; whatever is otherwise was changed by somebody else.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Known {
    /// SQLite's number of the schema.
    schema: i64,
    /// When the file itself was last written.
    written: Option<SystemTime>,
    /// The newest revision, and the name of its position.
    head: (u64, u64),
}

impl Known {
    fn now(schema: i64, place: &Place, head: &Position) -> Self {
        Self { schema, written: place.written(), head: (head.revision, bell::name(head)) }
    }
}

impl Thread {
    fn run(&mut self, mut queue: mpsc::Receiver<Task>) {
        self.count_unkeyed();
        loop {
            let task = if self.comparison.is_none() { queue.blocking_recv() } else { queue.try_recv().ok() };
            match task {
                Some(Task::Work(first)) => self.work(first, &mut queue),
                Some(Task::Compare) => {
                    self.comparison.get_or_insert_with(Comparison::new);
                }
                Some(Task::Checkpoint) => self.checkpoint(),
                None if queue.is_closed() && queue.is_empty() => return,
                None => {}
            }
            self.compare();
        }
    }

    fn work(&mut self, first: Job, queue: &mut mpsc::Receiver<Task>) {
        let (group, rest) = gather(first, queue);
        let mut answers = Vec::with_capacity(group.len());
        let failed = self
            .transaction(|connection| answers.extend(group.into_iter().map(|job| (job.run)(connection))))
            .err()
            .map(Arc::new);
        answers.into_iter().for_each(|answer| answer(failed.clone()));
        match rest {
            Some(Task::Compare) => _ = self.comparison.get_or_insert_with(Comparison::new),
            Some(Task::Checkpoint) => self.checkpoint(),
            Some(Task::Work(_)) | None => {}
        }
    }

    /// The next step of a comparison. One that fails is begun anew when it is due again.
    fn compare(&mut self) {
        let Some(mut comparison) = self.comparison.take() else { return };
        let mut compared = Ok(false);
        let table = self.target.table.clone();
        let made = self.transaction(|connection| {
            if !connection.is_autocommit() {
                compared = in_savepoint(connection, |connection| comparison.step(connection, &table));
            }
        });
        match made.and(compared.map_err(Failed::from)) {
            Ok(true) => self.comparison = Some(comparison),
            Ok(false) => self.count_unkeyed(),
            Err(error) => {
                tracing::warn!(error = %crate::error_chain(&error), "the table cannot be compared with the log now");
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
    fn transaction(&mut self, work: impl FnOnce(&Connection)) -> Result<(), Failed> {
        let begun = self.begin();
        work(&self.connection);
        let result = begun.and_then(|()| self.finish());
        if result.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        result
    }

    fn begin(&mut self) -> Result<(), Failed> {
        if self.target.place.is_left() || self.target.place.is_moved() {
            return Err(self.leave());
        }
        let written = self.target.place.written();
        if self.known.is_some_and(|known| known.written != written) {
            // What is cached may be what was there before somebody wrote over it.
            self.connection.execute_batch("PRAGMA shrink_memory")?;
        }
        self.connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        let made_sure = self.make_sure(written);
        if made_sure.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        made_sure
    }

    /// Nothing is written into a history that is not the one that was left, nor past the triggers.
    fn make_sure(&self, written: Option<SystemTime>) -> Result<(), Failed> {
        if let Some(known) = &self.known {
            if known.written != written && !self.continues(known)? {
                return Err(self.leave());
            }
            if known.schema == schema(&self.connection)? {
                return Ok(());
            }
        }
        let table = &self.target.table;
        let rule = table::unfit(&self.connection, table)?;
        self.target.show_fit(rule.as_deref());
        if let Some(rule) = rule {
            return Err(Failed::Unfit { table: table.to_string(), rule });
        }
        Ok(open::keep_history(&self.connection, table)?)
    }

    fn continues(&self, known: &Known) -> Result<bool, Error> {
        let (revision, name) = known.head;
        Ok(bell::name(&history::position_at(&self.connection, revision)?) == name)
    }

    fn finish(&mut self) -> Result<(), Failed> {
        let head = history::head(&self.connection)?.position;
        let schema = schema(&self.connection)?;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        if self.target.place.is_moved() {
            return Err(self.leave());
        }
        self.target.transactions.fetch_add(1, Ordering::Relaxed);
        self.target.bell.ring_for(&head);
        self.known = Some(Known::now(schema, &self.target.place, &head));
        Ok(())
    }

    fn leave(&self) -> Failed {
        self.target.place.leave();
        self.target.bell.ring();
        Failed::Left
    }

    /// When all of it is in the file, a copy of the file is a copy of the store, and another file that is put in its
    /// place meets no log of this one.
    fn checkpoint(&mut self) {
        let checkpoint = || {
            self.connection.busy_timeout(Duration::ZERO)?;
            let done = self.connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
            self.connection.busy_timeout(open::BUSY)?;
            done
        };
        // Somebody reads or writes: it is tried again after the next change.
        let _ = checkpoint();
        if let Some(known) = &mut self.known {
            known.written = self.target.place.written();
        }
    }
}

/// SQLite's number of the schema, which moves with every change of it.
fn schema(connection: &Connection) -> Result<i64, Error> {
    connection.prepare_cached("PRAGMA schema_version")?.query_row([], |row| row.get(0))
}

/// The work that waits already, within bounds; and the first task that is something else.
fn gather(first: Job, queue: &mut mpsc::Receiver<Task>) -> (Vec<Job>, Option<Task>) {
    let mut bytes = first.bytes;
    let mut group = vec![first];
    while group.len() < GROUP && bytes < GROUP_BYTES {
        match queue.try_recv() {
            Ok(Task::Work(job)) => {
                bytes += job.bytes;
                group.push(job);
            }
            Ok(other) => return (group, Some(other)),
            Err(_) => break,
        }
    }
    (group, None)
}

/// Runs `work` whole or not at all.
fn in_savepoint<T>(
    connection: &Connection,
    work: impl FnOnce(&Connection) -> Result<T, CommitError>,
) -> Result<T, CommitError> {
    connection.prepare_cached("SAVEPOINT work")?.execute([])?;
    let result = work(connection);
    let ended = match &result {
        Ok(_) => {
            connection.prepare_cached("RELEASE work").and_then(|mut release| release.execute([])).map(drop)
        }
        Err(_) if connection.is_autocommit() => Ok(()),
        Err(_) => connection.execute_batch("ROLLBACK TO work; RELEASE work"),
    };
    if let Err(error) = ended {
        // Half of this work may be in the transaction, so none of it may become durable.
        connection.execute_batch("ROLLBACK")?;
        return Err(error.into());
    }
    result
}

#[cfg(test)]
mod tests {
    use super::super::commit;
    use super::*;
    use crate::store::{Commit, Operation};

    /// A file of at most 60 pages, its writer, and a connection that reads it.
    fn small_file(folder: &tempfile::TempDir) -> (Writer, Connection) {
        let path = folder.path().join("settings.db");
        let opened = open::open(&path, "data", true).expect("a new file");
        opened.writer.pragma_update(None, "max_page_count", 60).expect("a limit");
        let place = opened.lock.place(&path);
        let target = Target::new("data".into(), place, Arc::default(), Duration::MAX, Arc::default());
        (Writer::start(opened.writer, Arc::new(target)).expect("a thread"), opened.reader)
    }

    async fn put(writer: &Writer, key: &str, size: usize) -> Result<(), CommitError> {
        let commit = Commit::one(Operation::put(key, "string", vec![b'x'; size]));
        writer.run(size, move |connection| commit::commit(connection, "data", &commit).map(drop)).await
    }

    #[tokio::test]
    async fn one_that_finds_no_room_harms_no_other() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, reader) = small_file(&folder);
        let (small, large, other) = tokio::join!(
            put(&writer, "small", 10),
            put(&writer, "large", 1 << 20),
            put(&writer, "other", 10)
        );
        assert!(matches!(large, Err(CommitError::Store(StoreError::Full(_)))), "{large:?}");
        assert!(small.is_ok() && other.is_ok());
        let stored = |key| history::latest(&reader, key).expect("a read").is_some();
        assert!(stored("small") && stored("other") && !stored("large"));
    }

    /// SQLite may end a transaction by itself, when the disk fails; here a piece of work does so.
    #[tokio::test]
    async fn a_transaction_that_ends_in_the_midst_fails_for_all() {
        let folder = tempfile::tempdir().expect("a folder");
        let (writer, reader) = small_file(&folder);
        let (open_gate, gate) = std::sync::mpsc::channel();
        let gather_behind = writer.run(0, move |_| Ok(gate.recv().is_ok()));
        let end = writer.run(0, |connection| Ok(connection.execute_batch("ROLLBACK")?));
        let go = async { open_gate.send(()).expect("the gate") };
        let (_, before, ended, after, ()) =
            tokio::join!(gather_behind, put(&writer, "before", 10), end, put(&writer, "after", 10), go);
        for result in [before, ended, after] {
            assert!(matches!(result, Err(CommitError::Store(StoreError::Unavailable(_)))), "{result:?}");
        }
        let stored = |key| history::latest(&reader, key).expect("a read").is_some();
        assert!(!stored("before") && !stored("after"));
        put(&writer, "after", 10).await.expect("the next transaction");
    }
}
