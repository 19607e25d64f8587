//! Servers that do not take every commit: what they take arrives, what they do not is named, and nothing else stops.

use std::sync::{Arc, Mutex};

use datastream::proto::operation::Action;
use datastream::proto::{
    ClientsRequest, ClientsResponse, CommitRequest, CommitResponse, HistoryRequest, HistoryResponse,
    RefreshRequest, RefreshResponse, ReportRequest, RollbackRequest, StatusRequest, StatusResponse,
};
use datastream::service::control_service_server::{ControlService, ControlServiceServer};
use tonic::{Request, Response, Status};

use super::{datastream, said};
use crate::hostile::Hostile;
use crate::scripted::state;
use crate::wire::within;

/// How many keys the file has: more than two batches.
const KEYS: usize = 1_200;

/// What becomes of a commit of these keys.
type Rule = fn(&[String]) -> Result<(), Status>;

/// The commits that were made, by their keys.
type Made = Arc<Mutex<Vec<Vec<String>>>>;

struct Control {
    rule: Rule,
    made: Made,
}

#[tonic::async_trait]
impl ControlService for Control {
    async fn commit(&self, request: Request<CommitRequest>) -> Result<Response<CommitResponse>, Status> {
        let keys: Vec<_> = request
            .into_inner()
            .operations
            .into_iter()
            .filter_map(|operation| match operation.action {
                Some(Action::Put(data)) => Some(data.key),
                _ => None,
            })
            .collect();
        (self.rule)(&keys)?;
        self.made.lock().expect("no holder panics").push(keys);
        Ok(Response::new(CommitResponse::default()))
    }

    async fn history(&self, _: Request<HistoryRequest>) -> Result<Response<HistoryResponse>, Status> {
        Err(Status::unimplemented("no history"))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(StatusResponse::default()))
    }

    async fn refresh(&self, _: Request<RefreshRequest>) -> Result<Response<RefreshResponse>, Status> {
        Err(Status::unimplemented("nothing to look at"))
    }

    async fn rollback(&self, _: Request<RollbackRequest>) -> Result<Response<CommitResponse>, Status> {
        Err(Status::unimplemented("no rollback"))
    }

    async fn clients(&self, _: Request<ClientsRequest>) -> Result<Response<ClientsResponse>, Status> {
        Err(Status::unimplemented("no clients"))
    }

    async fn report(&self, _: Request<ReportRequest>) -> Result<Response<()>, Status> {
        Err(Status::unimplemented("no reports"))
    }
}

/// Imports a file into an empty server with this rule. Returns what was written, and what the program said.
async fn import(rule: Rule, code: i32) -> (Vec<Vec<String>>, String, String) {
    let made = Made::default();
    let control = Control { rule, made: made.clone() };
    let mut server =
        Hostile::start_with(|router| router.add_service(ControlServiceServer::new(control))).await;
    let folder = tempfile::tempdir().expect("a folder");
    let file = super::path(&folder, "all.toml");
    let text: String = (0..KEYS).map(|n| format!("\"k/{n:04}\" = {n}\n")).collect();
    std::fs::write(&file, text).expect("it can be written");
    let mut command = datastream(server.url(), &["import", &file]);
    let program = tokio::task::spawn_blocking(move || command.output().expect("it can be run"));
    let fed = server.asked().await.accept("60000");
    fed.say(state(5, []));
    let (stdout, stderr) = said(within("the program", program).await.expect("it ends"), code);
    drop(fed);
    let made = std::mem::take(&mut *made.lock().expect("no holder panics"));
    (made, stdout, stderr)
}

fn all() -> Vec<String> {
    (0..KEYS).map(|n| format!("k/{n:04}")).collect()
}

#[tokio::test]
async fn a_store_that_takes_one_key_at_a_time_gets_one_at_a_time() {
    let one = |keys: &[String]| match keys {
        [_, _, ..] => Err(Status::unimplemented("this store takes one key at a time")),
        _ => Ok(()),
    };
    let (made, stdout, _) = import(one, 0).await;
    assert_eq!(made.concat(), all(), "each of them once, in order");
    assert_eq!(made.len(), KEYS);
    assert_eq!(stdout, "1200 new, 0 changed, 0 equal\n");
}

#[tokio::test]
async fn a_store_that_takes_several_gets_few_commits() {
    let (made, ..) = import(|_| Ok(()), 0).await;
    assert_eq!(made.iter().map(Vec::len).collect::<Vec<_>>(), [500, 500, 200]);
    assert_eq!(made.concat(), all());
}

#[tokio::test]
async fn a_key_that_is_refused_is_named_and_all_others_are_written() {
    let is_bad = |key: &String| key.ends_with("77") || key == "k/0000";
    let rule: Rule = |keys| match keys.iter().any(|key| key.ends_with("77") || key == "k/0000") {
        true => Err(Status::failed_precondition("a directory of this name is there")),
        false => Ok(()),
    };
    let (made, stdout, stderr) = import(rule, 1).await;
    let mut written = made.concat();
    written.sort();
    let good: Vec<_> = all().into_iter().filter(|key| !is_bad(key)).collect();
    assert_eq!(written, good);
    assert!(made.len() < 200, "{} commits", made.len());
    assert_eq!(stdout, "1187 new, 0 changed, 0 equal\n");
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 14, "{stderr}");
    assert_eq!(lines[0], "refused: k/0000: not in this state: a directory of this name is there");
    assert!(lines[1].starts_with("refused: k/0077: "), "{stderr}");
    assert_eq!(lines[13], "error: 13 refused, for the reasons above; all others are written");
}

#[tokio::test]
async fn of_many_that_are_refused_twenty_are_named() {
    let (made, stdout, stderr) = import(|_| Err(Status::failed_precondition("read-only")), 1).await;
    assert_eq!((made.len(), &*stdout), (0, "0 new, 0 changed, 0 equal\n"));
    // Beside how far it is, which it says where it takes long.
    let is_told = |line: &&str| line.starts_with("refused") || line.starts_with("error");
    let lines: Vec<_> = stderr.lines().filter(is_told).collect();
    assert_eq!((lines.len(), lines[20]), (22, "refused: 1180 more"), "{stderr}");
}

#[tokio::test]
async fn a_server_that_fails_ends_it_and_it_says_how_far_it_came() {
    let rule: Rule = |keys| match keys.iter().any(|key| key == "k/0500") {
        true => Err(Status::resource_exhausted("the store is full")),
        false => Ok(()),
    };
    let (made, _, stderr) = import(rule, 1).await;
    assert_eq!(made.concat(), all()[..500]);
    assert_eq!(stderr.lines().filter(|line| line.starts_with("error")).count(), 1);
    assert!(stderr.ends_with("; 500 of 1200 are written: run it again for the others\n"), "{stderr}");
}
