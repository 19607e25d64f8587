//! A hundred exchange rates that tick a thousand times a second, and a screen that cannot keep up and need not.
//!
//! ```text
//! cargo run --example exchange_rates
//! ```
//!
//! A publisher writes each tick. One reader takes every state that reaches it, and looks how old that is. A screen looks four
//! times a second: what comes between two looks it never sees, and nothing is queued for it, but its last look shows the last
//! tick of each symbol. All of it runs in this process, and ends by itself after some seconds.

use std::error::Error;
use std::io::{IsTerminal as _, Write as _};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use datastream_client::{Client, Entries, Watch};
use datastream_server::testing::TestServer;
use tokio::time::{interval, sleep, timeout};

type Failure = Box<dyn Error + Send + Sync>;

const BASES: [&str; 10] = ["EUR", "GBP", "AUD", "NZD", "CAD", "CHF", "SEK", "NOK", "DKK", "PLN"];
const QUOTES: [&str; 10] = ["USD", "JPY", "CNY", "HKD", "SGD", "INR", "KRW", "MXN", "ZAR", "BRL"];
/// The symbol that is drawn.
const DRAWN: &str = "rates/EURUSD";

const TICKS: usize = 3_000;
/// A commit has so many ticks, and there is one in each beat.
const TOGETHER: usize = 20;
const BEAT: Duration = Duration::from_millis(20);
/// Between two looks at the screen.
const LOOK: Duration = Duration::from_millis(250);
/// For what should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let server = TestServer::start();
    let market = Arc::new(Market::open());
    // Each has a client, and so a connection, as if it were a program of its own.
    let rates = || Client::connect(server.url()).watch_prefix::<f64>("rates/");
    let reader = tokio::spawn(read_everything(rates(), market.clone()));
    let screen = tokio::spawn(Screen::default().follow(rates(), market.clone()));

    let (publisher, began) = (Client::connect(server.url()), Instant::now());
    let mut beat = interval(BEAT);
    for first in (0..TICKS).step_by(TOGETHER) {
        beat.tick().await;
        market.tick(&publisher, first..first + TOGETHER).await?;
    }
    let a_second = TICKS as f64 / began.elapsed().as_secs_f64();

    let mut ages = timeout(PATIENCE, reader).await??;
    let Screen { looks, updates, .. } = timeout(PATIENCE, screen).await???;
    ages.sort();
    println!("publisher: {TICKS} ticks, {a_second:.0} a second");
    println!("reader: {} deliveries", ages.len());
    if let (Some(median), Some(worst)) = (ages.get(ages.len() / 2), ages.last()) {
        println!("reader: the newest value was {median:.1?} old when it came, {worst:.1?} at worst");
    }
    println!("screen: {updates} updates seen, in {looks} looks");
    // Both have read on until it was so.
    println!("all {} symbols show the last tick", market.keys.len());
    Ok(())
}

/// Takes every state that comes, until nothing more will; says how old the newest value of each was.
async fn read_everything(mut rates: Watch<Entries<f64>>, market: Arc<Market>) -> Vec<Duration> {
    let mut ages = Vec::new();
    loop {
        rates.changed().await;
        if let Some(rates) = rates.load().as_ref() {
            ages.extend(market.age_of_newest(rates));
            if market.ends_with(rates) {
                return ages;
            }
        }
    }
}

/// A reader that is slow on purpose.
#[derive(Default)]
struct Screen {
    looks: usize,
    updates: usize,
    /// The rates that were drawn.
    drawn: Vec<f64>,
}

impl Screen {
    /// Draws what there is at each look, until nothing more will come.
    async fn follow(mut self, rates: Watch<Entries<f64>>, market: Arc<Market>) -> Result<Self, Failure> {
        let mut before = Entries::default();
        loop {
            sleep(LOOK).await;
            // A reference count, and no copy of the map.
            let now = rates.get().unwrap_or_default();
            self.looks += 1;
            self.updates += now.changes_since(&before).len();
            self.drawn.extend(now.get(DRAWN));
            self.draw()?;
            if market.ends_with(&now) {
                println!();
                return Ok(self);
            }
            before = now;
        }
    }

    /// In one place of a terminal; elsewhere a line for each look.
    fn draw(&self) -> Result<(), Failure> {
        let Some(rate) = self.drawn.last() else { return Ok(()) };
        let mut out = std::io::stdout();
        let (begin, end) = if out.is_terminal() { ("\r", "") } else { ("", "\n") };
        write!(out, "{begin}{DRAWN} {rate:.5} {}{end}", sparkline(&self.drawn))?;
        Ok(out.flush()?)
    }
}

fn sparkline(values: &[f64]) -> String {
    const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let step = (high - low).max(f64::MIN_POSITIVE) / (BLOCKS.len() - 1) as f64;
    values.iter().map(|value| BLOCKS[((value - low) / step).round() as usize]).collect()
}

/// What the publisher knows.
struct Market {
    keys: Vec<String>,
    book: Mutex<Book>,
}

struct Book {
    ticks: usize,
    /// The last rate of each key, and when it was made.
    last: Vec<(f64, Instant)>,
}

impl Market {
    fn open() -> Self {
        let pairs = BASES.iter().flat_map(|base| QUOTES.iter().map(move |quote| (base, quote)));
        let keys: Vec<_> = pairs.map(|(base, quote)| format!("rates/{base}{quote}")).collect();
        let last = vec![(1.0, Instant::now()); keys.len()];
        Self { keys, book: Mutex::new(Book { ticks: 0, last }) }
    }

    /// Makes these ticks, of one symbol after the other, and publishes them as one commit.
    async fn tick(&self, publisher: &Client, ticks: Range<usize>) -> Result<(), Failure> {
        let mut commit = publisher.commit();
        for symbol in ticks.map(|tick| tick % self.keys.len()) {
            commit = commit.put(&self.keys[symbol], self.move_rate(symbol));
        }
        commit.send().await?;
        Ok(())
    }

    fn move_rate(&self, symbol: usize) -> f64 {
        let mut book = self.book.lock().expect("nobody panics with it");
        book.ticks += 1;
        let rate = book.last[symbol].0 * (1.0 + (fastrand::f64() - 0.5) / 500.0);
        book.last[symbol] = (rate, Instant::now());
        rate
    }

    /// How long ago the newest of these rates was made.
    fn age_of_newest(&self, rates: &Entries<f64>) -> Option<Duration> {
        let book = self.book.lock().expect("nobody panics with it");
        let entries = self.keys.iter().zip(&book.last);
        let made =
            entries.filter(|(key, (rate, _))| rates.get(key) == Some(rate)).map(|(_, (_, made))| *made);
        made.max().map(|made| made.elapsed())
    }

    /// Whether these are the last rates that there will be, each of them.
    fn ends_with(&self, rates: &Entries<f64>) -> bool {
        let book = self.book.lock().expect("nobody panics with it");
        let mut entries = self.keys.iter().zip(&book.last);
        book.ticks == TICKS && entries.all(|(key, (rate, _))| rates.get(key) == Some(rate))
    }
}
