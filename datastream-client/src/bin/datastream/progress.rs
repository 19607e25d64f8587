//! What takes long says how far it is: as a bar on a terminal, and elsewhere as a line every few seconds. What is quick
//! says nothing.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::output::say;

/// What is done by then says nothing.
const QUICK: Duration = Duration::from_secs(1);
/// How often a line is written where there is no terminal.
const LINES: Duration = Duration::from_secs(5);
/// How often a bar without a measure moves.
const TICK: Duration = Duration::from_millis(100);

/// How much is done of what was to do.
pub(crate) struct Progress {
    what: &'static str,
    total: usize,
    done: usize,
    began: Instant,
    /// When the last line was written.
    said: Instant,
    bar: Option<ProgressBar>,
    is_terminal: bool,
}

impl Progress {
    pub(crate) fn of(what: &'static str, total: usize) -> Self {
        let (began, is_terminal) = (Instant::now(), std::io::stderr().is_terminal());
        Self { what, total, done: 0, began, said: began, bar: None, is_terminal }
    }

    /// Says that so many more are done.
    pub(crate) fn advance(&mut self, done: usize) {
        self.done += done;
        if self.is_terminal && self.began.elapsed() >= QUICK {
            let bar = self.bar.get_or_insert_with(|| bar(self.what, self.total));
            bar.set_position(self.done as u64);
        } else if !self.is_terminal && self.said.elapsed() >= LINES {
            self.said = Instant::now();
            say(format_args!("{}: {} of {}", self.what, self.done, self.total));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Awaits `work`, of which it is not known how far it is.
pub(crate) async fn during<F: Future>(what: &'static str, work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    let is_terminal = std::io::stderr().is_terminal();
    let quick = if is_terminal { QUICK } else { LINES };
    if let Ok(output) = tokio::time::timeout(quick, &mut work).await {
        return output;
    }
    if !is_terminal {
        say(format_args!("{what} ..."));
        return work.await;
    }
    let bar = ProgressBar::new_spinner().with_message(what);
    bar.enable_steady_tick(TICK);
    let output = work.await;
    bar.finish_and_clear();
    output
}

fn bar(what: &'static str, total: usize) -> ProgressBar {
    // The default is a bar as well, without the words.
    let style = ProgressStyle::with_template("{msg} {wide_bar} {human_pos} of {human_len}, {eta} left");
    ProgressBar::new(total as u64)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(what)
}
