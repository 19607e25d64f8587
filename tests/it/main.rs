//! stub
mod contract_key;
mod contract_value;
