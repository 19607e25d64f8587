//! What is seen at a glance: columns of tables as bars, in an SVG for each part.

mod scale;
mod sheet;

use self::scale::Scale;
use self::sheet::{MARGIN, PLAIN, Sheet};
use crate::grid::{Bar, Grid, figure};

/// How the names begin of what is ours, and of what no server can be better than.
const OURS: [&str; 3] = ["datastream", "get", "cached get"];
const LIMITS: [&str; 4] = ["raw ", "atomic load", "ArcSwap load", "SELECT "];

/// The distance from one bar to the next, and how thick each is.
const PITCH: f64 = 16.0;
const THICK: f64 = 11.0;
/// What a group has above its bars.
const TITLE: f64 = 30.0;
/// Between two panels, for what their marks stand for.
const GAP: f64 = 40.0;

/// The plot of one part.
#[derive(Default)]
pub struct Plot(Vec<Panel>);

/// One column, of each table that has it: they share a scale.
struct Panel {
    column: &'static str,
    groups: Vec<Group>,
}

/// The bars of one table.
struct Group {
    title: String,
    bars: Vec<Bar>,
}

/// Whose a bar is.
#[derive(Clone, Copy, PartialEq)]
enum Side {
    Ours,
    Others,
    Limit,
}

impl Plot {
    /// Draws a column of a table, beside those of its name that were added before.
    pub fn add(&mut self, grid: &Grid, column: usize) {
        let (name, bars) = (grid.column(column), grid.bars(column));
        if bars.is_empty() {
            return;
        }
        let group = Group { title: grid.title().to_owned(), bars };
        match self.0.iter_mut().find(|panel| panel.column == name) {
            Some(panel) => panel.groups.push(group),
            None => self.0.push(Panel { column: name, groups: vec![group] }),
        }
    }

    /// The same as SVG; `None` if there is nothing to see.
    pub fn svg(&self, title: &str) -> Option<String> {
        let names = self.0.iter().flat_map(Panel::bars).map(|bar| bar.name.chars().count());
        let mut sheet = Sheet::new(names.max()?);
        sheet.heading(title);
        self.legend(&mut sheet);
        self.0.iter().for_each(|panel| panel.draw(&mut sheet));
        Some(sheet.finish())
    }

    /// Says what the colours are of the bars that there are.
    fn legend(&self, sheet: &mut Sheet) {
        let mut x = MARGIN;
        for side in [Side::Ours, Side::Others, Side::Limit] {
            if self.0.iter().flat_map(Panel::bars).any(|bar| Side::of(&bar.name) == side) {
                sheet.bar(x, x + THICK, THICK, side.colour());
                sheet.text(x + THICK + 5.0, "start", side.name());
                x += 66.0;
            }
        }
        sheet.text(x, "start", "the line is from the lowest round to the highest");
        sheet.y += TITLE;
    }
}

impl Panel {
    fn bars(&self) -> impl Iterator<Item = &Bar> + Clone {
        self.groups.iter().flat_map(|group| &group.bars)
    }

    fn draw(&self, sheet: &mut Sheet) {
        let scale = Scale::of(self.bars(), sheet.left);
        sheet.heading(&format!("{}{}", self.column, scale.note()));
        let height = self.groups.len() as f64 * TITLE + self.bars().count() as f64 * PITCH;
        for (at, label) in scale.ticks() {
            sheet.tick(at, height, &label);
        }
        for group in &self.groups {
            sheet.y += TITLE - PITCH;
            sheet.text(MARGIN, "start", &group.title);
            sheet.y += PITCH;
            group.bars.iter().for_each(|bar| draw(bar, &scale, sheet));
        }
        sheet.y += GAP;
    }
}

fn draw(bar: &Bar, scale: &Scale, sheet: &mut Sheet) {
    sheet.text(sheet.left - 6.0, "end", &bar.name);
    sheet.bar(sheet.left, scale.at(bar.median), THICK, Side::of(&bar.name).colour());
    let (lowest, highest) = (scale.at(bar.lowest), scale.at(bar.highest));
    sheet.bar(lowest, highest, 1.0, PLAIN);
    sheet.text(highest + 6.0, "start", &figure(bar.median));
    sheet.y += PITCH;
}

impl Side {
    fn of(name: &str) -> Self {
        let begins = |with: &[&str]| with.iter().any(|begin| name.starts_with(begin));
        match () {
            () if begins(&OURS) => Self::Ours,
            () if begins(&LIMITS) => Self::Limit,
            () => Self::Others,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ours => "ours",
            Self::Others => "others",
            Self::Limit => "limits",
        }
    }

    fn colour(self) -> &'static str {
        match self {
            Self::Ours => "#d97b3f",
            Self::Others => "#8db4d9",
            Self::Limit => "#c4c4c4",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(title: &str, rows: &[(&str, [f64; 3])]) -> Grid {
        let mut grid = Grid::new(title, &["time, ms"]);
        for (name, rounds) in rows {
            rounds.iter().for_each(|figure| grid.add(name, &[*figure]));
        }
        grid
    }

    #[test]
    fn each_row_has_its_name_its_figure_and_whose_it_is() {
        let mut plot = Plot::default();
        plot.add(&grid("few", &[("datastream", [1.0, 2.0, 4.0]), ("a <peer>", [5.0, 5.0, 5.0])]), 0);
        plot.add(&grid("many", &[("raw TCP", [3.0, 3.0, 3.0])]), 0);
        let svg = plot.svg("P0: a test").unwrap();
        let sides = [Side::Ours, Side::Others, Side::Limit].map(|side| svg.contains(side.colour()));
        assert_eq!(sides, [true; 3]);
        let texts = ["P0: a test", "time, ms", "few", "many", "datastream", "2.00", "a &lt;peer&gt;", "5.00"];
        texts.iter().for_each(|text| assert!(svg.contains(&format!(">{text}<")), "{text} in {svg}"));
    }

    #[test]
    fn what_was_not_measured_is_not_drawn() {
        let mut plot = Plot::default();
        plot.add(&grid("nothing", &[]), 0);
        plot.add(&grid("no number", &[("datastream", [f64::NAN; 3])]), 0);
        assert_eq!(plot.svg("P0"), None);
    }
}
