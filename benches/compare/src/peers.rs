//! The servers, one file each.

pub mod contract;
#[cfg_attr(not(feature = "etcd"), path = "peers/no_etcd.rs")]
pub mod etcd;
pub mod naive;
pub mod nats;
pub mod nats_kv;
pub mod ours;
mod own;
pub mod postgres;
pub mod raw;
pub mod redis;
