//! The one connection that writes, on a thread of its own.
//!
//! What waits when the thread is free goes into one transaction (group commit), each piece of work inside a
//! savepoint, so that one which is refused harms no other. Nobody is answered before the transaction is
//! durable.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;

use rusqlite::{Connection, Error};
use tokio::sync::{mpsc, oneshot};

use super::bell::Bell;
use super::history;
use crate::store::{CommitError, Refused, StoreError};

/// How much work may wait; one who brings more waits with it.
const QUEUE: usize = 1024;
/// The most work of one transaction, in pieces: with 512 the cost of making it durable is spread thin already.
const GROUP: usize = 512;
/// The most work of one transaction, in bytes: it stays far below the size at which the WAL is checkpointed.
const GROUP_BYTES: usize = 4 << 20;

/// A piece of work, run inside a savepoint. Answers when it is known whether it is durable.
struct Job {
    bytes: usize,
    run: Box<dyn FnOnce(&Connection) -> Answer + Send>,
}

/// Tells who asked, given why the transaction as a whole failed, if it did.
type Answer = Box<dyn FnOnce(Option<Arc<Error>>) + Send>;

/// The front of the writing thread; dropping it ends the thread once all work is done.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
    transactions: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn start(connection: Connection, bell: Arc<Bell>) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE);
        let transactions = Arc::new(AtomicU64::new(0));
        let mut work = Work { connection, bell, transactions: transactions.clone() };
        let thread =
            std::thread::Builder::new().name("sqlite-writer".into()).spawn(move || work.run(queue))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), transactions })
    }

    /// Runs `work`, of about that many bytes, in a transaction. Dropped while it waits in front of the queue,
    /// it is not run; later it is run to its end.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        bytes: usize,
        work: impl FnOnce(&Connection) -> Result<T, CommitError> + Send + 'static,
    ) -> Result<T, CommitError> {
        let (reply, answer) = oneshot::channel();
        let run = Box::new(move |connection: &Connection| -> Answer {
            // Where SQLite rolled the transaction back by itself, as it may when the disk is full, nothing more is
            // run: a savepoint would be a transaction of its own then.
            let result = (!connection.is_autocommit()).then(|| in_savepoint(connection, work));
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
        let jobs = self.jobs.as_ref().ok_or_else(ended)?;
        jobs.send(Job { bytes, run }).await.map_err(|_| ended())?;
        answer.await.map_err(|_| ended())?
    }

    /// How many transactions became durable.
    pub(super) fn transactions(&self) -> u64 {
        self.transactions.load(Ordering::Relaxed)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
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
struct Work {
    connection: Connection,
    bell: Arc<Bell>,
    transactions: Arc<AtomicU64>,
}

impl Work {
    fn run(&mut self, mut queue: mpsc::Receiver<Job>) {
        while let Some(first) = queue.blocking_recv() {
            let group = gather(first, &mut queue);
            let mut answers = Vec::with_capacity(group.len());
            let failed = self.transaction(group, &mut answers).err().map(Arc::new);
            for answer in answers {
                answer(failed.clone());
            }
        }
    }

    /// Leaves in `answers` one for each piece of work, run or not.
    fn transaction(&mut self, group: Vec<Job>, answers: &mut Vec<Answer>) -> Result<(), Error> {
        let begun = self.connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([]));
        answers.extend(group.into_iter().map(|job| (job.run)(&self.connection)));
        begun?;
        let result = self.finish();
        if result.is_err() && !self.connection.is_autocommit() {
            self.connection.execute_batch("ROLLBACK")?;
        }
        result
    }

    fn finish(&self) -> Result<(), Error> {
        let head = history::head(&self.connection)?.position;
        self.connection.prepare_cached("COMMIT")?.execute([])?;
        self.transactions.fetch_add(1, Ordering::Relaxed);
        self.bell.ring_for(&head);
        Ok(())
    }
}

/// What waits already, within bounds.
fn gather(first: Job, queue: &mut mpsc::Receiver<Job>) -> Vec<Job> {
    let mut bytes = first.bytes;
    let mut group = vec![first];
    while group.len() < GROUP
        && bytes < GROUP_BYTES
        && let Ok(job) = queue.try_recv()
    {
        bytes += job.bytes;
        group.push(job);
    }
    group
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
    use super::super::{commit, open};
    use super::*;
    use crate::store::{Commit, Operation};

    /// A file of at most 60 pages, its writer, and a connection that reads it.
    fn small_file(folder: &tempfile::TempDir) -> (Writer, Connection) {
        let opened = open::open(&folder.path().join("settings.db")).expect("a new file");
        let head = history::head(&opened.writer).expect("genesis").position;
        opened.writer.pragma_update(None, "max_page_count", 60).expect("a limit");
        (Writer::start(opened.writer, Arc::new(Bell::new(&head))).expect("a thread"), opened.reader)
    }

    async fn put(writer: &Writer, key: &str, size: usize) -> Result<(), CommitError> {
        let commit = Commit::one(Operation::put(key, "string", vec![b'x'; size]));
        writer.run(size, move |connection| commit::commit(connection, &commit).map(drop)).await
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
