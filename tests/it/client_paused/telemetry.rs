//! What a client counts, through the `metrics` facade.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use datastream_client::Disconnect;
use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
use tokio::runtime::Builder;

use super::{pass, settle};
use crate::scripted::{change, client, resume, state};

/// What was counted, by the name and the labels of each metric.
#[derive(Default)]
struct Counted(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

impl Counted {
    fn slot(&self, key: &Key) -> Arc<AtomicU64> {
        let labels: Vec<_> = key.labels().map(|label| format!("{label:?}")).collect();
        let name = format!("{}{}", key.name(), labels.concat());
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(name).or_default().clone()
    }

    fn count(&self, name: &'static str) -> u64 {
        self.slot(&Key::from_static_name(name)).load(Ordering::Relaxed)
    }

    fn gauge(&self, name: &'static str) -> f64 {
        f64::from_bits(self.count(name))
    }

    fn names(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }
}

impl Recorder for Counted {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.slot(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.slot(key))
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

#[test]
fn states_ages_reconnects_and_refusals_are_counted_without_labels() {
    let counted = Counted::default();
    let runtime = Builder::new_current_thread().enable_all().start_paused(true).build().expect("a runtime");
    metrics::with_local_recorder(&counted, || {
        runtime.block_on(async {
            let (client, mut script) = client();
            let n = client.watch::<u16>("n");
            let mapped = n.map(|n| if *n == 11 { panic!("on purpose") } else { *n });
            let stream = script.accept(state(5, [("n", 3, "int", "10")])).await;
            settle().await;
            assert_eq!(counted.gauge("datastream_client_state"), 1.0);
            stream.say(change(6, [("n", 6, "int", "70000")]));
            stream.say(change(7, [("n", 7, "int", "11")]));
            settle().await;
            assert_eq!(counted.count("datastream_client_decode_errors_total"), 2);
            pass(Duration::from_secs(60)).await;
            stream.end(Disconnect::Ended);
            let stream = script.subscribe().await;
            assert_eq!(counted.gauge("datastream_client_state"), 2.0);
            let age = counted.gauge("datastream_client_staleness_seconds");
            assert!((60.0..62.0).contains(&age), "{age}");
            assert_eq!(counted.count("datastream_client_reconnects_total"), 0);
            stream.say(resume(7, []));
            settle().await;
            assert_eq!(counted.count("datastream_client_reconnects_total"), 1);
            assert!(counted.gauge("datastream_client_staleness_seconds") < 1.0);
            drop((n, mapped));
        });
    });
    let expected = ["decode_errors_total", "reconnects_total", "staleness_seconds", "state"];
    assert_eq!(counted.names(), expected.map(|name| format!("datastream_client_{name}")));
}
