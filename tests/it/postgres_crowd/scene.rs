//! Two servers on one database, and who writes and follows there.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use datastream_client::Client;
use fastrand::Rng;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::ledger;
use super::member::Member;
use super::observer::Observer;
use super::tally::Tally;
use super::writer::{Writer, own};
use crate::mirror::Mirror;
use crate::postgres::{Cluster, Database};
use crate::store_postgres::TABLE;

pub(super) const WRITERS: usize = 16;
const OBSERVERS: usize = 8;
/// What a cluster of a crowd is made with. Deadlocks are looked for often, since the writers have many among themselves;
/// and the log says whose they were.
const SETTINGS: [(&str, &str); 3] =
    [("track_commit_timestamp", "on"), ("deadlock_timeout", "100ms"), ("log_line_prefix", "%m [%p] %a ")];
/// How long the observers may need for what was committed last.
const PATIENCE: Duration = Duration::from_secs(120);

/// What all of them have in common. The servers end before the database does.
pub(super) struct Scene {
    pub(super) members: [Member; 2],
    pub(super) database: Database,
    pub(super) tally: Arc<Tally>,
    pub(super) rng: Rng,
    /// How many commits each writer makes.
    commits: usize,
    observers: JoinSet<Mirror>,
    until: watch::Sender<Option<u64>>,
}

impl Scene {
    /// Starts the servers and those who follow them; they are there before anything is written.
    pub(super) async fn start(seed: u64, commits: usize) -> Self {
        let database = Cluster::start_with(&SETTINGS).database();
        database.psql(TABLE);
        let members = [Member::start(&database.url()).await, Member::start(&database.url()).await];
        let mut scene = Self {
            members,
            database,
            tally: Arc::default(),
            rng: Rng::with_seed(seed),
            commits: commits.div_ceil(WRITERS),
            observers: JoinSet::new(),
            until: watch::Sender::default(),
        };
        (0..OBSERVERS).for_each(|_| scene.observe());
        scene
    }

    /// How many commits all writers make.
    pub(super) fn total(&self) -> u64 {
        (self.commits * WRITERS) as u64
    }

    pub(super) fn urls(&self) -> [String; 2] {
        self.members.each_ref().map(Member::url)
    }

    fn observe(&mut self) {
        let urls = self.urls();
        let urls = urls.each_ref().map(String::as_str);
        let observer = Observer::of(urls, self.rng.fork(), self.tally.clone(), self.until.subscribe());
        self.observers.spawn(observer.run());
    }

    /// The crowd, which begins. Rough is what ends sessions.
    pub(super) fn write(&mut self, is_rough: bool) -> JoinSet<()> {
        let clients = self.urls().map(Client::connect);
        let rng = &mut self.rng;
        let writer = |number: usize| Writer {
            number,
            rng: rng.fork(),
            database: self.database.url(),
            is_rough,
            client: clients[number % 2].clone(),
            tally: self.tally.clone(),
            session: None,
        };
        let writers: Vec<_> = (0..WRITERS).map(writer).collect();
        writers.into_iter().map(|writer| writer.run(self.commits)).collect()
    }

    /// Checks the log, the table, and what each observer was sent. Returns what the table holds.
    pub(super) async fn check(&mut self) -> BTreeMap<String, Vec<u8>> {
        ledger::check(&self.database);
        let table = ledger::table(&self.database);
        self.check_table(&table);
        self.until.send_replace(Some(ledger::head(&self.database)));
        let mut position = None;
        while let Some(observer) = timeout(PATIENCE, self.observers.join_next()).await.transpose() {
            let mirror = observer.expect("the observers come to the end in time").expect("the laws hold");
            let position = position.get_or_insert_with(|| mirror.position.clone());
            assert_eq!(mirror.position, *position, "two observers end at one revision in two histories");
            check_mirror(&mirror, &table);
        }
        assert_eq!(self.tally.resets.get(), 0, "somebody who came back had to begin anew");
        assert!(self.tally.resumes.get() > 0, "nobody came back");
        table
    }

    /// Each commit wrote a key of its own.
    fn check_table(&self, table: &BTreeMap<String, Vec<u8>>) {
        let written =
            (0..WRITERS).flat_map(|writer| (0..self.commits).map(move |number| own(writer, number)));
        let written: BTreeMap<_, _> = written.map(|(key, value)| (key, value.into_bytes())).collect();
        let owned = table.iter().filter(|(key, _)| key.starts_with("own/"));
        assert!(owned.eq(written.iter()), "the table lacks a commit, or has what nobody committed");
    }
}

fn check_mirror(mirror: &Mirror, table: &BTreeMap<String, Vec<u8>>) {
    let sent = mirror.values();
    let lacks = table.iter().find(|(key, value)| sent.get(&***key) != Some(&&***value));
    assert!(
        lacks.is_none(),
        "an observer lacks what the table holds, first of all {:?}",
        lacks.map(|(key, _)| key)
    );
    assert_eq!(sent.len(), table.len(), "an observer holds what the table does not");
}
