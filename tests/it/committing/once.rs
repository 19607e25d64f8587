//! A commit whose answer is lost is made again under its name, and is there once, whatever became of the server.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use datastream::proto::{CommitRequest, HistoryRequest, Operation, Position};
use tokio::task::JoinSet;

use super::{RETRY, insist, is_lost, size};
use crate::control::{Control, put};
use crate::cutting_proxy::{Cuts, CuttingProxy};
use crate::file_server::FileServer;
use crate::wire::{Wire, within};

const LANES: usize = 4;
const KEYS_OF_A_COMMIT: usize = 3;
/// A server lives for at most so long.
const LIFE_MILLIS: u64 = 400;
/// From the first bytes of a connection to the end of its third or fourth answer.
const CUTS: std::ops::Range<u64> = 0..400;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn d05_a_commit_whose_answers_are_cut_is_made_once_across_restarts() {
    let commits = size("DATASTREAM_COMMITS", 200);
    let folder = tempfile::tempdir().expect("a folder");
    let mut server = FileServer::start(folder.path());
    let proxy = CuttingProxy::start(&server.url(), Cuts::of_answers(CUTS)).await;
    let began = Instant::now();
    let mut lanes = JoinSet::new();
    for lane in 0..LANES {
        let lane = Lane::new(lane, commits.div_ceil(LANES), &proxy.url(), &server.url());
        lanes.spawn(lane.run());
    }
    let (mut told, mut kills) = (BTreeMap::new(), 0);
    while let Some(lane) = live_and_die(&mut server, &mut lanes, &mut kills).await {
        told.extend(lane);
    }
    check(&told, &history(&server.url()).await);
    println!(
        "{} commits, {commits} of which lost answers, {} connections cut, {kills} kills, {:.1?}",
        told.len(),
        proxy.cut(),
        began.elapsed()
    );
    assert!(kills >= commits / 100, "the server was hardly killed");
    // Where the machine is slow, kills take more of the answers, and leave fewer to cut.
    assert!(proxy.cut() >= commits / 10, "hardly anything was cut");
}

/// Kills the server and starts it again until a lane is done. Returns what that one was told.
async fn live_and_die<T: 'static>(
    server: &mut FileServer,
    lanes: &mut JoinSet<T>,
    kills: &mut usize,
) -> Option<T> {
    loop {
        let life = Duration::from_millis(fastrand::u64(..LIFE_MILLIS));
        match tokio::time::timeout(life, lanes.join_next()).await {
            Ok(done) => return done.map(|lane| lane.expect("the laws hold")),
            Err(_) => {
                server.kill();
                server.start_again();
                *kills += 1;
            }
        }
    }
}

/// One who commits, over the proxy, and somebody else who writes the same keys.
struct Lane {
    number: usize,
    commits: usize,
    control: Control,
    other: Control,
}

impl Lane {
    fn new(number: usize, commits: usize, proxy: &str, server: &str) -> Self {
        let [control, other] = [proxy, server].map(|url| Control::of(&Wire::lazy(url)));
        Self { number, commits, control, other }
    }

    /// Commits until so many of them have lost an answer. Returns the position that each was told in the end.
    async fn run(self) -> BTreeMap<String, Position> {
        let (mut told, mut cut) = (BTreeMap::new(), 0);
        while cut < self.commits {
            let id = format!("{}-{}", self.number, told.len());
            let (position, lost) = within("an answer", self.commit(&id)).await;
            told.insert(id, position);
            cut += usize::from(lost > 0);
        }
        told
    }

    /// Before the commit is made again, its keys get another value: so it would show if it were applied again.
    async fn commit(&self, id: &str) -> (Position, usize) {
        let mut lost = 0;
        let request = CommitRequest {
            operations: self.operations(id),
            request_id: id.to_owned(),
            message: id.to_owned(),
            ..CommitRequest::default()
        };
        loop {
            match self.control.make(request.clone()).await {
                Ok(position) => return (position, lost),
                Err(status) => assert!(is_lost(&status), "{status:?}"),
            }
            lost += 1;
            let operations = self.operations(&format!("other than {id}"));
            let overwrite = CommitRequest { operations, ..CommitRequest::default() };
            insist(&self.other, &overwrite).await.expect("it is taken");
            tokio::time::sleep(RETRY).await;
        }
    }

    /// Few versions of a key each, since a history keeps a hundred.
    fn operations(&self, value: &str) -> Vec<Operation> {
        let round = value.rsplit('-').next().and_then(|n| n.parse::<usize>().ok()).expect("a number");
        let keys = (0..KEYS_OF_A_COMMIT).map(|n| format!("{}/{}/{n}", self.number, round / 8));
        keys.map(|key| put(&key, "string", value.to_owned())).collect()
    }
}

/// What the history says of each commit that has a message: its keys, and where each says that it ended.
async fn history(url: &str) -> BTreeMap<String, Vec<(String, Position)>> {
    let control = Control::of(&Wire::to(url).await);
    let (mut commits, mut page_token) = (BTreeMap::<_, Vec<_>>::new(), String::new());
    loop {
        let request = HistoryRequest { page_token, ..HistoryRequest::default() };
        let page = within("a page", control.0.clone().history(request)).await;
        let page = page.expect("it has a history").into_inner();
        for change in page.changes.into_iter().filter(|change| !change.message.is_empty()) {
            let key = change.data.expect("a change says what").key;
            let position = change.position.expect("a change has a position");
            commits.entry(change.message).or_default().push((key, position));
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return commits;
        }
    }
}

fn check(told: &BTreeMap<String, Position>, history: &BTreeMap<String, Vec<(String, Position)>>) {
    assert_eq!(told.keys().collect::<Vec<_>>(), history.keys().collect::<Vec<_>>());
    for (id, position) in told {
        let mut entries = history[id].clone();
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        entries.dedup_by(|(one, _), (other, _)| one == other);
        assert_eq!(entries.len(), history[id].len(), "{id} was applied twice: {:?}", history[id]);
        assert_eq!(entries.len(), KEYS_OF_A_COMMIT, "{id} was not applied whole: {entries:?}");
        assert!(
            entries.iter().all(|(_, there)| there == position),
            "{id} was told {position:?}: {entries:?}"
        );
    }
}
