//! A crowd that asks a service without a pause, and what it sees.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use axum::body::Bytes;
use axum::http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::{Answer, Failure};

/// How many ask at the same time: more than the largest pool.
const PEOPLE: usize = 48;
/// How long figures are counted.
const WINDOW: Duration = Duration::from_millis(800);
/// After which time somebody who was told to come later does so.
const LATER: Duration = Duration::from_millis(40);

/// Many people, each with a connection, who begin anew as soon as they are answered.
pub(crate) struct Crowd(Arc<Shared>);

#[derive(Default)]
struct Shared {
    /// What is counted at present: a request counts where it began.
    window: ArcSwap<Window>,
    failed: AtomicUsize,
}

impl Crowd {
    pub(crate) fn start(address: SocketAddr) -> Self {
        let shared = Arc::new(Shared::default());
        for _ in 0..PEOPLE {
            let shared = shared.clone();
            tokio::spawn(async move {
                while let Err(error) = shared.ask(address).await {
                    eprintln!("a request failed: {error}");
                    shared.failed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        Self(shared)
    }

    /// What it sees from now on, for a while.
    pub(crate) async fn figures(&self) -> Figures {
        let window = Arc::new(Window::default());
        let before = self.0.window.swap(window.clone());
        // Who asked before holds what counts for it. With the last of them gone, the service does only what was asked since.
        while Arc::strong_count(&before) > 1 {
            sleep(Duration::from_millis(1)).await;
        }
        let began = Instant::now();
        window.accepted.store(0, Ordering::Relaxed);
        window.later.store(0, Ordering::Relaxed);
        sleep(WINDOW).await;
        Figures { window, time: began.elapsed() }
    }

    /// How many requests had another end than an answer, since the start.
    pub(crate) fn failed(&self) -> usize {
        self.0.failed.load(Ordering::Relaxed)
    }
}

impl Shared {
    /// Asks again and again on one connection, until that fails.
    async fn ask(&self, address: SocketAddr) -> Result<(), Failure> {
        let (mut service, connection) = handshake(TokioIo::new(TcpStream::connect(address).await?)).await?;
        tokio::spawn(connection);
        loop {
            let window = self.window.load_full();
            let answer = ask_once(&mut service).await?;
            let is_later = answer.is_none();
            window.note(answer);
            drop(window);
            if is_later {
                sleep(LATER).await;
            }
        }
    }
}

/// `None` if the service says to come later, as it may.
async fn ask_once(service: &mut SendRequest<Empty<Bytes>>) -> Result<Option<Answer>, Failure> {
    service.ready().await?;
    let response = service.send_request(Request::new(Empty::new())).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    match status {
        StatusCode::OK => Ok(Some(serde_json::from_slice(&body)?)),
        StatusCode::TOO_MANY_REQUESTS => Ok(None),
        status => Err(status.to_string().into()),
    }
}

#[derive(Default)]
struct Window {
    accepted: AtomicUsize,
    later: AtomicUsize,
    in_flight: AtomicUsize,
    texts: Mutex<BTreeSet<String>>,
}

impl Window {
    /// Counts an answer; `None` is one to come later.
    fn note(&self, answer: Option<Answer>) {
        let Some(Answer { text, in_flight }) = answer else {
            self.later.fetch_add(1, Ordering::Relaxed);
            return;
        };
        self.accepted.fetch_add(1, Ordering::Relaxed);
        self.in_flight.fetch_max(in_flight, Ordering::Relaxed);
        self.texts.lock().expect("nobody panics with it").insert(text);
    }
}

/// What the crowd saw.
pub(crate) struct Figures {
    window: Arc<Window>,
    time: Duration,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Window { accepted, later, in_flight, texts } = &*self.window;
        let a_second = |count: &AtomicUsize| count.load(Ordering::Relaxed) as f64 / self.time.as_secs_f64();
        let (accepted, later) = (a_second(accepted), a_second(later));
        let in_flight = in_flight.load(Ordering::Relaxed);
        let texts = Vec::from_iter(texts.lock().expect("nobody panics with it").clone()).join(" and ");
        write!(f, "at most {in_flight} in flight, {accepted:.0} accepted a second, ")?;
        write!(f, "{later:.0} told to come later, the answer is {texts}")
    }
}
