//! The contract of datastream, shared by the client and the server.
//!
//! [`proto`] holds the messages and the client stub generated from `proto/datastream/datastream.proto`, whose
//! comments are the specification. Beside them stands what both sides must agree on and protobuf cannot say:
//!
//! - [`key`]: which strings are keys, and what a request may ask for;
//! - [`value`]: the value types, their text grammars, and which Rust type reads which;
//! - [`position`]: a revision with the token that tells histories apart;
//! - [`header`]: the names of the metadata.
//!
//! This crate does no IO, and has no opinion on transport: enable tonic's features yourself.

pub mod key;
pub mod position;
pub mod value;

mod codec;
mod encoded;

pub use encoded::Encoded;

/// The messages of the contract and the client stubs.
#[allow(missing_docs, clippy::all, unreachable_pub, reason = "generated code")]
pub mod proto {
    include!(concat!(env!("OUT_DIR"), "/datastream.rs"));
}

/// The service traits that a server implements. They answer with [`Encoded`] where the contract says
/// `DataResponse`.
#[allow(missing_docs, clippy::all, unreachable_pub, reason = "generated code")]
pub mod service {
    include!(concat!(env!("OUT_DIR"), "/server/datastream.rs"));
}

/// The contract as an encoded `google.protobuf.FileDescriptorSet`, for reflection and for tools.
pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// The names of the metadata that the contract adds to the original's.
pub mod header {
    /// On every answer of a server of this project, errors included: the version of the additions, `1`.
    pub const PROTOCOL: &str = "datastream-protocol";
    /// On the response to `Subscribe`: the interval of heartbeats in milliseconds.
    pub const HEARTBEAT_MS: &str = "datastream-heartbeat-ms";
    /// On the response to `PushUpdate`: the resulting `Position`, encoded.
    pub const POSITION_BIN: &str = "datastream-position-bin";
    /// On a request to `PushUpdate`: `1` says that a change of the key's type is meant.
    pub const RETYPE: &str = "datastream-retype";
}

/// The limits that the contract states.
pub mod limit {
    /// The most entries that `DataRequest.keys` may have; beyond that, ask for a prefix.
    pub const KEYS: usize = 10_000;
    /// The most bytes that the entries of `DataRequest.keys` may have together.
    pub const KEYS_BYTES: usize = 1 << 20;
    /// The most bytes that `DataRequest.client_name` may have.
    pub const CLIENT_NAME_BYTES: usize = 256;
    /// The most operations of one commit.
    pub const OPERATIONS: usize = 10_000;
    /// The most bytes that `CommitRequest.request_id` may have.
    pub const REQUEST_ID_BYTES: usize = 128;
    /// The most bytes that the author of a commit may have.
    pub const AUTHOR_BYTES: usize = 256;
    /// The most bytes that the message of a commit may have.
    pub const COMMIT_MESSAGE_BYTES: usize = 4096;
    /// The most changes in one page of a history.
    pub const HISTORY_PAGE: u32 = 1000;
    /// The most bytes of one message, either way: what tonic and grpc-go accept unless told otherwise.
    pub const MESSAGE_BYTES: usize = 4 << 20;
}

/// The Rust of the README, as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}

/// Those of the recipes.
#[cfg(doctest)]
#[doc = include_str!("../docs/recipes.md")]
mod recipes {}
