//! The one connection that reads, on a thread of its own.
//!
//! It copies rows out at once, so that no read keeps the WAL from being checkpointed; and it looks whether
//! anybody wrote: soon after it is woken, else seldom. What it finds that is to be done it leaves to the writer.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use datastream::position::Position;
use notify::RecommendedWatcher;
use rusqlite::Connection;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use super::error::Failed;
use super::file::Sight;
use super::target::Target;
use super::thread::schema;
use super::writer::{Chore, Task};
use super::{bell, history};
use crate::store::StoreError;

/// How many reads may wait; one more is [`StoreError::Unavailable`].
const QUEUE: usize = 1024;
/// The first look after an event: the event tells of a write to the WAL, which others see a sync later.
const SOON: Duration = Duration::from_millis(1);
/// The net under the watch.
const SELDOM: Duration = Duration::from_secs(1);
/// For how long nobody wrote when the log is brought into the file.
const QUIET: Duration = Duration::from_secs(1);
/// The same where the folder cannot be watched; a look costs some microseconds.
const UNWATCHED: Duration = Duration::from_millis(20);

enum Job {
    Read(Box<dyn FnOnce(&Connection) + Send>),
    Woken,
    Stop,
}

/// The front of the reading thread; dropping it ends the thread.
#[derive(Debug)]
pub(super) struct Reader {
    watcher: Option<RecommendedWatcher>,
    jobs: SyncSender<Job>,
    thread: Option<JoinHandle<()>>,
}

impl Reader {
    /// Reads on `connection`, and watches the folder of `path`, which is canonical. What is to be done goes to `tasks`.
    pub(super) fn start(
        connection: Connection,
        path: &Path,
        target: Arc<Target>,
        tasks: Option<Sender<Task>>,
    ) -> Result<Self, Failed> {
        let (jobs, queue) = mpsc::sync_channel(QUEUE);
        let woken = Arc::new(AtomicBool::new(false));
        let watcher = bell::watch(path, wake(jobs.clone(), woken.clone()))
            .inspect_err(|error| {
                tracing::warn!(%error, "cannot watch the folder of the database; looking every 20 ms instead");
            })
            .ok();
        let pace = Pace::new(if watcher.is_some() { SELDOM } else { UNWATCHED });
        let chores = Chores { compare_at: Instant::now() + target.compare, changed: None };
        // What the store was opened with, however late the first look is.
        let head = history::newest(&connection)?;
        let seen = Seen { data: None, schema: None, written: None, again_at: None, head };
        let mut work = Work { connection, target, tasks, woken, pace, seen, chores };
        let thread =
            std::thread::Builder::new().name("sqlite-reader".into()).spawn(move || work.run(&queue))?;
        Ok(Self { watcher, jobs, thread: Some(thread) })
    }

    /// Runs `read` in one read transaction.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job = Job::Read(Box::new(move |connection| {
            let result = in_transaction(connection, || read(connection));
            // Nobody waits any more: a read has no other effect.
            let _ = reply.send(result);
        }));
        self.jobs.try_send(job).map_err(|_| StoreError::Unavailable("too many reads wait".into()))?;
        let ended = |_| StoreError::Unavailable("the reading thread has ended".into());
        Ok(answer.await.map_err(ended)??)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.watcher = None;
        // Fails only if the thread has ended.
        let _ = self.jobs.send(Job::Stop);
        if let Some(thread) = self.thread.take() {
            // It has nobody to tell whether it panicked.
            let _ = thread.join();
        }
    }
}

/// Tells the thread of an event, once until it took notice: a commit causes many. They are not taken one by one, since
/// each wakes a thread: the caller, a thread of the watcher, pauses for as long as the thread waits before it
/// looks, and what comes meanwhile is one event.
fn wake(jobs: SyncSender<Job>, woken: Arc<AtomicBool>) -> impl Fn() + Send + 'static {
    move || {
        if !woken.swap(true, Ordering::AcqRel) && jobs.try_send(Job::Woken).is_err() {
            woken.store(false, Ordering::Release);
        }
        std::thread::sleep(SOON);
    }
}

/// What the thread owns.
struct Work {
    connection: Connection,
    target: Arc<Target>,
    tasks: Option<Sender<Task>>,
    woken: Arc<AtomicBool>,
    pace: Pace,
    seen: Seen,
    chores: Chores,
}

/// What was last looked at.
struct Seen {
    /// `data_version`, which changes with every commit of another connection.
    data: Option<i64>,
    /// SQLite's number of the schema.
    schema: Option<i64>,
    /// When the file itself was written.
    written: Option<SystemTime>,
    /// When to read it again although nothing tells of a write: who copies another over it has the time of the file changed
    /// as the copy begins, and what is read then may be of both.
    again_at: Option<Instant>,
    head: Position,
}

/// What is to be done by the writer.
struct Chores {
    /// When the table is to be compared with the log.
    compare_at: Instant,
    /// When somebody last wrote, until the log is brought into the file.
    changed: Option<Instant>,
}

impl Work {
    fn run(&mut self, queue: &Receiver<Job>) {
        loop {
            match queue.recv_timeout(self.pace.wait(Instant::now())) {
                Ok(Job::Read(read)) => {
                    // What is cached may be what was there before somebody wrote over it.
                    if self.target.place.look().written != self.seen.written {
                        let _ = self.look();
                    }
                    read(&self.connection);
                }
                Ok(Job::Woken) => {
                    self.woken.store(false, Ordering::Release);
                    self.pace.woken(Instant::now());
                }
                Ok(Job::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {}
            }
            // Also between reads, or many of them would keep it from looking.
            if self.pace.wait(Instant::now()).is_zero() {
                // What fails now is looked at again, and fails the next `changes` if it lasts.
                let _ = self.look();
                self.pace.looked(Instant::now());
            }
        }
    }

    fn look(&mut self) -> rusqlite::Result<()> {
        let Sight { is_moved, written } = self.target.place.look();
        if is_moved {
            self.target.leave();
            return Ok(());
        }
        let is_written = std::mem::replace(&mut self.seen.written, written) != written;
        let is_due = self.seen.again_at.take_if(|at| *at <= Instant::now()).is_some();
        if is_written {
            self.seen.again_at.get_or_insert(Instant::now() + QUIET);
        }
        if is_written || is_due {
            self.connection.execute_batch("PRAGMA shrink_memory")?;
        }
        let version =
            self.connection.prepare_cached("PRAGMA data_version")?.query_row([], |row| row.get(0))?;
        let is_changed = self.seen.data != Some(version);
        if is_changed || is_written || is_due {
            self.look_at_history()?;
            self.seen.data = Some(version);
            if is_changed || is_written {
                self.chores.changed = Some(Instant::now());
            }
        }
        self.give_out();
        Ok(())
    }

    fn look_at_history(&mut self) -> rusqlite::Result<()> {
        let look = || Ok((schema(&self.connection)?, history::continued(&self.connection, &self.seen.head)?));
        let (schema, head) = in_transaction(&self.connection, look)?;
        let Some(head) = head else {
            self.target.leave();
            return Ok(());
        };
        if self.seen.schema.replace(schema).is_some_and(|seen| seen != schema) {
            self.chores.compare_at = Instant::now();
        }
        self.target.bell.ring_for(&head);
        self.seen.head = head;
        Ok(())
    }

    /// What the writer has no room for now is given out at the next look.
    fn give_out(&mut self) {
        let Some(tasks) = &self.tasks else { return };
        let now = Instant::now();
        if self.target.must_compare() {
            self.chores.compare_at = now + SELDOM;
        }
        if now >= self.chores.compare_at && tasks.try_send(Task::Chore(Chore::Compare)).is_ok() {
            self.chores.compare_at = now + self.target.compare;
        }
        let is_quiet = self.chores.changed.is_some_and(|changed| now >= changed + QUIET);
        // An empty log is as it should be: to empty it once more would count as a change.
        if is_quiet
            && (!self.target.place.has_log() || tasks.try_send(Task::Chore(Chore::Checkpoint)).is_ok())
        {
            self.chores.changed = None;
        }
    }
}

/// Runs `read`, which sees one state of the file. What begins and ends that is prepared once: as text it is a tenth of what
/// a short read costs (perf).
fn in_transaction<T>(
    connection: &Connection,
    read: impl FnOnce() -> rusqlite::Result<T>,
) -> rusqlite::Result<T> {
    connection.prepare_cached("BEGIN")?.execute([])?;
    let result = read();
    // SQLite ends it by itself when the disk fails.
    if !connection.is_autocommit() {
        connection.prepare_cached("ROLLBACK")?.execute([])?;
    }
    result
}

/// When to look: soon after an event, then at doubling distances, up to the slowest.
struct Pace {
    next: Instant,
    delay: Duration,
    slowest: Duration,
}

impl Pace {
    fn new(slowest: Duration) -> Self {
        Self { next: Instant::now(), delay: SOON, slowest }
    }

    fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now)
    }

    fn woken(&mut self, now: Instant) {
        self.delay = SOON;
        self.next = self.next.min(now + SOON);
    }

    fn looked(&mut self, now: Instant) {
        self.next = now + self.delay;
        self.delay = (self.delay * 2).min(self.slowest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A write is visible only after its sync, and no event tells of that.
    #[test]
    fn after_an_event_it_looks_soon_and_then_less_and_less() {
        let start = Instant::now();
        let mut pace = Pace { next: start + SELDOM, delay: SELDOM, slowest: SELDOM };
        pace.woken(start);
        pace.woken(start + Duration::from_micros(500));
        assert_eq!(pace.wait(start), SOON, "a second event does not put the look off");
        let mut now = start;
        let mut waits = Vec::new();
        for _ in 0..12 {
            let wait = pace.wait(now);
            waits.push(wait.as_millis());
            now += wait;
            pace.looked(now);
        }
        assert_eq!(waits, [1, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000]);
    }
}
