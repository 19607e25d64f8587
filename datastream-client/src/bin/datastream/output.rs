//! How things are written: as a table, plain, or as JSON.

use std::fmt::Display;
use std::io::{IsTerminal as _, Write};

use anstyle::Style;
use clap::ValueEnum;
use serde_json::Value;

use crate::failure::Failure;

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Aligned columns below a header; what cannot be printed is escaped.
    Table,
    /// Columns divided by tabs, without a header.
    Plain,
    /// One JSON document; of watch, one in each line.
    Json,
}

/// Something that is a line of a table, and an object of JSON.
pub(crate) trait Record {
    /// The names of the columns.
    const COLUMNS: &'static [&'static str];
    /// A cell for each column.
    fn cells(&self) -> Vec<String>;
    fn json(&self) -> Value;
}

/// Where it is written.
pub(crate) struct Output {
    pub(crate) format: Format,
    stdout: Box<dyn Write>,
}

impl Output {
    pub(crate) fn new(format: Option<Format>) -> Self {
        let is_terminal = std::io::stdout().is_terminal();
        let format = format.unwrap_or(if is_terminal { Format::Table } else { Format::Plain });
        let stdout: Box<dyn Write> = match format {
            // Without colours where they are not wanted.
            Format::Table => Box::new(anstream::stdout()),
            Format::Plain | Format::Json => Box::new(std::io::stdout()),
        };
        Self { format, stdout }
    }

    /// Writes a list.
    pub(crate) fn list<R: Record>(&mut self, records: &[R]) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(&records.iter().map(R::json).collect()),
            Format::Plain => records.iter().try_for_each(|record| self.plain(record)),
            Format::Table => self.table(records),
        }
    }

    /// Writes one of many that come one after the other.
    pub(crate) fn next<R: Record>(&mut self, record: &R) -> Result<(), Failure> {
        match self.format {
            Format::Json => writeln!(self.stdout, "{}", record.json())?,
            Format::Plain => self.plain(record)?,
            Format::Table => {
                let cells: Vec<_> = record.cells().iter().map(|cell| escaped(cell, false)).collect();
                writeln!(self.stdout, "{}", cells.join("  ").trim_end())?;
            }
        }
        self.flush()
    }

    /// Writes a document, or else a sentence.
    pub(crate) fn done(&mut self, json: &Value, text: &str) -> Result<(), Failure> {
        match self.format {
            Format::Json => self.json(json),
            Format::Plain | Format::Table => {
                writeln!(self.stdout, "{text}")?;
                self.flush()
            }
        }
    }

    pub(crate) fn json(&mut self, json: &Value) -> Result<(), Failure> {
        writeln!(self.stdout, "{json:#}")?;
        self.flush()
    }

    /// Writes bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.stdout.write_all(bytes)?;
        self.flush()
    }

    fn flush(&mut self) -> Result<(), Failure> {
        Ok(self.stdout.flush()?)
    }

    fn plain<R: Record>(&mut self, record: &R) -> Result<(), Failure> {
        let cells: Vec<_> = record.cells().iter().map(|cell| escaped(cell, true)).collect();
        Ok(writeln!(self.stdout, "{}", cells.join("\t"))?)
    }

    fn table<R: Record>(&mut self, records: &[R]) -> Result<(), Failure> {
        if records.is_empty() {
            return Ok(());
        }
        let escape = |record: &R| record.cells().iter().map(|cell| escaped(cell, false)).collect();
        let rows: Vec<Vec<String>> = records.iter().map(escape).collect();
        let header: Vec<_> = R::COLUMNS.iter().map(ToString::to_string).collect();
        let width = |column: usize| {
            let cells = rows.iter().chain([&header]).map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<_> = (0..R::COLUMNS.len()).map(width).collect();
        let bold = Style::new().bold();
        writeln!(self.stdout, "{bold}{}{bold:#}", aligned(&header, &widths))?;
        rows.iter().try_for_each(|row| writeln!(self.stdout, "{}", aligned(row, &widths)))?;
        self.flush()
    }
}

fn aligned(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
    cells.join("  ").trim_end().to_owned()
}

/// Writes a line to stderr. That it cannot be written, as to a log on a full disk, is no reason to stop.
pub(crate) fn say(line: impl Display) {
    let _ = writeln!(anstream::stderr(), "{line}");
}

/// A text in which nothing steers a terminal or breaks a line. A backslash is escaped too where the text is to be read
/// back.
pub(crate) fn escaped(text: &str, with_backslash: bool) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\'' => escaped.push(character),
            '\\' if !with_backslash => escaped.push(character),
            _ => escaped.extend(character.escape_debug()),
        }
    }
    escaped
}
