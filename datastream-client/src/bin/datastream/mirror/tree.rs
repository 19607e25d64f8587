//! Which files a state is.

use std::collections::{BTreeMap, HashSet};
use std::path::{Component, Path};

use bytes::Bytes;
use datastream::key;
use datastream_client::Snapshot;

/// The longest name that file systems take.
const NAME_BYTES: usize = 255;

/// The files of one state, by their paths in the directory, and the keys that can be none.
#[derive(Default)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<String, Bytes>,
    pub(super) left_out: LeftOut,
    /// `None` if the server has no such.
    pub(super) revision: Option<u64>,
}

/// Keys that are no file, and why.
pub(super) type LeftOut = BTreeMap<String, String>;

impl Tree {
    /// What lies below a prefix. A server may send any key, so none is trusted to be one.
    pub(super) fn of(snapshot: &Snapshot, prefix: &str) -> Self {
        let mut tree =
            Self { revision: snapshot.position().map(|position| position.revision), ..Self::default() };
        for key in snapshot.keys() {
            let (Some(path), Some(held)) = (key.strip_prefix(prefix), snapshot.held(key)) else { continue };
            match check(key, path) {
                Ok(()) => _ = tree.files.insert(path.to_owned(), held.value.clone()),
                Err(why) => _ = tree.left_out.insert(path.to_owned(), why),
            }
        }
        tree.leave_out_folders();
        tree
    }

    /// What is a directory cannot be a file of the same name: the key that is alone gives way.
    fn leave_out_folders(&mut self) {
        let folders: HashSet<&str> = self.files.keys().flat_map(|path| folders(path)).collect();
        let both: Vec<_> =
            self.files.keys().filter(|path| folders.contains(path.as_str())).cloned().collect();
        for path in both {
            self.files.remove(&path);
            self.left_out.insert(path, "there are keys below it, so it is a directory here".to_owned());
        }
    }
}

/// The directories that a file lies in, the outermost first.
pub(super) fn folders(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(slash, _)| &path[..slash])
}

/// Whether a key can be a file, and nowhere but below the directory.
fn check(key: &str, path: &str) -> Result<(), String> {
    key::check(key).map_err(|error| error.to_string())?;
    // The grammar has no such key. It is not what keeps a hostile one away.
    let parts: Vec<_> = Path::new(path).components().collect();
    let is_below = parts.len() == path.split('/').count()
        && parts.iter().all(|part| matches!(part, Component::Normal(_)));
    if !is_below {
        return Err("it is no path below the directory".to_owned());
    }
    match path.split('/').find(|name| name.len() > NAME_BYTES) {
        Some(name) => Err(format!("a name of {} bytes; a file name has at most {NAME_BYTES}", name.len())),
        None => Ok(()),
    }
}
