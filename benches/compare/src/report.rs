//! What a comparison found: tables, goals, what is missing, what was wrong.

use std::fmt::Write as _;

use crate::grid::{Grid, figure};
use crate::plot::Plot;

const REACHED: &str = "reached";
const MISSED: &str = "missed";
const NOT_MEASURED: &str = "not measured";

/// What one part found.
#[derive(Default)]
pub struct Report {
    tables: Vec<String>,
    plot: Plot,
    goals: Vec<Goal>,
    missing: Vec<String>,
    wrong: Vec<String>,
}

struct Goal {
    what: String,
    /// None where it could not be measured.
    reached: Option<f64>,
    limit: f64,
    at_most: bool,
}

impl Report {
    pub fn table(&mut self, grid: &Grid) {
        self.tables.push(grid.markdown());
    }

    /// A table of which these columns are worth seeing as bars.
    pub fn drawn(&mut self, grid: &Grid, columns: &[usize]) {
        columns.iter().for_each(|column| self.plot.add(grid, *column));
        self.table(grid);
    }

    /// What is drawn of it, if anything is.
    pub fn plot(&self, title: &str) -> Option<String> {
        self.plot.svg(title)
    }

    /// A goal of which less is better.
    pub fn at_most(&mut self, limit: f64, what: impl Into<String>, reached: Option<f64>) {
        self.goals.push(Goal { what: what.into(), reached, limit, at_most: true });
    }

    /// A goal of which more is better.
    pub fn at_least(&mut self, limit: f64, what: impl Into<String>, reached: Option<f64>) {
        self.goals.push(Goal { what: what.into(), reached, limit, at_most: false });
    }

    /// Something could not be measured.
    pub fn missing(&mut self, what: impl Into<String>) {
        let what = what.into();
        if !self.missing.contains(&what) {
            self.missing.push(what);
        }
    }

    /// A delivery was lost or corrupted: the comparison has failed.
    pub fn wrong(&mut self, what: impl Into<String>) {
        self.wrong.push(what.into());
    }

    pub fn is_right(&self) -> bool {
        self.wrong.is_empty()
    }

    /// How many goals are reached, missed and not measured.
    pub fn count(&self) -> [usize; 3] {
        let of = |verdict| self.goals.iter().filter(|goal| goal.verdict() == verdict).count();
        [of(REACHED), of(MISSED), of(NOT_MEASURED)]
    }

    /// All of it, for people and for the page.
    pub fn markdown(&self) -> String {
        let mut text = String::new();
        if !self.goals.is_empty() {
            text += "| goal | reached | limit | |\n|---|--:|--:|---|\n";
        }
        for goal in &self.goals {
            let reached = goal.reached.map_or_else(String::new, figure);
            let sign = if goal.at_most { "≤" } else { "≥" };
            let _ =
                writeln!(text, "| {} | {reached} | {sign} {} | {} |", goal.what, goal.limit, goal.verdict());
        }
        for table in &self.tables {
            let _ = write!(text, "\n{table}");
        }
        for missing in &self.missing {
            let _ = write!(text, "\nNot measured: {missing}\n");
        }
        for wrong in &self.wrong {
            let _ = write!(text, "\n**FAILED**: {wrong}\n");
        }
        text
    }
}

impl Goal {
    fn verdict(&self) -> &'static str {
        match self.reached {
            None => NOT_MEASURED,
            Some(reached) if self.at_most == (reached <= self.limit) || reached == self.limit => REACHED,
            Some(_) => MISSED,
        }
    }
}
