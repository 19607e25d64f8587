//! What lies in a repository and is no setting: counted, and named once.

use std::collections::HashMap;

use datastream::key::shown;

use super::log::Kind;
use crate::stores::types_file;

/// How many are named in the log; more are counted only.
const NAMED: usize = 100;
/// What begins the text that stands for a file whose content is stored elsewhere.
const POINTER_BEGINS: &[u8] = b"version https://git-lfs.github.com/spec/";
/// Such a text is short.
const POINTER_BYTES: usize = 1024;

pub(super) const POINTER: &str = "it only points to a file that git lfs keeps elsewhere";
/// What a pushed value must not be.
pub(super) const NO_POINTER: &str =
    "a text of less than 1 KiB that begins as a pointer of Git LFS does is taken for one, and not served";

/// The paths that are not served, with the reason of each.
#[derive(Debug, Default)]
pub(super) struct Skipped {
    reasons: HashMap<Vec<u8>, &'static str>,
    untold: Vec<Vec<u8>>,
    told: usize,
}

impl Skipped {
    pub(super) fn note(&mut self, path: &[u8], reason: &'static str) {
        if self.reasons.insert(path.to_vec(), reason) != Some(reason) {
            self.untold.push(path.to_vec());
        }
    }

    pub(super) fn forget(&mut self, path: &[u8]) {
        self.reasons.remove(path);
    }

    pub(super) fn reason(&self, path: &[u8]) -> Option<&'static str> {
        self.reasons.get(path).copied()
    }

    /// Names in the log those that are new, and still there.
    pub(super) fn tell(&mut self) {
        for path in std::mem::take(&mut self.untold) {
            let Some(reason) = self.reasons.get(&path).filter(|_| self.told < NAMED) else { continue };
            self.told += 1;
            let path = String::from_utf8_lossy(&path);
            tracing::warn!(path = %shown(&path), reason, "a file of the repository is not served");
        }
    }
}

/// Whether a path belongs to the types file: it, and what lies where it should.
pub(super) fn is_reserved(path: &[u8]) -> bool {
    let rest = path.strip_prefix(types_file::NAME.as_bytes());
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
}

pub(super) fn reason(kind: Kind) -> &'static str {
    match kind {
        Kind::Symlink => "it is a symbolic link",
        Kind::Submodule => "it is a submodule",
        Kind::Regular | Kind::Executable => "it lies where the types file belongs",
    }
}

/// Whether a file of this content is taken for one that points to another.
pub(super) fn is_pointer(content: &[u8]) -> bool {
    content.len() < POINTER_BYTES && content.starts_with(POINTER_BEGINS)
}
