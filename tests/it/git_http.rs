//! A host of git repositories over HTTP, with a user and a password, as one that people rent; and with its bad days.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};

/// Who is let in.
pub(crate) const USER: &str = "robot";
/// What it says of itself until the host is told another word. Nothing else contains it.
pub(crate) const PASSWORD: &str = "hunter2-not-to-be-seen";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Answer {
    #[default]
    Served,
    /// 503.
    Unavailable,
    /// None, and nothing is done, for as long as this stands; then it is served.
    Held,
    /// A push is not begun for as long as this stands; then it is served.
    PushHeld,
    /// A push is done, and its answer held for as long as this stands.
    PushUnanswered,
    /// A push is done, and the connection cut before the answer.
    PushCut,
}

/// A host; gone when dropped, with its connections.
pub(crate) struct GitHttp {
    address: SocketAddr,
    host: Arc<Host>,
    accepting: Mutex<AbortHandle>,
}

struct Host {
    folder: PathBuf,
    password: Mutex<String>,
    answer: watch::Sender<Answer>,
    /// How many requests came, and how many pushes were held or cut.
    requests: watch::Sender<(usize, usize)>,
}

impl GitHttp {
    /// Serves the repositories in a folder, on the runtime of the caller.
    pub(crate) async fn serve(folder: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let host = Arc::new(Host {
            folder: folder.to_owned(),
            password: Mutex::new(PASSWORD.to_owned()),
            answer: watch::Sender::default(),
            requests: watch::Sender::default(),
        });
        let accepting = Mutex::new(tokio::spawn(accept(listener, host.clone())).abort_handle());
        Self { address, host, accepting }
    }

    /// The URL of the repository `settings.git`.
    pub(crate) fn url(&self) -> String {
        format!("http://{USER}@{}/settings.git", self.address)
    }

    /// The same as `--store` takes it, with these options.
    pub(crate) fn store(&self, options: &str) -> String {
        format!("git+{}?{options}#main", self.url())
    }

    /// Lets in only who says this from now on.
    pub(crate) fn set_password(&self, password: &str) {
        *self.host.password.lock().unwrap_or_else(PoisonError::into_inner) = password.to_owned();
    }

    /// Answers so until the guard is dropped.
    pub(crate) fn answering(&self, answer: Answer) -> Answering {
        self.host.answer.send_replace(answer);
        Answering(self.host.clone())
    }

    /// Refuses connections, and ends those that there are, until [`come_back`](Self::come_back).
    pub(crate) fn go_away(&self) {
        self.accepting.lock().unwrap_or_else(PoisonError::into_inner).abort();
    }

    pub(crate) async fn come_back(&self) {
        let listener = TcpListener::bind(self.address).await.expect("nobody else has its port");
        let accepting = tokio::spawn(accept(listener, self.host.clone())).abort_handle();
        *self.accepting.lock().unwrap_or_else(PoisonError::into_inner) = accepting;
    }

    /// How many requests came so far.
    pub(crate) fn requests(&self) -> usize {
        self.host.requests.borrow().0
    }

    /// How many pushes were held, or cut.
    pub(crate) fn pushes_held(&self) -> usize {
        self.host.requests.borrow().1
    }
}

impl Drop for GitHttp {
    fn drop(&mut self) {
        self.go_away();
    }
}

/// A host answers in its own way while this is kept.
#[must_use]
pub(crate) struct Answering(Arc<Host>);

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answer.send_replace(Answer::Served);
    }
}

async fn accept(listener: TcpListener, host: Arc<Host>) {
    // Dropped with this task, and all of them with it.
    let mut connections = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else { return };
        let host = host.clone();
        connections.spawn(async move {
            let cut = Arc::new(tokio::sync::Notify::new());
            let service = service_fn(|request| answer(host.clone(), request, cut.clone()));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                () = cut.notified() => {}
            }
        });
        while connections.try_join_next().is_some() {}
    }
}

async fn answer(
    host: Arc<Host>,
    request: Request<Incoming>,
    cut: Arc<tokio::sync::Notify>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    host.requests.send_modify(|(requests, _)| *requests += 1);
    let is_push = request.uri().path().ends_with("/git-receive-pack");
    let meant = *host.answer.borrow();
    match meant {
        Answer::Unavailable => return Ok(status(StatusCode::SERVICE_UNAVAILABLE)),
        Answer::Held => host.wait(meant).await,
        Answer::PushHeld if is_push => {
            host.hold_push();
            host.wait(meant).await;
        }
        _ => {}
    }
    if !host.lets_in(&request) {
        let mut refused = status(StatusCode::UNAUTHORIZED);
        refused.headers_mut().insert(WWW_AUTHENTICATE, "Basic realm=\"settings\"".parse().expect("a header"));
        return Ok(refused);
    }
    let (head, body) = request.into_parts();
    let Ok(body) = body.collect().await else { return Ok(status(StatusCode::BAD_REQUEST)) };
    let response = host.backend(&head, &body.to_bytes()).await;
    if is_push && matches!(meant, Answer::PushUnanswered | Answer::PushCut) {
        host.hold_push();
        if meant == Answer::PushCut {
            cut.notify_one();
            std::future::pending::<()>().await;
        }
        host.wait(meant).await;
    }
    Ok(response)
}

fn status(status: StatusCode) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = status;
    response
}

impl Host {
    fn lets_in(&self, request: &Request<Incoming>) -> bool {
        let password = self.password.lock().unwrap_or_else(PoisonError::into_inner);
        let login = format!("Basic {}", STANDARD.encode(format!("{USER}:{password}")));
        request.headers().get(AUTHORIZATION).is_some_and(|said| said.as_bytes() == login.as_bytes())
    }

    fn hold_push(&self) {
        self.requests.send_modify(|(_, pushes)| *pushes += 1);
    }

    async fn wait(&self, meant: Answer) {
        let _ = self.answer.subscribe().wait_for(|now| *now != meant).await;
    }

    /// Git's own server, as the web servers of hosts run it. It ends what it began, whoever asks no more.
    async fn backend(&self, head: &http::request::Parts, body: &[u8]) -> Response<Full<Bytes>> {
        let header = |name| head.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("");
        let mut backend = Command::new("git");
        backend
            .args(["-c", "http.receivepack=true", "-c", "safe.directory=*", "http-backend"])
            .env("GIT_PROJECT_ROOT", &self.folder)
            .env("GIT_HTTP_EXPORT_ALL", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("REMOTE_USER", USER)
            .env("REMOTE_ADDR", "127.0.0.1")
            .env("REQUEST_METHOD", head.method.as_str())
            .env("PATH_INFO", head.uri.path())
            .env("QUERY_STRING", head.uri.query().unwrap_or(""))
            .env("CONTENT_TYPE", header(CONTENT_TYPE.as_str()))
            .env("HTTP_CONTENT_ENCODING", header(CONTENT_ENCODING.as_str()))
            .env("CONTENT_LENGTH", body.len().to_string())
            .env("GIT_PROTOCOL", header("git-protocol"));
        backend.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut running = backend.spawn().expect("git can be run");
        let mut stdin = running.stdin.take().expect("it is piped");
        let body = body.to_vec();
        // It may end without reading all.
        tokio::spawn(async move { drop(stdin.write_all(&body).await) });
        let written = running.wait_with_output().await.expect("it ends").stdout;
        response(&written)
    }
}

/// What a program says that answers for a web server: headers, an empty line, the rest.
fn response(written: &[u8]) -> Response<Full<Bytes>> {
    let end = written.windows(4).position(|bytes| bytes == b"\r\n\r\n").expect("there is an empty line");
    let (headers, body) = (String::from_utf8_lossy(&written[..end]), &written[end + 4..]);
    let mut response = Response::new(Full::from(body.to_vec()));
    for (name, value) in headers.lines().filter_map(|line| line.split_once(": ")) {
        if name.eq_ignore_ascii_case("status") {
            let code = value.split(' ').next().and_then(|code| code.parse().ok());
            *response.status_mut() = code.expect("a status is a number");
        } else {
            let name: http::HeaderName = name.parse().expect("a header");
            response.headers_mut().insert(name, value.parse().expect("its value"));
        }
    }
    response
}
