//! A hostile or broken server towards our client: it survives, keeps what it has, says what is wrong, and is well
//! again as soon as the server is.
//!
//! The number in the name of a test, or in its table, is that of the row of the list of bad inputs that it is about.

mod application;
mod broken;
mod cache;
#[cfg(target_os = "linux")]
mod counted;
mod histories;
mod odd;
mod quiet;
mod refusing;
mod size;

use datastream::proto::{DataResponse, Position};

const TEN: (&str, u64, &str, &str) = ("n", 3, "int", "10");

/// The same, said of another history.
fn elsewhere(message: DataResponse) -> DataResponse {
    let position = message.position.clone();
    let position = position.map(|position| Position { token: "elsewhere".into(), ..position });
    DataResponse { position, ..message }
}
