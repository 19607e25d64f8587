//! Generates the service of the contract once more, as anybody would: messages that tonic encodes for each subscriber.

use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=../../proto/datastream");
    let out = PathBuf::from(std::env::var("OUT_DIR")?);
    let files = protox::compile(["datastream/datastream.proto"], ["../../proto"])?;
    tonic_prost_build::configure()
        .build_client(false)
        .out_dir(out)
        .extern_path(".datastream", "::datastream::proto")
        .compile_fds(files)?;
    Ok(())
}
