//! The one connection that writes, on a thread of its own.
//!
//! What waits when the thread is free goes into one transaction (group commit), each piece of work inside a
//! savepoint, so that one which is refused harms no other. Nobody is answered before the transaction is
//! durable.

use std::sync::Arc;
use std::thread::JoinHandle;

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::error::Failed;
use super::target::Target;
use super::thread::Thread;
use crate::store::{CommitError, Refused, StoreError};

/// How much work may wait; one who brings more waits with it.
const QUEUE: usize = 1024;
/// What the thread is asked to do.
pub(super) enum Task {
    Work(Job),
    Chore(Chore),
}

/// What nobody waits for.
pub(super) enum Chore {
    /// Compare the table with the log, between other work.
    Compare,
    /// Bring the write-ahead log into the file, if nobody reads in it now.
    Checkpoint,
}

/// A piece of work, run inside a savepoint. Answers when it is known whether it is durable.
pub(super) struct Job {
    pub(super) bytes: usize,
    pub(super) run: Box<dyn FnOnce(&Connection) -> Answer + Send>,
}

/// Tells who asked, given why the transaction as a whole failed, if it did.
pub(super) type Answer = Box<dyn FnOnce(Option<Arc<Failed>>) + Send>;

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
        let mut thread = Thread::new(connection, target)?;
        let thread =
            std::thread::Builder::new().name("sqlite-writer".into()).spawn(move || thread.run(queue))?;
        Ok(Self { tasks: Some(tasks), thread: Some(thread) })
    }

    /// The way to ask for what nobody waits for.
    pub(super) fn tasks(&self) -> Option<mpsc::Sender<Task>> {
        self.tasks.clone()
    }

    /// Runs `work`, of about that many bytes, in a transaction. Dropped before it has begun, it is not run; later it is
    /// run to its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&Connection) -> Result<T, CommitError> + Send + 'static,
    ) -> Result<T, CommitError> {
        let (reply, answer) = oneshot::channel();
        let run = Box::new(move |connection: &Connection| -> Answer {
            // Where SQLite rolled the transaction back by itself, as it may when the disk is full, nothing more is
            // run: a savepoint would be a transaction of its own then. Nor is what nobody waits for any more.
            let is_run = !connection.is_autocommit() && !reply.is_closed();
            let result = is_run.then(|| in_savepoint(connection, work));
            Box::new(move |failed| {
                let result = match (result, failed) {
                    // What this work met itself says more than what it did to the others.
                    // A trigger of the user's may end the transaction as well, when it refuses a value.
                    (
                        Some(Err(
                            own @ (CommitError::Store(_) | CommitError::Refused { why: Refused::Rules, .. }),
                        )),
                        _,
                    ) => Err(own),
                    (_, Some(failed)) => Err(failed.into()),
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

/// Runs `work` whole or not at all.
pub(super) fn in_savepoint<T>(
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
    use std::time::Duration;

    use super::super::{commit, history, open};
    use super::*;
    use crate::store::{Commit, Operation};

    /// A file of at most 60 pages, its writer, and a connection that reads it.
    fn small_file(folder: &tempfile::TempDir) -> (Writer, Connection) {
        let path = folder.path().join("settings.db");
        let opened = open::open(&path, "data", true).expect("a new file");
        opened.writer.pragma_update(None, "max_page_count", 60).expect("a limit");
        let place = Arc::new(opened.lock.place(&path, &path));
        let target = Target::new("data".into(), place, Arc::default(), Duration::MAX, Arc::default());
        (Writer::start(opened.writer, Arc::new(target)).expect("a thread"), opened.reader)
    }

    async fn put(writer: &Writer, key: &str, size: usize) -> Result<(), CommitError> {
        let commit = Commit::one(Operation::put(key, "string", vec![b'x'; size]));
        writer.run(size, move |connection| commit::commit(connection, "data", &commit)?.map(drop)).await
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
