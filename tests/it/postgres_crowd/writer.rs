//! One of the crowd: it writes the table by transactions of its own and, sometimes, through a server.

use std::sync::Arc;
use std::time::Duration;

use datastream_client::{CallError, Client};
use fastrand::Rng;
use tokio::time::{sleep, timeout};
use tokio_postgres::error::SqlState;
use tokio_postgres::{Error, NoTls};

use super::RETRY;
use super::tally::Tally;
use super::transaction::{ROLLED_BACK, Transaction, shared};

/// For how long a commit may be tried: a server that was not there for some rounds is waited for ever longer.
const PATIENCE: Duration = Duration::from_secs(120);

/// What a writer writes to its key of this number.
pub(super) fn own(writer: usize, number: usize) -> (String, String) {
    (format!("own/{writer}/{number}"), format!("{number} of {writer}"))
}

/// What became of an attempt.
enum Outcome {
    Made,
    /// It was not made.
    NotMade,
    /// Nobody said.
    Unknown,
}

/// A writer, with a session that it makes anew when it was lost.
pub(super) struct Writer {
    pub(super) number: usize,
    pub(super) rng: Rng,
    pub(super) database: String,
    /// Whether what it talks to may be ended.
    pub(super) is_rough: bool,
    pub(super) client: Client,
    pub(super) tally: Arc<Tally>,
    pub(super) session: Option<tokio_postgres::Client>,
}

impl Writer {
    /// Makes so many commits, each of which writes a key of its own.
    pub(super) async fn run(mut self, commits: usize) {
        for number in 0..commits {
            let (key, value) = own(self.number, number);
            let made = timeout(PATIENCE, self.insist(&key, &value)).await;
            made.unwrap_or_else(|_| panic!("took too long: {key}; {}", self.tally));
            self.tally.count_commit();
        }
    }

    async fn insist(&mut self, key: &str, value: &str) {
        let is_push = self.rng.u8(..5) == 0;
        if !is_push && self.rng.u8(..10) == 0 {
            self.try_and_roll_back(key).await;
        }
        loop {
            let outcome = if is_push { self.push(key, value).await } else { self.transact(key, value).await };
            let is_made = match outcome {
                Outcome::Made => true,
                Outcome::NotMade => false,
                Outcome::Unknown => self.holds(key).await,
            };
            if is_made {
                return self.tally.pushes.add(is_push.into());
            }
            sleep(RETRY).await;
        }
    }

    async fn push(&mut self, key: &str, value: &str) -> Outcome {
        let rng = &mut self.rng;
        let pushed = if rng.bool() {
            self.client.set(key, value.to_owned()).await
        } else {
            let commit = self.client.commit().put(key, value.to_owned());
            let other = shared(rng);
            let commit = if rng.bool() { commit.put(other, value.to_owned()) } else { commit.delete(other) };
            commit.send().await
        };
        match pushed {
            Ok(_) => Outcome::Made,
            Err(
                CallError::Unreachable(_)
                | CallError::TimedOut
                | CallError::Failed(_)
                | CallError::Interrupted,
            ) => {
                self.tally.unanswered.add(1);
                Outcome::Unknown
            }
            Err(error) => panic!("{key}: {error}"),
        }
    }

    /// Nothing of this is ever seen.
    async fn try_and_roll_back(&mut self, key: &str) {
        let transaction = Transaction::random(&mut self.rng, key, ROLLED_BACK);
        self.tally.rollbacks.add(1);
        // Where it fails, it is rolled back as well.
        let _ = self.execute(&transaction, "ROLLBACK").await;
    }

    async fn transact(&mut self, key: &str, value: &str) -> Outcome {
        let transaction = Transaction::random(&mut self.rng, key, value);
        self.execute(&transaction, "COMMIT").await
    }

    async fn execute(&mut self, transaction: &Transaction, end: &str) -> Outcome {
        let Some(session) = self.session().await else { return Outcome::NotMade };
        let statements = transaction.statements.iter().map(String::as_str);
        for statement in [transaction.begin].into_iter().chain(statements).chain([end]) {
            if let Err(error) = session.batch_execute(statement).await {
                return self.failed(&error).await;
            }
        }
        Outcome::Made
    }

    /// What a writer of any database has to expect; anything else would be ours.
    async fn failed(&mut self, error: &Error) -> Outcome {
        let count = match error.code() {
            Some(code) if *code == SqlState::T_R_DEADLOCK_DETECTED => &self.tally.deadlocks,
            Some(code) if *code == SqlState::T_R_SERIALIZATION_FAILURE => &self.tally.serializations,
            _ => {
                assert!(self.is_rough && is_lost(error), "a writer failed: {error:?}");
                self.tally.lost.add(1);
                self.session = None;
                return Outcome::Unknown;
            }
        };
        count.add(1);
        let session = self.session.as_ref().expect("it answered");
        match session.batch_execute("ROLLBACK").await {
            Ok(()) => Outcome::NotMade,
            Err(error) => {
                assert!(self.is_rough, "a writer cannot roll back: {error:?}");
                self.session = None;
                Outcome::NotMade
            }
        }
    }

    /// Whether the table has its key.
    async fn holds(&mut self, key: &str) -> bool {
        let sql = format!("SELECT FROM data WHERE key = '{key}'");
        loop {
            if let Some(session) = self.session().await {
                match session.query_opt(&sql, &[]).await {
                    Ok(row) => return row.is_some(),
                    Err(error) => assert!(self.is_rough, "a writer cannot read: {error:?}"),
                }
            }
            self.session = None;
            sleep(RETRY).await;
        }
    }

    async fn session(&mut self) -> Option<&tokio_postgres::Client> {
        if self.session.is_none() {
            match tokio_postgres::connect(&self.database, NoTls).await {
                Ok((session, connection)) => {
                    // Its error is the session's too.
                    tokio::spawn(connection);
                    self.session = Some(session);
                }
                Err(error) => assert!(self.is_rough, "a writer cannot connect: {error:?}"),
            }
        }
        self.session.as_ref()
    }
}

/// Whether the database went, or goes.
fn is_lost(error: &Error) -> bool {
    error.code().is_none_or(|code| matches!(code.code().get(..2), Some("57" | "08")))
}
