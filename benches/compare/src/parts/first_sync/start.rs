//! How long a server takes to start where much was written, beside reading the same table.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use bytes::Bytes;
use rusqlite::{Connection, params};
use tempfile::TempDir;

use crate::board::Wrong;
use crate::grid::Grid;
use crate::peer::Server as _;
use crate::peers::ours::Running;
use crate::process::{Cores, free_address};
use crate::report::Report;
use crate::rounds::{Effort, folder};
use crate::serve::naive::sample;

/// How many values of each key the history has.
const VERSIONS: u32 = 10;
/// How many positions a server keeps unless told otherwise.
const POSITIONS: u32 = 100_000;
/// By when it answers.
const LIMIT: Duration = Duration::from_secs(120);

pub async fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    let keys = if effort.quick { 100_000 } else { 1_000_000 };
    let folder = database(keys).await?;
    let path = folder.path().join("settings.db");
    let title = format!(
        "from the start of the process to its first answer, {keys} keys and {} rows of history",
        keys * VERSIONS
    );
    let mut grid = Grid::new(title, &["ms", "server CPU, ms", "server memory, MB"]);
    for _ in 0..effort.rounds() {
        grid.add("datastream, durable", &start(folder.path(), &path, keys).await?);
        grid.add("SELECT of the table, in this process", &[select(&path, keys)?]);
    }
    report.table(&grid);
    Ok(())
}

async fn start(folder: &Path, path: &Path, keys: u32) -> Result<Vec<f64>> {
    let began = Instant::now();
    let server =
        Running::start(&format!("sqlite:{}", path.display()), free_address()?, folder, Cores::Server)?;
    let last = sample(keys - 1);
    let asked = async { server.publisher().await?.get(&last.key).await };
    let value: Option<Bytes> = tokio::time::timeout(LIMIT, asked).await.context("it does not answer")??;
    let took = began.elapsed();
    if value != Some(last.value) {
        bail!(Wrong(format!("{} has another value than was written", last.key)));
    }
    let process = server.process();
    let used = process.processor_time()?;
    Ok(vec![took.as_secs_f64() * 1e3, used.as_secs_f64() * 1e3, process.memory()? / 1e6])
}

fn select(path: &Path, keys: u32) -> Result<f64> {
    let began = Instant::now();
    let connection = Connection::open(path)?;
    let mut statement = connection.prepare("SELECT key, value, value_type FROM data")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, String>(2)?))
    })?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    if rows.len() != keys as usize {
        bail!("the table has {} rows", rows.len());
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// A database that has seen so much. Its rows are written here, in the order in which a server would have written them.
async fn database(keys: u32) -> Result<TempDir> {
    let folder = folder()?;
    let path = folder.path().join("settings.db");
    // The server makes its tables.
    let server =
        Running::start(&format!("sqlite:{}", path.display()), free_address()?, folder.path(), Cores::Server)?;
    server.publisher().await?.get("nothing").await?;
    drop(server);
    let mut connection = Connection::open(&path)?;
    connection.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -1000000")?;
    let write = connection.transaction()?;
    let triggers = {
        let mut statement = write.prepare("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        rows.collect::<Result<Vec<_>, _>>()?
    };
    for (name, _) in &triggers {
        write.execute_batch(&format!("DROP TRIGGER {name}"))?;
    }
    {
        let mut log = write.prepare(
            "INSERT INTO datastream_log (key, type, time, value) VALUES (?, 'bytes', strftime('%Y-%m-%d %H:%M:%f', 'now'), ?)",
        )?;
        for version in 1..=VERSIONS {
            for n in 0..keys {
                let data = sample(n);
                let value =
                    if version == VERSIONS { data.value } else { format!("version {version}").into() };
                log.execute(params![data.key, &value[..]])?;
            }
        }
    }
    // A server keeps the newest positions.
    write.execute_batch(&format!(
        "INSERT INTO data (key, value, value_type, updated_at)
         SELECT key, value, type, datetime('now') FROM datastream_log WHERE revision > (SELECT max(revision) - {keys} FROM datastream_log);
         INSERT INTO datastream_token SELECT revision, randomblob(8), time FROM datastream_log
         WHERE revision > (SELECT max(revision) - {POSITIONS} FROM datastream_log) AND revision > 1;
         UPDATE datastream_meta SET value = (SELECT max(revision) - {POSITIONS} FROM datastream_log)
         WHERE name = 'compacted_to'"
    ))?;
    for (_, sql) in &triggers {
        write.execute_batch(sql)?;
    }
    write.commit()?;
    Ok(folder)
}
