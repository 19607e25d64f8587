//! Where a figure lies on the sheet.

use super::sheet::{RIGHT, WIDTH};
use crate::grid::Bar;

/// From this ratio of the largest to the smallest bar on, short ones could not be told apart.
const WIDE: f64 = 50.0;
/// How many marks a linear scale has at most.
const MARKS: f64 = 6.0;

/// Linear from zero, or logarithmic from a power of ten.
pub struct Scale {
    is_logarithmic: bool,
    from: f64,
    to: f64,
    left: f64,
}

impl Scale {
    /// One that these bars fit, which begin at `left`.
    pub fn of<'a>(bars: impl Iterator<Item = &'a Bar> + Clone, left: f64) -> Self {
        let to = bars.clone().map(|bar| bar.highest).fold(f64::MIN_POSITIVE, f64::max);
        // What is nothing has no place on a logarithmic scale: it lies at its beginning.
        let least = bars.clone().map(|bar| bar.lowest).filter(|figure| *figure > 0.0).fold(to, f64::min);
        let shortest = bars.map(|bar| bar.median).filter(|figure| *figure > 0.0).fold(to, f64::min);
        let is_logarithmic = to / shortest > WIDE;
        // Some way below, so that the shortest bar is still one.
        let from = if is_logarithmic { 10_f64.powf((least / 1.2).log10().floor()) } else { 0.0 };
        Self { is_logarithmic, from, to, left }
    }

    pub fn note(&self) -> &'static str {
        if self.is_logarithmic { " (logarithmic)" } else { "" }
    }

    /// The place of a figure.
    pub fn at(&self, figure: f64) -> f64 {
        let share = if self.is_logarithmic {
            (figure.max(self.from) / self.from).log10() / (self.to / self.from).log10()
        } else {
            figure / self.to
        };
        self.left + share * (WIDTH - RIGHT - self.left)
    }

    /// Round figures, each with its place and its text.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let figures: Vec<f64> = if self.is_logarithmic {
            let powers = self.from.log10().round() as i32..=self.to.log10().floor() as i32;
            powers.map(|power| 10_f64.powi(power)).collect()
        } else {
            let step = step(self.to / MARKS);
            (0..=(self.to / step) as u32).map(|n| f64::from(n) * step).collect()
        };
        figures.into_iter().map(|figure| (self.at(figure), text(figure))).collect()
    }
}

/// The next of 1, 2, 5, 10, 20, 50 and so on.
fn step(least: f64) -> f64 {
    let power = 10_f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|step| *step >= least)
        .unwrap_or(power * 10.0)
}

/// A round figure, without what its binary form adds.
fn text(figure: f64) -> String {
    let text = format!("{figure:.9}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(lowest: f64, highest: f64) -> Scale {
        let bar = |figure| Bar { name: String::new(), median: figure, lowest: figure, highest: figure };
        Scale::of([bar(lowest), bar(highest)].iter(), 100.0)
    }

    fn labels(scale: &Scale) -> Vec<String> {
        scale.ticks().into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn figures_that_are_close_lie_on_a_linear_scale() {
        let scale = scale(5.0, 24.0);
        assert_eq!((scale.at(0.0), scale.at(24.0)), (100.0, WIDTH - RIGHT));
        assert_eq!(labels(&scale), ["0", "5", "10", "15", "20"]);
        assert_eq!(labels(&self::scale(0.1, 0.9)), ["0", "0.2", "0.4", "0.6", "0.8"]);
    }

    #[test]
    fn figures_that_are_far_apart_lie_on_a_logarithmic_scale() {
        let scale = scale(0.1, 126.0);
        assert!(scale.at(0.1) > 100.0, "the shortest bar can be seen");
        assert_eq!((scale.at(0.0), scale.at(126.0)), (100.0, WIDTH - RIGHT));
        assert_eq!(labels(&scale), ["0.01", "0.1", "1", "10", "100"]);
    }
}
