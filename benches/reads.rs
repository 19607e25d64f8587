//! What a read of a handle costs, beside the alternatives, in one run.
//!
//! `cargo bench --bench reads`. The last lines set each beside a raw `arc_swap` load, which is what a handle is
//! made of: a machine is slow or fast as a whole, so the ratios are what can be compared.

use std::collections::HashMap;
use std::hint::black_box;
use std::sync::RwLock;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use criterion::Criterion;
use datastream_client::Client;
use datastream_server::testing::TestServer;

/// How many settings the map beside the handles holds.
const SETTINGS: i64 = 1000;

const BASELINE: &str = "arc_swap load";

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let server = TestServer::start().with("max_connections", 10_i64).with("name", "a name".to_owned());
    let client = Client::connect(server.url());
    let (max, name) = (client.watch::<i64>("max_connections"), client.watch::<String>("name"));
    let with_default = client.watch::<i64>("not/there").or(7);
    let young = client.watch::<i64>("max_connections").max_age(Duration::from_secs(3600));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async { (max.ready().await, name.ready().await) }).0.expect("the settings are there");

    let raw = ArcSwap::from_pointee(10_i64);
    let (_sender, receiver) = tokio::sync::watch::channel(10_i64);
    let map: HashMap<String, i64> = (0..SETTINGS).map(|n| (format!("settings/number-{n}"), n)).collect();
    let map = RwLock::new(map);

    let mut table = Table::default();
    table.time(&mut criterion, BASELINE, || **raw.load());
    table.time(&mut criterion, "get of an i64", || max.get());
    table.time(&mut criterion, "get with a max_age", || young.get());
    table.time(&mut criterion, "get of a default", || with_default.get());
    table.time(&mut criterion, "load of a String", || name.load().as_ref().map(String::len));
    table.time(&mut criterion, "tokio watch borrow", || *receiver.borrow());
    table.time(&mut criterion, "RwLock<HashMap> lookup", || {
        map.read().expect("nobody panics").get(black_box("settings/number-500")).copied()
    });
    criterion.final_summary();
    table.print();
}

/// The median of each contender, in nanoseconds.
#[derive(Default)]
struct Table(Vec<(&'static str, f64)>);

impl Table {
    fn time<R>(&mut self, criterion: &mut Criterion, name: &'static str, read: impl Fn() -> R) {
        let mut samples = Vec::new();
        criterion.bench_function(name, |bencher| {
            bencher.iter_custom(|reads| {
                let began = Instant::now();
                (0..reads).for_each(|_| drop(black_box(read())));
                let took = began.elapsed();
                samples.push(took.as_secs_f64() * 1e9 / reads as f64);
                took
            });
        });
        samples.sort_by(f64::total_cmp);
        self.0.extend(samples.get(samples.len() / 2).map(|median| (name, *median)));
    }

    fn print(&self) {
        let baseline = self.0.iter().find(|(name, _)| *name == BASELINE).map_or(f64::NAN, |(_, ns)| *ns);
        println!("\n{:<24} {:>8} {:>18}", "", "ns", "of an arc_swap load");
        self.0.iter().for_each(|(name, ns)| println!("{name:<24} {ns:>8.2} {:>18.2}", ns / baseline));
    }
}
