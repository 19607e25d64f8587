//! Figures of several servers over several rounds, as a table.

use std::time::Duration;

/// What was measured of one kind, round by round.
#[derive(Clone, Default)]
struct Samples(Vec<f64>);

impl Samples {
    fn median(&self) -> Option<f64> {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let middle = sorted.len() / 2;
        match sorted.len() {
            0 => None,
            length if length % 2 == 1 => Some(sorted[middle]),
            _ => Some((sorted[middle - 1] + sorted[middle]) / 2.0),
        }
    }

    fn lowest(&self) -> f64 {
        self.0.iter().copied().fold(f64::MAX, f64::min)
    }

    fn highest(&self) -> f64 {
        self.0.iter().copied().fold(f64::MIN, f64::max)
    }

    /// How far the rounds are apart, in percent of the highest.
    fn spread(&self) -> f64 {
        let (lowest, highest) = (self.lowest(), self.highest());
        if highest == 0.0 { 0.0 } else { (highest - lowest) / highest * 100.0 }
    }
}

/// What the rounds say of one server, to be drawn.
pub struct Bar {
    pub name: String,
    pub median: f64,
    pub lowest: f64,
    pub highest: f64,
}

/// A table: a row for each server, a column for each figure.
pub struct Grid {
    title: String,
    columns: Vec<&'static str>,
    rows: Vec<(String, Vec<Samples>)>,
}

impl Grid {
    pub fn new(title: impl Into<String>, columns: &[&'static str]) -> Self {
        Self { title: title.into(), columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds what a round said of a server, a figure for each column.
    pub fn add(&mut self, row: &str, figures: &[f64]) {
        let at = self.rows.iter().position(|(name, _)| name == row).unwrap_or_else(|| {
            self.rows.push((row.to_owned(), vec![Samples::default(); self.columns.len()]));
            self.rows.len() - 1
        });
        for (samples, figure) in self.rows[at].1.iter_mut().zip(figures) {
            // What a server does not have is no number.
            samples.0.extend(Some(*figure).filter(|figure| figure.is_finite()));
        }
    }

    pub fn title(&self) -> &str {
        &self.title
    }

    /// The name of a column.
    pub fn column(&self, column: usize) -> &'static str {
        self.columns[column]
    }

    /// A bar for each server that has a figure in this column.
    pub fn bars(&self, column: usize) -> Vec<Bar> {
        let bar = |(name, figures): &(String, Vec<Samples>)| {
            let samples = &figures[column];
            let (lowest, highest) = (samples.lowest(), samples.highest());
            Some(Bar { name: name.clone(), median: samples.median()?, lowest, highest })
        };
        self.rows.iter().filter_map(bar).collect()
    }

    /// The median of a figure.
    pub fn median(&self, row: &str, column: usize) -> Option<f64> {
        self.rows.iter().find(|(name, _)| name == row)?.1.get(column)?.median()
    }

    /// A figure of one server in units of another's.
    pub fn ratio(&self, row: &str, other: &str, column: usize) -> Option<f64> {
        let (figure, unit) = (self.median(row, column)?, self.median(other, column)?);
        (unit > 0.0).then_some(figure / unit)
    }

    /// The same as Markdown: medians, and in brackets the spread.
    pub fn markdown(&self) -> String {
        let mut text = format!("{}\n\n|", self.title);
        for column in ["server"].iter().chain(&self.columns) {
            text += &format!(" {column} |");
        }
        text += &format!("\n|---|{}\n", "--:|".repeat(self.columns.len()));
        for (name, figures) in &self.rows {
            text += &format!("| {name} |");
            for samples in figures {
                match samples.median() {
                    Some(median) => text += &format!(" {} (±{:.0} %) |", figure(median), samples.spread()),
                    None => text += " |",
                }
            }
            text += "\n";
        }
        text
    }
}

/// Three digits that count, or all before the point.
pub fn figure(value: f64) -> String {
    let digits = match value.abs() {
        0.0 => 0,
        small if small < 1.0 => 3,
        small if small < 10.0 => 2,
        small if small < 100.0 => 1,
        _ => 0,
    };
    format!("{value:.digits$}")
}

/// The time that so many percent of sorted ones do not exceed, in milliseconds.
pub fn percentile(sorted: &[Duration], percent: usize) -> f64 {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).map_or(f64::NAN, |time| time.as_secs_f64() * 1e3)
}
