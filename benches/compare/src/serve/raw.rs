//! A server that passes on frames, each with one write per connection.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};

/// The length of a frame.
pub const FRAME: usize = 64;

/// What a connection is for; it says so first.
pub enum Hello {
    Publisher,
    /// So many on this connection.
    Subscribers(u32),
}

impl Hello {
    pub fn encode(&self) -> [u8; 4] {
        match self {
            Self::Publisher => 0,
            Self::Subscribers(count) => *count,
        }
        .to_be_bytes()
    }
}

/// A connection, and how many subscribers are on it.
type Subscribers = Arc<Mutex<Vec<(TcpStream, usize)>>>;

pub fn run(listen: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(listen).context("cannot listen")?;
    let subscribers = Subscribers::default();
    loop {
        let (mut stream, _) = listener.accept()?;
        let mut hello = [0; 4];
        match stream.read_exact(&mut hello) {
            // Somebody who only looked whether this listens.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => continue,
            read => read?,
        }
        stream.set_nodelay(true)?;
        match u32::from_be_bytes(hello) as usize {
            0 => drop(thread::spawn({
                let subscribers = subscribers.clone();
                move || pass_on(stream, &subscribers)
            })),
            count => subscribers.lock().unwrap_or_else(PoisonError::into_inner).push((stream, count)),
        }
    }
}

fn pass_on(mut publisher: TcpStream, subscribers: &Subscribers) {
    let mut frame = [0; FRAME];
    while publisher.read_exact(&mut frame).is_ok() {
        let mut frames = Vec::new();
        let mut subscribers = subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        subscribers.retain_mut(|(stream, count)| {
            if frames.len() < FRAME * *count {
                frames = frame.repeat(*count);
            }
            stream.write_all(&frames[..FRAME * *count]).is_ok()
        });
    }
}
