//! What a handle says of its value.

use std::time::Instant;

use datastream::key::shown;

use super::Watch;
use crate::cell::Report;
use crate::error::Unavailable;
use crate::status::{Origin, State, Status};

impl<T> Watch<T> {
    /// How fresh the value is, and what is wrong if something is. Costs some hundred nanoseconds.
    #[must_use]
    pub fn status(&self) -> Status {
        let report = self.cell.report.load_full();
        let (state, since) = self.state(&report);
        let client = self.client.as_ref();
        let age = client.filter(|_| report.is_followed()).and_then(|client| client.shared.age());
        let is_expired = self.is_expired();
        let origin = match report.origin {
            _ if is_expired => Origin::None,
            Origin::Live if client.is_some_and(|client| client.desk.is_some()) => Origin::Fixed,
            origin => origin,
        };
        Status {
            state,
            since,
            age,
            peer: client.and_then(|client| client.shared.peer()),
            revision: report.revision.filter(|_| !is_expired),
            origin,
            unavailable: (is_expired || report.unavailable.is_some()).then(|| self.unavailable()),
            refusal: report.refusal.clone(),
            unknown_keys: report.unknown_keys,
        }
    }

    /// The state, and since when.
    fn state(&self, report: &Report) -> (State, Instant) {
        let Some(client) = &self.client else { return (State::Ready, report.since) };
        let (state, since) = client.shared.state_of(&self.cell.followed());
        let since = since.into_std();
        let over = self.limits.iter().filter_map(|limit| limit.over()).min();
        match (state, over) {
            _ if !report.is_asked_for() => (State::NotReady, report.since),
            (State::Fatal, _) => (state, since),
            _ if !report.is_known => (State::NotReady, report.since),
            // Something is known, from a file, and the client is just about to say so of itself.
            (State::NotReady, _) => (State::Stale, report.since),
            (State::Ready, Some(over)) => (State::Stale, (client.shared.started + over).into_std()),
            (State::Ready, None) if report.refusal.is_some() => (State::Error, since.max(report.since)),
            _ => (state, since.max(report.since)),
        }
    }

    /// Why there is no value.
    pub(super) fn unavailable(&self) -> Unavailable {
        let why = self.cell.report.load().unavailable.clone();
        let over = self.limits.iter().find(|limit| limit.over().is_some());
        match (why, over, &self.client) {
            (Some(why), _, Some(client)) => client.explain(why),
            (Some(why), _, None) => why,
            (None, Some(limit), _) => {
                Unavailable::Stale { key: shown(&limit.name).to_string(), max_age: limit.max_age }
            }
            // The value came between the two reads.
            (None, None, _) => Unavailable::NotReady {
                key: shown(&self.cell.key).to_string(),
                waiting_for: "it has just come: read it again".to_owned(),
            },
        }
    }
}
