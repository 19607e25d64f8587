//! A web service whose limits are live settings: they change under load, and no request fails for it.
//!
//! ```text
//! cargo run --example axum_service [-- --stay]
//! ```
//!
//! The size of a pool, a rate limit and a switch are settings. A crowd asks the service without a pause, an operator changes each
//! setting, and what the crowd saw before and after is printed. All of it runs in this process, and ends by itself. On a
//! terminal, or with `--stay`, it stays until Ctrl-C.

mod crowd;
mod limits;

use std::error::Error;
use std::fmt::Display;
use std::io::IsTerminal as _;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use datastream_client::{Client, Value, WatchOr};
use datastream_server::testing::TestServer;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;
use tokio::time::{sleep, timeout};

use crowd::Crowd;
use limits::{Pool, RateLimit};

type Failure = Box<dyn Error + Send + Sync>;

/// How long a request works.
const WORK: Duration = Duration::from_millis(20);
/// For what should take milliseconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// The settings of the service, the keys below `service/`. What does not fit, such as a pool of 0, is refused, and the last
/// good settings stay.
#[derive(Clone, Copy, Debug, Deserialize)]
struct Settings {
    /// How many requests work at the same time.
    pool_size: NonZeroU32,
    /// How many are accepted in a second; others are told to come later.
    rate_limit: NonZeroU32,
    /// Whether the new code answers.
    new_code: bool,
}

/// Until the settings server has answered, and without it.
const DEFAULTS: Settings =
    Settings { pool_size: NonZeroU32::MIN, rate_limit: NonZeroU32::MIN, new_code: false };

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let stay = std::env::args().any(|argument| argument == "--stay") || std::io::stdout().is_terminal();
    let server = TestServer::start()
        .with("service/pool_size", 4_i64)
        .with("service/rate_limit", 10_000_i64)
        .with("service/new_code", false);

    let settings = Client::connect(server.url()).bind::<Settings>("service/").or(DEFAULTS);
    settings.ready().await?;
    let _told = settings.on_change(|settings| println!("service:  {settings:?}"));
    let service = Arc::new(Service::new(settings));
    let address = start(service.clone()).await?;

    let operator = Operator { client: Client::connect(server.url()), service, crowd: Crowd::start(address) };
    operator.change_everything().await?;
    if stay {
        println!("\nIt stays until Ctrl-C. Change a setting from another terminal:\n");
        println!("  cargo run --example updater -- {} service/new_code false\n", server.url());
        tokio::signal::ctrl_c().await?;
    }
    Ok(())
}

/// What the requests share.
struct Service {
    settings: WatchOr<Settings>,
    pool: Pool,
    rate: RateLimit,
    /// Each request that works holds one.
    working: Arc<()>,
}

/// What a request is told.
#[derive(Serialize, Deserialize)]
struct Answer {
    text: String,
    /// How many requests worked when this one began, itself included.
    in_flight: usize,
}

impl Service {
    fn new(settings: WatchOr<Settings>) -> Self {
        Self { settings, pool: Pool::empty(), rate: RateLimit::new(), working: Arc::default() }
    }
}

async fn start(service: Arc<Service>) -> Result<SocketAddr, Failure> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let pool_size = service.settings.map(|settings| settings.pool_size);
    let router = Router::new().route("/", get(answer)).with_state(service.clone());
    tokio::spawn(async move { service.pool.follow(pool_size).await });
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

async fn answer(State(service): State<Arc<Service>>) -> Result<Json<Answer>, StatusCode> {
    // One read for the whole request: what it does is decided by settings of one commit, whatever changes meanwhile.
    let settings = service.settings.get();
    if !service.rate.admits(settings.rate_limit) {
        return Err(StatusCode::TOO_MANY_REQUESTS);
    }
    let _permit = service.pool.permit().await.map_err(|_| StatusCode::SERVICE_UNAVAILABLE)?;
    let working = service.working.clone();
    let in_flight = Arc::strong_count(&working) - 1;
    sleep(WORK).await;
    let text = if settings.new_code { "new" } else { "old" };
    Ok(Json(Answer { text: text.to_owned(), in_flight }))
}

/// Whoever changes the settings, and looks at what the crowd sees then.
struct Operator {
    client: Client,
    service: Arc<Service>,
    crowd: Crowd,
}

impl Operator {
    async fn change_everything(&self) -> Result<(), Failure> {
        self.until(|service| service.pool.size() == 4).await?;
        self.look().await;
        for size in [16, 2, 16] {
            self.set("pool_size", i64::from(size)).await?;
            self.until(|service| service.pool.size() == size).await?;
            self.look().await;
        }
        self.set("rate_limit", 50_i64).await?;
        self.until(|service| service.settings.get().rate_limit.get() == 50).await?;
        self.look().await;
        self.set("new_code", true).await?;
        self.until(|service| service.settings.get().new_code).await?;
        self.look().await;
        self.set("pool_size", 0_i64).await?;
        self.until(|service| service.settings.status().refusal.is_some()).await?;
        println!("service:  refused, the pool stays at {}", self.service.settings.get().pool_size);
        // Settings of one struct are taken together: with a bad one among them, no other would change either.
        self.set("pool_size", 16_i64).await?;
        self.until(|service| service.settings.status().refusal.is_none()).await?;
        println!("{} requests failed", self.crowd.failed());
        Ok(())
    }

    async fn set(&self, name: &str, value: impl Value + Display) -> Result<(), Failure> {
        println!("operator: {name} = {value}");
        self.client.set(format!("service/{name}"), value).await?;
        Ok(())
    }

    async fn look(&self) {
        println!("crowd:    {}", self.crowd.figures().await);
    }

    /// Waits until the service has followed: some milliseconds.
    async fn until(&self, is_so: impl Fn(&Service) -> bool) -> Result<(), Failure> {
        let seen = async {
            while !is_so(&self.service) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(PATIENCE, seen).await.map_err(|_| "the service does not follow its settings".into())
    }
}
