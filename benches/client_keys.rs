//! What an update costs a client that holds many keys, and what each key weighs there.
//!
//! `client_keys`: for each number of keys a client with one handle of them all, and a server that is the bench itself, on one thread,
//! without sockets. Prints the time from a message of one changed key to the handle that shows it, and how much memory the process
//! has for each key: the text of key and value, what the client holds beside it, and the values of the handle, decoded. Ends with 1 if
//! a limit is broken.

use std::collections::HashMap;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bytes::Bytes;
use datastream::position::Position;
use datastream::proto::{self, CommitRequest, Data, DataRequest, DataResponse, Phase};
use datastream::proto::{HistoryRequest, HistoryResponse, StatusResponse};
use datastream::proto::{ListCapabilitiesRequest, ListCapabilitiesResponse};
use datastream_client::session::{Answer, Opening};
use datastream_client::transport::{Reply, Signal, Transport};
use datastream_client::{Client, Disconnect, Entries, Limits, Peer, Watch};
use futures_util::future::{BoxFuture, ready};
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;

const NUMBERS: [usize; 3] = [100, 10_000, 1_000_000];
/// The updates of a round, and the rounds of which the median counts.
const UPDATES: usize = 2000;
const ROUNDS: usize = 15;
/// The keys of one message of the first state.
const PART: usize = 10_000;
/// How much more an update among the most keys may cost than one among the fewest.
const RATIO: f64 = 5.0;
/// How many bytes a key may weigh beside its text.
const BYTES: f64 = 250.0;

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    println!("{:>27} {:>16} {:>16} {:>16}", "", "bytes of text", "beside it", "and in the map");
    println!(
        "{:>10} {:>16} {:>16} {:>16} {:>16}",
        "keys", "us an update", "of a key", "in the client", "of i64"
    );
    let lines: Vec<_> = NUMBERS.iter().map(|keys| runtime.block_on(measure(*keys))).collect();
    let (first, last) = (&lines[0], &lines[lines.len() - 1]);
    let ratio = last.update.as_secs_f64() / first.update.as_secs_f64();
    let is_quick = report(
        ratio <= RATIO,
        format!("an update among the most keys: {ratio:.2} x one among the fewest (limit {RATIO})"),
    );
    let bytes = last.state;
    let is_light = report(bytes <= BYTES, format!("a key: {bytes:.0} bytes beside its text (limit {BYTES})"));
    ExitCode::from(u8::from(!(is_quick && is_light)))
}

fn report(holds: bool, what: String) -> bool {
    println!("{} {what}", if holds { "PASS" } else { "FAIL" });
    holds
}

struct Line {
    update: Duration,
    /// The bytes of a key beside its text.
    state: f64,
}

async fn measure(keys: usize) -> Line {
    let (peer, mut streams) = Bench::pair();
    let before = resident();
    let client = Client::with_transport(peer, Limits::default());
    let handle = client.watch_prefix::<i64>("all/");
    let stream = streams.recv().await.expect("the client subscribes");
    let text = fill(&stream, keys).await;
    handle.ready().await.expect("the state is complete");
    let weight = resident() as f64 - before as f64;
    let overhead = (weight - text as f64) / keys as f64;

    let mut bench = Updates { stream, handle, revision: 1, random: fastrand::Rng::with_seed(7), keys };
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        rounds.push(bench.round().await);
    }
    rounds.sort();
    let before = resident();
    let second = client.watch_prefix::<i64>("all/"); // Its map is its own, and all that it adds.
    second.ready().await.expect("the state is known");
    let map = resident().saturating_sub(before) as f64 / keys as f64;
    let update = rounds[ROUNDS / 2] / UPDATES as u32;
    let micros = update.as_secs_f64() * 1e6;
    let each = text as f64 / keys as f64;
    println!("{keys:>10} {micros:>16.2} {each:>16.0} {:>16.0} {map:>16.0}", overhead - map);
    Line { update, state: overhead - map }
}

/// Sends the first state, and returns the bytes of its keys and values.
async fn fill(stream: &mpsc::UnboundedSender<Signal>, keys: usize) -> usize {
    let _ = stream.send(Signal::Opened(Opening { is_current: true, heartbeat: None }));
    let mut text = 0;
    for from in (0..keys).step_by(PART) {
        let part: Vec<_> = (from..keys.min(from + PART)).map(|n| entry(n, n as u64, 1)).collect();
        text += part.iter().map(|(key, data)| key.len() + data.value.len()).sum::<usize>();
        let more = from + PART < keys;
        let _ = stream.send(Signal::Received(message(Phase::State, 1, part, more)));
        tokio::task::yield_now().await; // The client takes it, as it does from a socket.
    }
    text
}

struct Updates {
    stream: mpsc::UnboundedSender<Signal>,
    handle: Watch<Entries<i64>>,
    revision: u64,
    random: fastrand::Rng,
    keys: usize,
}

impl Updates {
    /// The time that so many updates take, each after the one before is shown.
    async fn round(&mut self) -> Duration {
        let began = Instant::now();
        for _ in 0..UPDATES {
            self.revision += 1;
            let entry = entry(self.random.usize(0..self.keys), self.revision + 1_000_000, self.revision);
            let _ =
                self.stream.send(Signal::Received(message(Phase::Change, self.revision, vec![entry], false)));
            self.handle.changed().await;
        }
        began.elapsed()
    }
}

/// A key as they are: some forty bytes.
fn entry(n: usize, value: u64, revision: u64) -> (String, Data) {
    let key = format!("all/service-{:03}/setting-{n:07}/max-size", n / 10_000);
    let value = Bytes::from(value.to_string());
    (key.clone(), Data { key, value, value_type: "int".to_owned(), revision, ..Data::default() })
}

fn message(phase: Phase, revision: u64, data: Vec<(String, Data)>, more: bool) -> DataResponse {
    let data: HashMap<_, _> = data.into_iter().collect();
    let position = (!more).then(|| proto::Position { revision, token: Bytes::from_static(b"here") });
    DataResponse { data, position, phase: phase.into(), more, ..DataResponse::default() }
}

/// The memory that the process has, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux says");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a line");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") * 1024
}

/// A server that has no answer to calls, so that everything comes by the stream.
struct Bench(mpsc::UnboundedSender<mpsc::UnboundedSender<Signal>>);

impl Bench {
    fn pair() -> (Self, mpsc::UnboundedReceiver<mpsc::UnboundedSender<Signal>>) {
        let (streams, opened) = mpsc::unbounded_channel();
        (Self(streams), opened)
    }
}

impl Transport for Bench {
    fn sync(&mut self, _: DataRequest) -> BoxFuture<'static, Answer> {
        ready(Answer { is_current: true, state: Err(Disconnect::Ended) }).boxed()
    }

    fn probe(&mut self, _: Option<usize>) -> BoxFuture<'static, Result<Peer, Disconnect>> {
        ready(Ok(Peer::Current)).boxed()
    }

    fn subscribe(&mut self, _: DataRequest) -> BoxStream<'static, Signal> {
        let (signals, received) = mpsc::unbounded_channel();
        let _ = self.0.send(signals);
        UnboundedReceiverStream::new(received).boxed()
    }

    fn read(&mut self, _: DataRequest) -> Reply<DataResponse> {
        ready(Err(Disconnect::Ended.into())).boxed()
    }

    fn push(&mut self, _: Data) -> Reply<Option<Position>> {
        ready(Err(Disconnect::Ended.into())).boxed()
    }

    fn list(&mut self, _: ListCapabilitiesRequest) -> Reply<ListCapabilitiesResponse> {
        ready(Err(Disconnect::Ended.into())).boxed()
    }

    fn commit(&mut self, _: CommitRequest) -> Reply<Option<Position>> {
        ready(Err(Disconnect::Ended.into())).boxed()
    }

    fn history(&mut self, _: HistoryRequest) -> Reply<HistoryResponse> {
        ready(Err(Disconnect::Ended.into())).boxed()
    }

    fn status(&mut self) -> Reply<StatusResponse> {
        ready(Err(Disconnect::Ended.into())).boxed()
    }

    fn renew(&mut self) {}

    fn servers(&self) -> Vec<String> {
        vec![String::new()]
    }
}
