//! The limit of durable writes: a thread that appends what waits, syncs it, and answers.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, channel, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

/// What one write appends.
const RECORD: [u8; 64] = [7; 64];

/// How many writes are answered in a second.
pub fn syncs_per_second(folder: &Path, writers: usize, window: Duration) -> Result<f64> {
    let file = File::create(folder.join("records")).context("there is no file to sync")?;
    let (sender, receiver) = channel();
    thread::scope(|scope| {
        let disk = scope.spawn(|| write(file, receiver));
        let began = Instant::now();
        let handles: Vec<_> = (0..writers)
            .map(|_| {
                let sender = sender.clone();
                scope.spawn(move || {
                    let (answer, answered) = sync_channel(1);
                    let mut count = 0_u64;
                    while began.elapsed() < window
                        && sender.send(answer.clone()).is_ok()
                        && answered.recv().is_ok()
                    {
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let count: u64 = handles.into_iter().filter_map(|handle| handle.join().ok()).sum();
        let elapsed = began.elapsed();
        drop(sender);
        disk.join().ok().context("the disk thread failed")??;
        Ok(count as f64 / elapsed.as_secs_f64())
    })
}

fn write(mut file: File, receiver: Receiver<SyncSender<()>>) -> Result<()> {
    while let Ok(first) = receiver.recv() {
        let mut waiting = vec![first];
        waiting.extend(receiver.try_iter());
        file.write_all(&RECORD.repeat(waiting.len()))?;
        file.sync_data().context("it cannot be synced")?;
        for writer in waiting {
            // It waits, unless it has failed.
            let _ = writer.send(());
        }
    }
    Ok(())
}
