//! Laws of the calls with one answer, and of what every answer has, seen by a raw client.

use std::sync::Arc;

use datastream::header;
use datastream::proto::control_service_client::ControlServiceClient;
use datastream::proto::{
    ClientsRequest, Data, DataRequest, ListCapabilitiesRequest, ReportRequest, RollbackRequest,
};
use datastream_server::Config;
use datastream_server::store::{Commit, Operation, Store};
use datastream_server::stores::MemoryStore;
use datastream_server::testing::TestServer;
use http::uri::PathAndQuery;
use tonic::client::Grpc;
use tonic::metadata::MetadataMap;
use tonic::{Code, Request, Status};
use tonic_prost::ProstCodec;

use crate::wire::{Wire, announced, data, unannounced, within};

async fn server() -> (TestServer, Wire) {
    let server = TestServer::start();
    let wire = Wire::to(&server.url()).await;
    (server, wire)
}

async fn call(wire: &Wire, path: &'static str) -> Status {
    let mut grpc = Grpc::new(wire.channel.clone());
    within("ready", grpc.ready()).await.expect("the connection stands");
    let codec = ProstCodec::<DataRequest, Data>::default();
    let path = PathAndQuery::from_static(path);
    let answer = grpc.unary(Request::new(DataRequest::default()), path, codec);
    within("the answer", answer).await.expect_err("there is no such method")
}

#[tokio::test]
async fn every_answer_names_the_protocol() {
    let (_server, wire) = server().await;
    let names_it = |headers: &MetadataMap, answer: &str| {
        assert_eq!(headers.get(header::PROTOCOL).expect(answer), "1");
    };
    let synced = wire.service().sync(unannounced(["a"])).await.expect("it is answered");
    names_it(synced.metadata(), "Sync");
    let listed = wire.service().list_capabilities(ListCapabilitiesRequest::default()).await;
    names_it(listed.expect("it is answered").metadata(), "ListCapabilities");
    let pushed = wire.service().push_update(data("a", "int", "1")).await.expect("it is answered");
    names_it(pushed.metadata(), "PushUpdate");
    names_it(&wire.subscribe(unannounced(["a"])).await.headers, "Subscribe");
    names_it(wire.push(data("", "int", "1")).await.expect_err("no key").metadata(), "a refused push");
    let refused = wire.try_subscribe(unannounced(["a//b"])).await.expect_err("no key");
    names_it(refused.metadata(), "a refused stream");
    for path in ["/datastream.DataService/Unknown", "/unknown.Service/Unknown"] {
        let status = call(&wire, path).await;
        assert_eq!(status.code(), Code::Unimplemented, "{path}");
        names_it(status.metadata(), path);
    }
}

#[tokio::test]
async fn what_is_reserved_is_not_implemented() {
    let (_server, wire) = server().await;
    let mut control = ControlServiceClient::new(wire.channel.clone());
    let refusals = [
        control.rollback(RollbackRequest::default()).await.map(drop),
        control.clients(ClientsRequest::default()).await.map(drop),
        control.report(ReportRequest::default()).await.map(drop),
    ];
    for refused in refusals {
        assert_eq!(refused.expect_err("it is reserved").code(), Code::Unimplemented);
    }
}

#[tokio::test]
async fn d05_a_push_names_the_position_that_it_made() {
    let (_server, wire) = server().await;
    let first = wire.push_int("a", 1).await;
    let second = wire.push_int("a", 2).await;
    assert!(first.revision < second.revision, "revisions rise");
    assert_ne!(first.token, second.token, "each commit has a token of its own");
    let synced = wire.sync(announced(["a"])).await;
    assert_eq!(synced.position, Some(second.clone()), "what was acknowledged is in the next answer");
    assert_eq!(synced.data["a"].revision, second.revision);
}

#[tokio::test]
async fn a_push_of_the_value_that_stands_makes_no_revision() {
    let (_server, wire) = server().await;
    let first = wire.push_int("a", 1).await;
    wire.push_int("b", 1).await;
    let mut stream = wire.subscribe(announced([""; 0])).await;
    assert_eq!(stream.delivery().await.to_string(), "State a=1 b=1");
    assert_eq!(wire.push_int("a", 1).await, first, "the position of the commit that wrote it");
    wire.push_int("b", 2).await;
    assert_eq!(stream.delivery().await.to_string(), "Change b=2", "nothing came before it");
}

/// Symptom: a push without a time, or with one of a wrong clock, never reached anybody, or kept later ones
/// from doing so. Cause: the client's clock ordered the changes. The store's revisions do.
#[tokio::test]
async fn d17_a_push_without_a_time_reaches_all() {
    reaches_all(None).await;
}

#[tokio::test]
async fn d18_a_push_from_a_wrong_clock_reaches_all_and_hides_nothing() {
    const TEN_YEARS: i64 = 10 * 365 * 24 * 60 * 60;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("it is later");
    let now = i64::try_from(now.as_secs()).expect("it is not that late");
    for seconds in [now + TEN_YEARS, now - TEN_YEARS, 0, i64::MAX, i64::MIN] {
        reaches_all(Some(prost_types::Timestamp { seconds, nanos: 0 })).await;
    }
}

async fn reaches_all(updated_at: Option<prost_types::Timestamp>) {
    let (_server, wire) = server().await;
    let mut watching = [
        wire.subscribe(announced(["a"])).await,
        wire.subscribe(unannounced(["a", "b"])).await,
        wire.subscribe(announced([""; 0])).await,
    ];
    for value in ["1", "2"] {
        wire.push(Data { updated_at, ..data("a", "int", value) }).await.expect("it is taken");
        for stream in &mut watching {
            let change = loop {
                let next = stream.delivery().await;
                if !next.data.is_empty() {
                    break next;
                }
            };
            assert_eq!(change.to_string(), format!("Change a={value}"));
            assert_ne!(change.data["a"].updated_at, updated_at, "the server sets the time");
        }
        // The next one is honest, and must not be hidden by the first.
        wire.push(data("c", "int", value)).await.expect("it is taken");
        assert_eq!(watching[2].delivery().await.to_string(), format!("Change c={value}"));
    }
}

#[tokio::test]
async fn d60_sync_leaves_out_what_does_not_exist_and_reads_the_rest_at_once() {
    let (server, wire) = server().await;
    server.set("a", 1_i64);
    server.set("gone", 1_i64);
    server.delete("gone");
    for request in [unannounced(["a", "unknown", "gone"]), announced(["a", "unknown", "gone"])] {
        let synced = wire.sync(request).await;
        assert_eq!(synced.data.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(synced.data["a"].key, "a");
        assert!(synced.position.is_some());
    }
}

#[tokio::test]
async fn d08_capabilities_come_in_pages_that_miss_nothing_and_repeat_nothing() {
    let (server, wire) = server().await;
    for i in 0..25 {
        server.set(&format!("key/{i:02}"), i);
    }
    server.delete("key/07");
    let expected: Vec<_> = (0..25).filter(|i| *i != 7).map(|i| format!("key/{i:02}")).collect();
    for page_size in [0, 1, 5, 8, 24, 25, 100] {
        let mut request = ListCapabilitiesRequest { page_size, page_token: String::new() };
        let mut listed = Vec::new();
        loop {
            let answer = wire.service().list_capabilities(request.clone()).await;
            let page = answer.expect("it is answered").into_inner();
            assert!(page_size == 0 || page.capabilities.len() <= page_size as usize);
            assert!(page.capabilities.iter().all(|capability| capability.value_type == "int"));
            listed.extend(page.capabilities.into_iter().map(|capability| capability.key));
            if page.next_page_token.is_empty() {
                break;
            }
            request.page_token = page.next_page_token;
        }
        assert_eq!(listed, expected, "in pages of {page_size}");
    }
}

/// Symptom: 10,000 short keys were "more than 4 MiB". Cause: each was counted with room for a page token.
#[tokio::test]
async fn a_list_that_fits_into_a_message_comes_whole() {
    let store = Arc::new(MemoryStore::new());
    let names = (0..20_000).map(|i| Operation::put(&format!("key/{i}"), "int", "1"));
    let commit = Commit { operations: names.collect(), ..Commit::default() };
    store.commit(commit).await.expect("the commit is taken");
    let server = TestServer::start_with(store, Config::default());
    let wire = Wire::to(&server.url()).await;
    let answer = wire.service().list_capabilities(ListCapabilitiesRequest::default()).await;
    assert_eq!(answer.expect("it fits").into_inner().capabilities.len(), 20_000);
}

/// A server whose state does not fit into one message.
async fn large() -> (TestServer, Wire) {
    let store = Arc::new(MemoryStore::new());
    let value = "x".repeat(64 << 10);
    let values = (0..70).map(|i| Operation::put(&format!("large/{i}"), "string", value.clone()));
    let names = (0..9000).map(|i| Operation::put(&format!("long/{}/{i}", "n".repeat(480)), "int", "1"));
    let commit = Commit { operations: values.chain(names).collect(), ..Commit::default() };
    store.commit(commit).await.expect("the commit is taken");
    let server = TestServer::start_with(store, Config::default());
    let wire = Wire::to(&server.url()).await;
    (server, wire)
}

#[tokio::test]
async fn an_answer_that_exceeds_a_message_says_what_to_do_instead() {
    let (_server, wire) = large().await;
    let sync = wire.service().sync(unannounced(["large/"])).await.expect_err("it is too large");
    assert_eq!(sync.code(), Code::ResourceExhausted);
    assert!(sync.message().contains("Subscribe"), "{}", sync.message());
    let all = ListCapabilitiesRequest::default();
    let list = wire.service().list_capabilities(all).await.expect_err("it is too large");
    assert_eq!(list.code(), Code::ResourceExhausted);
    assert!(list.message().contains("page_size"), "{}", list.message());
    let page = ListCapabilitiesRequest { page_size: 100, page_token: String::new() };
    let page = wire.service().list_capabilities(page).await.expect("a page fits").into_inner();
    assert_eq!(page.capabilities.len(), 100);
}
