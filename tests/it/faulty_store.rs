//! A store that fails when a test says so.

pub(crate) use datastream_server::testing::faulty::{CAUSE, Fault, FaultyStore, Moment};
