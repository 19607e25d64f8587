//! The flags of the program, and the environment variables that stand for them.

use std::net::SocketAddr;
use std::time::Duration;

use clap::builder::BoolishValueParser;
use clap::error::{ContextKind, ContextValue};
use clap::{Parser, Subcommand};
use datastream::value;
use datastream_server::store::Retention;
use datastream_server::{Config, MAX_VALUE_BYTES};
use tracing_subscriber::filter::Targets;

use crate::store_url::StoreUrl;

/// Serves live settings over gRPC.
///
/// Durations are written 250ms, 5s, 1m30s, 720h. It stops on SIGTERM and SIGINT.
#[derive(Debug, Parser)]
#[command(name = "datastream-server", version)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// Where the settings live: sqlite:FILE, or sqlite:FILE?table=NAME; file:FOLDER, with a file for each; git:FOLDER#BRANCH,
    /// or git+https://HOST/PATH#BRANCH; s3://BUCKET/PREFIX?endpoint=URL, with an object for each;
    /// postgres://USER@HOST/DATABASE?table=NAME, or postgres: for what DATABASE_URL or the PG* variables say; or memory: for
    /// none of them to survive the process.
    #[arg(
        long,
        env = "DATASTREAM_STORE",
        hide_env_values = true,
        value_name = "STORE",
        default_value = "sqlite:settings.db",
        global = true
    )]
    pub(crate) store: StoreUrl,

    /// Where to listen; port 0 takes a free one and logs it.
    #[arg(long, env = "DATASTREAM_LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub(crate) listen: SocketAddr,

    /// Allow an address that others can reach, although there is neither encryption nor a password.
    #[arg(long, env = "DATASTREAM_INSECURE", value_parser = BoolishValueParser::new())]
    pub(crate) insecure: bool,

    /// Where to wait for the calls of a webhook: a POST there makes the store look whether it has something new, such as a
    /// push to the remote of a repository. That is all that it can do.
    #[arg(long, env = "DATASTREAM_WEBHOOK", value_name = "ADDRESS")]
    pub(crate) webhook: Option<SocketAddr>,

    /// Write three sample settings, once in the life of the store, where it has none of these keys.
    #[arg(long, env = "DATASTREAM_DEMO", value_parser = BoolishValueParser::new())]
    pub(crate) demo: bool,

    /// How long a client goes without a message before it gets a heartbeat; at least 10ms.
    #[arg(long, env = "DATASTREAM_HEARTBEAT", value_name = "DURATION", default_value = "5s",
        value_parser = heartbeat)]
    heartbeat: Duration,

    /// The largest value that a push may carry, in bytes; at most 3145728.
    #[arg(long, env = "DATASTREAM_MAX_VALUE_BYTES", value_name = "BYTES", default_value_t = 1 << 20,
        value_parser = clap::value_parser!(u32).range(1..=MAX_VALUE_BYTES as i64))]
    max_value_bytes: u32,

    /// For how long a client that was away can resume where it was.
    #[arg(long, env = "DATASTREAM_KEEP_POSITIONS", value_name = "DURATION", default_value = "1h",
        value_parser = duration)]
    keep_positions: Duration,

    /// How many positions to keep at most, one for each commit.
    #[arg(long, env = "DATASTREAM_MAX_POSITIONS", value_name = "COUNT", default_value_t = 100_000,
        value_parser = clap::value_parser!(u64).range(1..))]
    max_positions: u64,

    /// For how long superseded values stay in the history.
    #[arg(long, env = "DATASTREAM_KEEP_HISTORY", value_name = "DURATION", default_value = "720h",
        value_parser = duration)]
    keep_history: Duration,

    /// How many values of one key stay in the history at most.
    #[arg(long, env = "DATASTREAM_KEEP_VERSIONS", value_name = "COUNT", default_value = "100",
        value_parser = clap::value_parser!(u64).range(1..))]
    keep_versions: u64,

    /// For how long a commit that comes again under its name is known to be made. Longer than a client retries.
    #[arg(long, env = "DATASTREAM_KEEP_REQUESTS", value_name = "DURATION", default_value = "24h",
        value_parser = duration)]
    keep_requests: Duration,

    /// How long a client may take nothing of an update that is being sent before its stream ends.
    #[arg(long, env = "DATASTREAM_STALL_LIMIT", value_name = "DURATION", default_value = "30s",
        value_parser = duration)]
    stall_limit: Duration,

    /// How long a stop waits for streams and calls to end.
    #[arg(long, env = "DATASTREAM_DRAIN_LIMIT", value_name = "DURATION", default_value = "5s",
        value_parser = duration)]
    drain_limit: Duration,

    /// What to log: error, warn, info, debug, trace or off, also by target: warn,datastream_server=debug.
    #[arg(long, env = "DATASTREAM_LOG", value_name = "LEVEL", default_value = "info")]
    pub(crate) log: Targets,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take out of the database of --store all that serving it has added, the history included.
    Detach,
    /// Have a server that runs look now whether its store has something new, such as the remote of its repository.
    Refresh {
        /// The server.
        #[arg(
            long,
            env = "DATASTREAM_URL",
            hide_env_values = true,
            value_name = "URL",
            default_value = "http://127.0.0.1:8080"
        )]
        server: String,
    },
}

impl Cli {
    /// What the command line says, and the environment.
    ///
    /// # Errors
    ///
    /// What is wrong with it, or the help that was asked for. A store that is none is not repeated: there may be a password
    /// in it, and the log of many a service is what it writes here.
    pub(crate) fn read() -> Result<Self, clap::Error> {
        Self::try_parse().map_err(|mut error| {
            let argument = error.get(ContextKind::InvalidArg).map(ToString::to_string);
            if argument.is_some_and(|argument| argument.starts_with("--store")) {
                error.insert(ContextKind::InvalidValue, ContextValue::String("…".to_owned()));
            }
            error
        })
    }

    /// The settings of the server.
    pub(crate) fn config(&self) -> Config {
        let retention = Retention {
            positions: self.keep_positions,
            max_positions: self.max_positions,
            history: self.keep_history,
            versions: self.keep_versions,
            requests: self.keep_requests,
            ..Retention::default()
        };
        Config::default()
            .heartbeat(self.heartbeat)
            .max_value_bytes(self.max_value_bytes as usize)
            .retention(retention)
            .stall_limit(self.stall_limit)
            .drain_limit(self.drain_limit)
    }
}

/// Reads a duration as a setting of that type is read.
fn duration(text: &str) -> Result<Duration, value::ValueError> {
    value::decode("duration", &text.to_owned().into())
}

fn heartbeat(text: &str) -> Result<Duration, String> {
    let interval = duration(text).map_err(|error| error.to_string())?;
    if interval < Duration::from_millis(10) {
        return Err("at least 10ms".to_owned());
    }
    Ok(interval)
}
