//! Small files that say who this client is, or whom it trusts.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use datastream::key::shown;

/// What stands in a file of at most `most` bytes. What is no regular file is not opened: a pipe would block for as long as
/// nobody writes it, and a device never end.
pub(super) fn read(path: &Path, most: usize) -> Result<Vec<u8>, String> {
    let name = shown(&path.display().to_string());
    let wrong = |error: std::io::Error| format!("{name}: {error}");
    if !std::fs::metadata(path).map_err(wrong)?.is_file() {
        return Err(format!("{name}: it is no regular file: name one"));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(wrong)?;
    file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(wrong)?;
    match bytes.len() <= most {
        true => Ok(bytes),
        false => Err(format!("{name}: it has more than {most} bytes: is it the right file?")),
    }
}
