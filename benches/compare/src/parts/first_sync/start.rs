//! How long a server takes to start where much was written, beside reading the same table.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use rusqlite::{Connection, Transaction, params};
use tempfile::TempDir;

use crate::board::Wrong;
use crate::grid::Grid;
use crate::peer::Server as _;
use crate::peers::ours::Running;
use crate::process::{Cores, free_address};
use crate::report::Report;
use crate::rounds::{Effort, folder, progress};
use crate::serve::naive::sample;

const KEYS: u32 = 1_000_000;
/// How many values of each key the history has: fewer than `--keep-versions` lets a server forget, and younger than
/// `--keep-history`, so that all of them are there in each round.
const VERSIONS: u32 = 10;
const ROWS: u32 = KEYS * VERSIONS;
/// How many positions a server keeps unless told otherwise.
const POSITIONS: u32 = 100_000;
/// By when the rows of the history are written; the rest of filling a file takes a few seconds more.
const FILL: Duration = Duration::from_secs(300);
/// By when it answers.
const LIMIT: Duration = Duration::from_secs(120);

/// The file is in the page cache, as after a restart.
pub async fn measure(effort: Effort, report: &mut Report) -> Result<()> {
    let folder = database().await?;
    let path = folder.path().join("settings.db");
    let title = format!(
        "from the start of the process to its first answer, {KEYS} keys and {ROWS} rows of history, a file of {} MB",
        path.metadata()?.len() / 1_000_000
    );
    let mut grid = Grid::new(title, &["start, ms", "server CPU, ms", "server memory, MB"]);
    for round in 1..=effort.rounds() {
        progress(&format!("round {round} of {}: {:<30}", effort.rounds(), "the start of a server"));
        grid.add("datastream, durable", &start(folder.path(), &path).await?);
        grid.add("SELECT of the table, in this process", &[select(&path)?]);
    }
    ensure!(rows(&path)? > ROWS, "the server has forgotten some of its history");
    report.drawn(&grid, &[0]);
    Ok(())
}

async fn start(folder: &Path, path: &Path) -> Result<Vec<f64>> {
    let began = Instant::now();
    let server =
        Running::start(&format!("sqlite:{}", path.display()), free_address()?, folder, Cores::Server)?;
    let last = sample(KEYS - 1);
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

fn select(path: &Path) -> Result<f64> {
    let began = Instant::now();
    let connection = Connection::open(path)?;
    let mut statement = connection.prepare("SELECT key, value, value_type FROM data")?;
    let rows = statement.query_map([], |row| {
        Ok((row.get::<_, String>(0)?, row.get::<_, Vec<u8>>(1)?, row.get::<_, String>(2)?))
    })?;
    let rows = rows.collect::<Result<Vec<_>, _>>()?;
    if rows.len() != KEYS as usize {
        bail!("the table has {} rows", rows.len());
    }
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// How many rows the history has, with the one that it begins with.
fn rows(path: &Path) -> Result<u32> {
    Ok(Connection::open(path)?.query_row("SELECT count(*) FROM datastream_log", [], |row| row.get(0))?)
}

/// A database that has seen so much. Its rows are written here, in the order in which a server would have written them.
async fn database() -> Result<TempDir> {
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
    fill(&write)?;
    write.commit()?;
    let is_busy: bool = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))?;
    ensure!(!is_busy, "somebody else has the database open");
    Ok(folder)
}

/// Writes the history, without the triggers, and what they would have added.
fn fill(write: &Transaction<'_>) -> Result<()> {
    let triggers = {
        let mut statement = write.prepare("SELECT name, sql FROM sqlite_schema WHERE type = 'trigger'")?;
        let rows = statement.query_map([], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
        rows.collect::<Result<Vec<_>, _>>()?
    };
    for (name, _) in &triggers {
        write.execute_batch(&format!("DROP TRIGGER {name}"))?;
    }
    write_log(write)?;
    // A server keeps the newest positions.
    write.execute_batch(&format!(
        "INSERT INTO data (key, value, value_type, updated_at)
         SELECT key, value, type, datetime('now') FROM datastream_log WHERE revision > (SELECT max(revision) - {KEYS} FROM datastream_log);
         INSERT INTO datastream_token SELECT revision, randomblob(8), time FROM datastream_log
         WHERE revision > (SELECT max(revision) - {POSITIONS} FROM datastream_log) AND revision > 1;
         UPDATE datastream_meta SET value = (SELECT max(revision) - {POSITIONS} FROM datastream_log)
         WHERE name = 'compacted_to'"
    ))?;
    for (_, sql) in &triggers {
        write.execute_batch(sql)?;
    }
    Ok(())
}

fn write_log(write: &Transaction<'_>) -> Result<()> {
    let mut log = write.prepare(
        "INSERT INTO datastream_log (key, type, time, value) VALUES (?, 'bytes', strftime('%Y-%m-%d %H:%M:%f', 'now'), ?)",
    )?;
    let began = Instant::now();
    for version in 1..=VERSIONS {
        progress(&format!("{:<45}", format!("writing a history: value {version} of {VERSIONS} of each key")));
        for n in 0..KEYS {
            let data = sample(n);
            let value = if version == VERSIONS { data.value } else { format!("version {version}").into() };
            log.execute(params![data.key, &value[..]])?;
        }
        ensure!(began.elapsed() < FILL, "it takes longer than {FILL:?} to write a history");
    }
    Ok(())
}
