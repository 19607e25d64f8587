//! stub
mod contract_key;
mod contract_value;
mod captured_log;
mod faulty_store;
mod server_laws;
mod wire;
mod client_live;
