//! P7: a client that holds nothing asks for everything.

mod start;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use datastream::proto::{DataRequest, Position};
use prost::Message as _;
use tempfile::TempDir;

use super::client_keys;
use crate::board::Wrong;
use crate::grid::Grid;
use crate::peer::Server;
use crate::peers::contract;
use crate::peers::naive::{self, Naive};
use crate::peers::ours;
use crate::process::{Cores, free_address};
use crate::report::Report;
use crate::rounds::{Effort, fail, folder};

const NUMBERS: [u32; 3] = [1000, 100_000, 1_000_000];
/// Where every sample is.
const PREFIX: &str = "settings/";
const OURS: &str = "datastream";
const NAIVE: &str = "naive tonic: a snapshot for each client";
const LIMIT: Duration = Duration::from_secs(180);

pub async fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    for keys in NUMBERS {
        let title = format!(
            "{keys} keys; the rounds share a server, and what the first of them makes it keep is not counted"
        );
        let columns =
            ["time, ms", "first data, ms", "server CPU, ms", "data, MB", "server memory on top, MB"];
        let mut grid = Grid::new(title, &columns);
        let sources = [(OURS, ours(keys).await), (NAIVE, naive(keys))];
        for round in 0..=effort.rounds() {
            for (name, source) in &sources {
                let synced = match source {
                    Ok(source) => tokio::time::timeout(LIMIT, sync(source, keys))
                        .await
                        .with_context(|| format!("it takes longer than {LIMIT:?}"))
                        .and_then(|it| it),
                    Err(error) => bail!("{name}: {error:#}"),
                };
                match synced {
                    Ok(figures) if round > 0 => grid.add(name, &figures),
                    Ok(_) => {}
                    Err(error) => fail(report, name, &error),
                }
            }
        }
        report.at_most(
            0.1,
            format!("{keys} keys: server CPU, in that of a snapshot for each"),
            grid.ratio(OURS, NAIVE, 2),
        );
        report.at_most(
            0.5,
            format!("{keys} keys: time, in that of a snapshot for each"),
            grid.ratio(OURS, NAIVE, 0),
        );
        report.at_most(5.0, format!("{keys} keys: first data, in ms"), grid.median(OURS, 1));
        report.at_most(32.0, format!("{keys} keys: server memory on top, in MB"), grid.median(OURS, 4));
        report.drawn(&grid, &[0, 2]);
    }
    match client_keys::measure() {
        Ok(found) => {
            report.at_most(250.0, "client: bytes of a key beside its text, among 10^6", Some(found.bytes))
        }
        Err(error) => fail(report, "the memory of a client", &error),
    }
    if let Err(error) = start::measure(effort, report).await {
        fail(report, "the start of a server", &error);
    }
    Ok(())
}

/// A server that holds the samples.
struct Source {
    server: Box<dyn Server>,
    url: String,
    _folder: TempDir,
}

async fn ours(keys: u32) -> Result<Source> {
    let folder = folder()?;
    let server = ours::Running::start("memory:", free_address()?, folder.path(), Cores::Server)?;
    let url = server.url.clone();
    contract::fill(&url, keys).await?;
    Ok(Source { server: Box::new(server), url, _folder: folder })
}

fn naive(keys: u32) -> Result<Source> {
    let folder = folder()?;
    let server = naive::Running::start(Naive::Memory, keys, free_address()?, folder.path(), Cores::Server)?;
    let url = server.url.clone();
    Ok(Source { server: Box::new(server), url, _folder: folder })
}

async fn sync(source: &Source, keys: u32) -> Result<Vec<f64>> {
    let process = source.server.process();
    process.forget_peak()?;
    let (used, memory) = (process.processor_time()?, process.memory()?);
    let began = Instant::now();
    let mut client = contract::connect(&source.url).await?;
    let request = DataRequest {
        keys: vec![PREFIX.to_owned()],
        resume: Some(Position::default()),
        ..DataRequest::default()
    };
    let mut stream = client.subscribe(request).await?.into_inner();
    let (mut first, mut messages, mut more) = (None, Vec::new(), true);
    while more {
        let message = stream.message().await?.context("the stream ended")?;
        first.get_or_insert(began.elapsed());
        more = message.more;
        messages.push(message);
    }
    let took = began.elapsed();
    let (used, peak) = (process.processor_time()? - used, process.peak_memory()?);
    let held: usize = messages.iter().map(|message| message.data.len()).sum();
    if held != keys as usize {
        bail!(Wrong(format!("{held} of {keys} keys arrived")));
    }
    if let Some(strange) =
        messages.iter().flat_map(|it| it.data.values()).find(|data| !contract::is_sample(data))
    {
        bail!(Wrong(format!("{} has another value than was written", strange.key)));
    }
    let bytes: usize = messages.iter().map(|message| message.encoded_len()).sum();
    let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
    let first = first.map_or(f64::NAN, milliseconds);
    Ok(vec![milliseconds(took), first, milliseconds(used), bytes as f64 / 1e6, (peak - memory) / 1e6])
}
