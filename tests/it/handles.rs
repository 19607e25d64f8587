//! The client in paused time, by itself: a program that is quick to build again when one line of the client is broken
//! (`tests/lines/run`). The same modules are part of `main.rs`.
#![allow(dead_code, reason = "it uses a part of what the modules offer")]

mod captured_log;
mod client_fixed;
mod client_paused;
mod found;
mod scripted;
mod wire;
