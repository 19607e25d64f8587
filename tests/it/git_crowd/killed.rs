//! A server is killed while it commits: between the commit and the push, between the push and its answer, and at any moment.

use std::time::{Duration, Instant};

use datastream::proto::CommitRequest;
use tokio::task::JoinSet;

use super::{files, messages, named};
use crate::committing::{insist, size};
use crate::control::{Control, put};
use crate::git::Repository;
use crate::git_http::{Answer, GitHttp, PASSWORD};
use crate::process::Server;
use crate::wire::{Wire, eventually, within};

/// Who commits at once.
const LANES: usize = 4;
/// A server lives for at most so long while it is written to.
const LIFE_MILLIS: u64 = 600;

fn start(store: &str) -> Server {
    Server::start(&[
        "--listen",
        "127.0.0.1:0",
        "--log",
        "info,datastream_server::access=off",
        "--store",
        store,
    ])
}

/// The next to last commit of a server that was killed may still be on its way, by a git that outlives it. A later one
/// that arrived is the end of it.
async fn settle(server: &Server) {
    let last = named("the last", [put("last", "string", "1")]);
    insist(&Control::of(&Wire::to(&server.url()).await), &last).await.expect("it is made");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_server_is_killed_around_its_push_is_made_once_when_it_is_tried_again() {
    let (rounds, began) = (size("DATASTREAM_ROUNDS", 4), Instant::now());
    let repository = Repository::holding(&[("a", "1")]);
    let host = GitHttp::serve(repository.folder()).await;
    let token = repository.folder().join("token");
    std::fs::write(&token, PASSWORD).expect("a file");
    let mirror = repository.folder().join("mirror");
    let store = host.store(&format!("token_file={}&mirror={}", token.display(), mirror.display()));
    let mut server = start(&store);
    for round in 0..rounds {
        let moment = if round % 2 == 0 { Answer::PushHeld } else { Answer::PushUnanswered };
        let (before, held) = (host.pushes_held(), host.answering(moment));
        let request = named(&format!("round {round}"), [put("a", "string", round.to_string())]);
        let call = tokio::spawn({
            let (control, request) = (Control::of(&Wire::to(&server.url()).await), request.clone());
            async move { control.make(request).await }
        });
        eventually("it pushes", || host.pushes_held() > before).await;
        let is_there = messages(&repository).contains_key(&request.message);
        assert_eq!(is_there, moment == Answer::PushUnanswered, "{moment:?}");
        server.kill();
        within("the end", call).await.expect("it does not panic").expect_err("nobody answers");
        // What waits at the host goes on before the next server starts, or after.
        let is_early = round % 4 < 2;
        let mut held = Some(held);
        if is_early {
            held = None;
        }
        server = start(&store);
        drop(held);
        insist(&Control::of(&Wire::to(&server.url()).await), &request).await.expect("it is made");
        assert_eq!(repository.git(&["show", "main:a"]), round.to_string());
    }
    settle(&server).await;
    let messages = messages(&repository);
    assert!((0..rounds).all(|round| messages[&format!("round {round}")] == 1), "{messages:?}");
    assert_eq!(repository.commits(), rounds + 2);
    println!("{rounds} kills around a push, {:.1?}", began.elapsed());
}

/// Somebody who commits one after the other to a key of its own.
struct Lane {
    number: usize,
    made: usize,
    /// What was tried last, if nobody said what became of it.
    pending: Option<CommitRequest>,
}

impl Lane {
    fn key(&self) -> String {
        format!("lane/{}", self.number)
    }

    /// Commits until the server is gone.
    async fn live(mut self, control: Control) -> Self {
        loop {
            let value = self.made + 1;
            let id = format!("lane {} commit {value}", self.number);
            let request = named(&id, [put(&self.key(), "int", value.to_string())]);
            let request = self.pending.get_or_insert(request).clone();
            if control.make(request).await.is_err() {
                return self;
            }
            (self.made, self.pending) = (value, None);
        }
    }

    /// What was acknowledged is there, and at most what was tried.
    fn check(&self, repository: &Repository) {
        let value = files(repository).get(&self.key()).map_or(0, |value| value.parse().expect("an int"));
        assert!((self.made..=self.made + 1).contains(&value), "{value}, of {} acknowledged", self.made);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_killed_server_acknowledged_is_there_and_what_it_did_not_is_made_once() {
    let (rounds, began) = (size("DATASTREAM_ROUNDS", 4), Instant::now());
    for is_remote in [false, true] {
        let repository = Repository::holding(&[("a", "1")]);
        let store = if is_remote { repository.remote("mirror") } else { repository.local() };
        let mut lanes: Vec<_> = (0..LANES).map(|number| Lane { number, made: 0, pending: None }).collect();
        for _ in 0..rounds {
            let server = start(&store);
            let wire = Wire::to(&server.url()).await;
            let mut living: JoinSet<Lane> =
                lanes.drain(..).map(|lane| lane.live(Control::of(&wire))).collect();
            tokio::time::sleep(Duration::from_millis(fastrand::u64(..LIFE_MILLIS))).await;
            server.kill();
            while let Some(lane) = within("the end of a lane", living.join_next()).await {
                lanes.push(lane.expect("the laws hold"));
            }
            lanes.iter().for_each(|lane| lane.check(&repository));
        }
        let server = start(&store);
        let control = Control::of(&Wire::to(&server.url()).await);
        for lane in &mut lanes {
            if let Some(request) = lane.pending.take() {
                insist(&control, &request).await.expect("it is made");
                lane.made += 1;
            }
        }
        settle(&server).await;
        let (messages, made) = (messages(&repository), lanes.iter().map(|lane| lane.made).sum::<usize>());
        assert!(messages.values().all(|times| *times == 1), "{messages:?}");
        assert_eq!(messages.len(), made + 2);
        let place = if is_remote { "remote" } else { "local" };
        println!("{place}: {rounds} kills, {made} commits, each there once, {:.1?}", began.elapsed());
    }
}
