//! Generates the contract from `proto/datastream` without `protoc`.
//!
//! Two passes. The first makes the messages and the client. The second makes the server, in whose
//! signatures a `DataResponse` is replaced by `crate::Encoded`: bytes that were encoded once, when
//! the value was committed, and are only joined for each subscriber. Its codec takes one message in a call.

use std::path::PathBuf;

use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=proto/datastream");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files = protox::compile(["datastream/datastream.proto"], ["proto"])?;
    std::fs::write(out.join("descriptor.bin"), files.encode_to_vec())?;

    tonic_prost_build::configure().build_server(false).bytes(".").compile_fds(files.clone())?;

    let server = out.join("server");
    std::fs::create_dir_all(&server)?;
    tonic_prost_build::configure()
        .build_client(false)
        .out_dir(server)
        .extern_path(".datastream", "crate::proto")
        .extern_path(".datastream.DataResponse", "crate::Encoded")
        .codec_path("crate::codec::OneMessage")
        .compile_fds(files)?;
    Ok(())
}
