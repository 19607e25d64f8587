//! The connections that a server accepts.

use std::io;
use std::time::Duration;

use futures_util::Stream;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// How long to wait when no connection can be accepted, because file descriptors ran out for instance.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The connections of a listener, for [`serve`](crate::serve()). When none can be accepted it waits a little, rather
/// than ask again at once for ever; the log says once that this began, and once that it is over.
pub fn incoming(listener: TcpListener) -> impl Stream<Item = io::Result<TcpStream>> {
    accepted(async move || accept(&listener).await)
}

/// What `accept` brings, without its failures.
fn accepted<T>(accept: impl AsyncFnMut() -> io::Result<T>) -> impl Stream<Item = io::Result<T>> {
    futures_util::stream::unfold(accept, |mut accept| async {
        let mut is_failing = false;
        loop {
            match accept().await {
                Ok(connection) => {
                    if is_failing {
                        tracing::info!("connections can be accepted again");
                    }
                    return Some((Ok(connection), accept));
                }
                Err(error) => {
                    if !std::mem::replace(&mut is_failing, true) {
                        tracing::warn!(%error, "connections cannot be accepted");
                    }
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    })
}

async fn accept(listener: &TcpListener) -> io::Result<TcpStream> {
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use futures_util::StreamExt as _;
    use tracing::Level;

    use super::*;

    /// The levels of the events of this module.
    #[derive(Clone, Default)]
    struct Events(Arc<Mutex<Vec<Level>>>);

    impl tracing::Subscriber for Events {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
            tracing::span::Id::from_u64(1)
        }
        fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
        fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
        fn event(&self, event: &tracing::Event<'_>) {
            if event.metadata().target() == module_path!().trim_end_matches("::tests") {
                self.0.lock().expect("no holder panics").push(*event.metadata().level());
            }
        }
        fn enter(&self, _: &tracing::span::Id) {}
        fn exit(&self, _: &tracing::span::Id) {}
    }

    #[tokio::test(start_paused = true)]
    async fn failures_to_accept_are_told_once_when_they_begin_and_once_when_they_end() {
        let events = Events::default();
        let _guard = tracing::subscriber::set_default(events.clone());
        let mut results = (0..).map(|n| match n % 52 {
            0 | 51 => Ok(n),
            _ => Err(io::Error::from_raw_os_error(24)), // Too many open files.
        });
        let began = tokio::time::Instant::now();
        let connections = accepted(async || results.next().expect("it has no end"));
        let got: Vec<_> =
            connections.take(4).map(|result| result.expect("failures stay inside")).collect().await;
        assert_eq!(got, [0, 51, 52, 103]);
        assert_eq!(began.elapsed(), ACCEPT_PAUSE * 100);
        let told = events.0.lock().expect("no holder panics").clone();
        assert_eq!(told, [Level::WARN, Level::INFO, Level::WARN, Level::INFO]);
    }
}
