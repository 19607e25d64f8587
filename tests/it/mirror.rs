//! What a raw client holds that applies what it is sent, and comes back where it was.

use std::collections::BTreeMap;

use datastream::proto::{Data, DataRequest, Phase, Position};

use crate::wire::{Delivery, resuming};

/// The values of some keys at a position, and how they came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Mirror {
    keys: Vec<String>,
    pub(crate) data: BTreeMap<String, Data>,
    pub(crate) position: Position,
    pub(crate) resets: usize,
    pub(crate) resumes: usize,
}

impl Mirror {
    /// One that holds nothing yet, of these keys and prefixes.
    pub(crate) fn of(keys: &[&str]) -> Self {
        Self { keys: keys.iter().map(|key| (*key).to_owned()).collect(), ..Self::default() }
    }

    /// Asks for what came after its position.
    pub(crate) fn request(&self) -> DataRequest {
        resuming(&self.keys, &self.position)
    }

    /// Applies a whole delivery, and checks that only a reset goes back.
    pub(crate) fn apply(&mut self, delivery: Delivery) {
        match delivery.phase {
            Phase::Drain => return,
            Phase::State | Phase::Reset => self.data.clear(),
            Phase::Resume | Phase::Change | Phase::Heartbeat | Phase::Unspecified => {
                assert!(
                    delivery.revision() >= self.position.revision,
                    "after {:?}: {delivery}",
                    self.position
                );
            }
        }
        let is_first = self.position == Position::default();
        assert_eq!(delivery.phase == Phase::State, is_first, "after {:?}: {delivery}", self.position);
        self.resets += usize::from(delivery.phase == Phase::Reset);
        self.resumes += usize::from(delivery.phase == Phase::Resume);
        self.position = delivery.position;
        for (key, data) in delivery.data {
            if data.deleted { drop(self.data.remove(&key)) } else { drop(self.data.insert(key, data)) }
        }
    }

    /// The bytes of each value.
    pub(crate) fn values(&self) -> BTreeMap<&str, &[u8]> {
        self.data.iter().map(|(key, data)| (&**key, &data.value[..])).collect()
    }
}
