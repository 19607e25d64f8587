//! The laws of datastream, as tests of the contract, the client and the server together.
//!
//! One program, because linking is what costs. Each module is about one thing, and the name of a test is the law
//! that it checks; `dNN_` names a defect of the Go original that must not come back. Nothing here sleeps for a
//! time and hopes: a test waits for a condition, and fails when a deadline passes.
//!
//! The weakest means that can show a law is used: the pure machines first, then a server in this process
//! (`datastream_server::testing::TestServer`), then the real programs, which are found beside this one in the
//! target folder and must be built before (`tests/run` does).

mod bad_input;
#[cfg(target_os = "linux")]
mod bad_store;
mod captured_log;
mod client_address;
mod client_callbacks;
mod client_commits;
mod client_fixed;
#[cfg(target_os = "linux")]
mod client_herd;
mod client_hostile;
mod client_live;
mod client_open_feature;
mod client_paused;
mod client_runtime;
mod client_servers;
mod client_silence;
mod client_soak;
mod client_tls;
mod client_together;
mod client_token;
mod command_line;
mod committing;
mod contract_key;
mod contract_value;
mod control;
mod cost;
#[cfg(target_os = "linux")]
mod counted;
mod cutting_proxy;
mod durability;
mod examples;
mod failing_calls;
mod faulty_store;
mod feed_news;
mod file_server;
mod file_writer;
mod found;
#[cfg(target_os = "linux")]
mod full_disk;
mod git;
mod git_crowd;
mod git_http;
mod hostile;
mod laws;
mod mirror;
#[cfg(unix)]
mod mirror_files;
mod misbehaving;
mod model;
mod moving;
#[cfg(target_os = "linux")]
mod network;
mod originals_file;
mod originals_writer;
#[cfg(target_os = "linux")]
mod postgres;
#[cfg(target_os = "linux")]
mod postgres_crowd;
mod process;
mod proxy;
mod pushers;
mod raw_server;
#[cfg(target_os = "linux")]
mod s3;
mod scripted;
mod server_calls;
mod server_delivery;
mod server_faults;
mod server_laws;
mod server_limits;
mod server_positions;
mod server_process;
mod server_stop;
mod shutdown;
mod simulation;
#[cfg(target_os = "linux")]
mod small_disk;
mod store_busy;
#[cfg(target_os = "linux")]
mod store_directory;
mod store_git;
mod store_git_remote;
mod store_memory;
#[cfg(target_os = "linux")]
mod store_postgres;
#[cfg(target_os = "linux")]
mod store_s3;
mod store_sqlite;
mod store_words;
mod strangers;
mod tls_endpoint;
mod wire;
