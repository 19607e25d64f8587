//! A file and a folder cannot have one name, and what is no setting keeps its place.

use std::collections::BTreeSet;

use datastream::key::shown;

use super::Known;
use crate::stores::git::skipped;
use crate::stores::types_file;

/// What a name may have on the file systems to which people check a branch out.
const NAME_BYTES: usize = 255;

/// What is told of a types file that cannot be written.
pub(in crate::stores::git) fn types_in_the_way(why: &str) -> String {
    format!("`{}`, which is to say its type ({why}),", types_file::NAME)
}

impl Known {
    /// Why the types file cannot be written now.
    pub(in crate::stores::git) fn types_in_the_way(&self) -> Option<String> {
        let below = format!("{}/", types_file::NAME).into_bytes();
        let inside =
            self.files.range(below.clone()..).next().is_some_and(|(path, _)| path.starts_with(&below));
        let wrong = inside.then(|| "it is a folder".to_owned()).or_else(|| self.types_wrong.clone());
        wrong.map(|why| types_in_the_way(&why))
    }

    /// What has the place that a file for `key` needs, once `gone` are removed and `new` are there.
    pub(in crate::stores::git) fn in_the_way(
        &self,
        key: &str,
        gone: &BTreeSet<&str>,
        new: &BTreeSet<&str>,
    ) -> Option<String> {
        let stays = |path: &[u8]| {
            std::str::from_utf8(path).is_ok_and(|path| !gone.contains(path))
                || std::str::from_utf8(path).is_err()
        };
        if skipped::is_reserved(key.as_bytes()) {
            return Some(format!("`{}`, which holds the types,", types_file::NAME));
        }
        if key.split('/').any(|name| name.len() > NAME_BYTES) {
            return Some(format!("that a name of a file has at most {NAME_BYTES} bytes"));
        }
        if let Some(reason) = self.skipped.reason(key.as_bytes()) {
            return Some(format!("`{}` ({reason})", shown(key)));
        }
        let folders = key.match_indices('/').map(|(end, _)| &key[..end]);
        for folder in folders {
            let is_file = self.files.contains_key(folder.as_bytes()) && stays(folder.as_bytes());
            if is_file || new.contains(folder) {
                return Some(format!("`{}`", shown(folder)));
            }
        }
        let below = format!("{key}/");
        let files = self.files.range(below.clone().into_bytes()..).map(|(path, _)| path);
        let mut files = files.take_while(|path| path.starts_with(below.as_bytes()));
        let inside = files.find(|path| stays(path)).map(|path| String::from_utf8_lossy(path).into_owned());
        let inside = inside.or_else(|| {
            new.range(&*below..).next().filter(|key| key.starts_with(&below)).map(ToString::to_string)
        });
        inside.map(|inside| format!("`{}`", shown(&inside)))
    }
}
