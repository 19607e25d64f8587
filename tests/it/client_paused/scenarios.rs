//! What a client and a handle say, step by step, of whatever a server does: one table.

mod said;
mod table;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datastream::proto::DataResponse;
use datastream_client::{Client, Disconnect, State, Watch};
use futures_util::{FutureExt as _, StreamExt as _};
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::{pass, settle};
use crate::scripted::{Script, Subscribed, client};
use table::{Scenario, scenarios};

/// What happens next, or what is seen of it.
pub(crate) enum Step {
    /// `Sync` is called, and answered so.
    Sync(Result<DataResponse, Disconnect>),
    /// `Sync` is called, and not answered.
    SyncHangs,
    /// `Subscribe` is called: the stream that the steps after it speak of.
    Subscribe,
    /// Its headers come, with this interval of heartbeats.
    Open(Option<Duration>),
    Say(DataResponse),
    End(Disconnect),
    Pass(Duration),
    /// Each attempt to reconnect fails for so long.
    Outage(Duration),
    Close,
    /// What the handle says: its state, and its value.
    Is(State, Option<i64>),
    /// What the client says.
    ClientIs(State),
}

/// One run of a scenario.
struct Run {
    client: Client,
    script: Script,
    n: Watch<i64>,
    stream: Option<Subscribed>,
    /// A call that is kept waiting.
    hanging: Option<oneshot::Sender<Result<DataResponse, Disconnect>>>,
}

impl Run {
    async fn act(&mut self, step: Step, place: &str) {
        match step {
            Step::Sync(answer) => {
                let (_, reply) = self.script.sync().await;
                assert!(reply.send(answer).is_ok(), "{place}: the client waits for Sync");
            }
            Step::SyncHangs => self.hanging = Some(self.script.sync().await.1),
            Step::Subscribe => self.stream = Some(self.script.subscribe().await),
            Step::Open(heartbeat) => self.stream(place).open(heartbeat),
            Step::Say(message) => self.stream(place).say(message),
            Step::End(why) => self.stream.take().unwrap_or_else(|| panic!("{place}: a stream")).end(why),
            Step::Pass(time) => pass(time).await,
            Step::Outage(time) => self.outage(time).await,
            Step::Close => self.client.close().await,
            Step::Is(state, value) => {
                let status = self.n.status();
                assert_eq!((status.state, self.n.get()), (state, value), "{place}: {status:?}");
            }
            Step::ClientIs(state) => assert_eq!(self.client.status().state, state, "{place}"),
        }
        settle().await;
    }

    fn stream(&self, place: &str) -> &Subscribed {
        self.stream.as_ref().unwrap_or_else(|| panic!("{place}: a stream"))
    }

    async fn outage(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while Instant::now() < until {
            self.script.subscribe().await.end(Disconnect::Unreachable("no route".to_owned()));
        }
    }
}

/// The states of a client, in their order, as a stream of them tells.
fn recorded(client: &Client) -> Arc<Mutex<Vec<State>>> {
    let states = Arc::<Mutex<Vec<State>>>::default();
    let mut statuses = client.status_stream();
    let record = states.clone();
    tokio::spawn(async move {
        while let Some(status) = statuses.next().await {
            record.lock().unwrap_or_else(PoisonError::into_inner).push(status.state);
        }
    });
    states
}

async fn play(scenario: Scenario) {
    let (client, script) = client();
    let states = recorded(&client);
    settle().await;
    let n = client.watch::<i64>("n");
    let mut run = Run { client, script, n, stream: None, hanging: None };
    for (at, step) in scenario.steps.into_iter().enumerate() {
        run.act(step, &format!("{}, step {}", scenario.what, at + 1)).await;
    }
    let seen = states.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(seen, scenario.states, "{}: the states of the client in their order", scenario.what);
}

#[tokio::test(start_paused = true)]
async fn each_scenario_goes_through_its_states_in_their_order() {
    let scenarios = scenarios();
    assert!(scenarios.len() >= 40, "{}", scenarios.len());
    let mut failed = Vec::new();
    for scenario in scenarios {
        let what = scenario.what.clone();
        // One that fails is named, and hides none of the others.
        if std::panic::AssertUnwindSafe(play(scenario)).catch_unwind().await.is_err() {
            failed.push(what);
        }
    }
    assert!(failed.is_empty(), "{failed:#?}");
}
