//! One message for many subscribers.

use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::delivery::Scope;
use crate::frame::Frame;

/// The longest message that is kept, in bytes: what one update changes. Every version that a delivery pins may keep one.
const LONGEST: usize = 16 * 1024;

/// The delivery that was made last of a version, if it was one short message: the next subscriber whom the same update
/// touched is mostly owed the same. Where it is not, the message is made as if there were none here.
#[derive(Debug, Default)]
pub(crate) struct SharedFrame {
    last: Mutex<Option<(Scope, Frame)>>,
}

impl SharedFrame {
    /// The whole delivery of `scope`, unless it is longer than `limit`, or another was made since. What is kept here is
    /// shorter than a part that an announced client is sent.
    pub(crate) fn get(&self, scope: &Scope, limit: usize) -> Option<Frame> {
        let last = self.lock();
        let (_, frame) = last.as_ref().filter(|(kept, frame)| frame.bytes.len() <= limit && kept == scope)?;
        Some(frame.clone())
    }

    /// Keeps `frame`, the first message of a delivery, if it is the last as well.
    pub(crate) fn keep(&self, scope: &Scope, frame: &Frame) {
        if !frame.more && frame.bytes.len() <= LONGEST {
            *self.lock() = Some((scope.clone(), frame.clone()));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<(Scope, Frame)>> {
        // It is written in one step, so a panic elsewhere leaves it whole.
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
