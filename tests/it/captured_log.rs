//! Everything that this process logs, so that a test can look for what must not be there.

use std::io;
use std::sync::{Mutex, Once, PoisonError};

use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// What is captured of libraries. Their debugging tells of every frame of every test.
const OTHERS: LevelFilter = LevelFilter::INFO;

static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static CAPTURE: Once = Once::new();

/// Starts to capture, for the whole process; to be called before the server under test starts.
pub(crate) fn capture() {
    CAPTURE.call_once(|| {
        let ours = LevelFilter::TRACE;
        let targets = Targets::new().with_default(OTHERS).with_target("datastream_server", ours);
        let lines = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(Log);
        tracing_subscriber::registry().with(lines).with(targets).init();
    });
}

/// What was logged so far that contains `text`.
pub(crate) fn lines_with(text: &str) -> Vec<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let log = String::from_utf8_lossy(&log);
    log.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
}

#[derive(Clone, Copy)]
struct Log;

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        *self
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
