//! The file in which people, and a store, say of which type a setting is: for stores that keep each key as a file, where a
//! name and some bytes are all that there is.
//!
//! ```toml
//! [types]
//! "http/timeout" = "duration"   # this key
//! "limits/" = "int"             # all keys below
//! ```
//!
//! Of the entries that speak of a key the longest counts; where none does, its file extension, if that names a type; else it
//! is plain text. Only entries are edited here: comments and order are those of whoever wrote the file.

use std::collections::BTreeMap;
#[cfg(feature = "git")]
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::extension;
use datastream::key::{ancestors, shown};
use toml_edit::{Document, DocumentMut, Item, Key, RawString, Table, TableLike, TomlError, value};

/// Where it lies: at the root of what the store keeps. It is no setting.
pub(super) const NAME: &str = ".datastream.toml";

const TABLE: &str = "types";
const PLAIN: &str = "text/plain";

/// The types of settings, as the file has them.
#[derive(Clone, Debug, Default)]
pub(super) struct TypesFile {
    document: DocumentMut,
    /// By a key, or by a prefix with its `/`.
    types: BTreeMap<String, Arc<str>>,
}

/// What is wrong with the file, and where.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of {NAME}: {what}")]
pub(super) struct TypesError {
    line: usize,
    what: String,
}

impl TypesFile {
    /// Reads the text of the file; an empty one says nothing.
    pub(super) fn parse(text: &str) -> Result<Self, TypesError> {
        let document = Document::parse(text).map_err(|error| TypesError::syntax(text, &error))?;
        let types = match document.as_table().get(TABLE) {
            None => BTreeMap::new(),
            Some(item) => entries(text, item)?,
        };
        Ok(Self { document: document.into_mut(), types })
    }

    /// The type of `key`.
    pub(super) fn type_of(&self, key: &str) -> Arc<str> {
        let prefix = || ancestors(key).filter_map(|prefix| self.types.get(prefix)).last();
        self.types.get(key).or_else(prefix).cloned().unwrap_or_else(|| extension(key).unwrap_or(PLAIN).into())
    }

    /// Makes `value_type` the type of `key`: with an entry, where nothing else says so. Returns whether that changed the text.
    pub(super) fn set(&mut self, key: &str, value_type: &str) -> bool {
        let had = self.types.remove(key);
        let said = self.type_of(key);
        if *said == *value_type {
            return had.is_some_and(|_| self.take_out(key));
        }
        self.types.insert(key.to_owned(), value_type.into());
        if had.as_deref() == Some(value_type) {
            return false;
        }
        self.write(key, value_type);
        true
    }

    /// Takes out the entry of `key` itself. Returns whether there was one.
    pub(super) fn remove(&mut self, key: &str) -> bool {
        self.types.remove(key).is_some_and(|_| self.take_out(key))
    }

    /// The entries of which this file and `other` say something else: keys, and prefixes with their `/`.
    #[cfg(feature = "git")]
    pub(super) fn difference(&self, other: &Self) -> BTreeSet<String> {
        let differ =
            |(name, value_type): &(&String, &Arc<str>), of: &Self| of.types.get(*name) != Some(*value_type);
        let here = self.types.iter().filter(|entry| differ(entry, other));
        let there = other.types.iter().filter(|entry| differ(entry, self));
        here.chain(there).map(|(name, _)| name.clone()).collect()
    }

    fn table(&mut self) -> &mut dyn TableLike {
        let table = self.document.entry(TABLE).or_insert_with(|| Item::Table(Table::new()));
        table.as_table_like_mut().expect("it was read as a table, or is new")
    }

    /// In the place of the entry that is there, with its comments.
    fn write(&mut self, key: &str, value_type: &str) {
        let table = self.table();
        match table.get_mut(key).and_then(Item::as_value_mut) {
            Some(held) => {
                let decor = held.decor().clone();
                *held = value_type.into();
                *held.decor_mut() = decor;
            }
            None => _ = table.insert(key, value(value_type)),
        }
    }

    /// Comments above the entry stay: at the entry that comes then, or at the end.
    fn take_out(&mut self, key: &str) -> bool {
        let table = self.table();
        let above = table.key(key).map(comments).unwrap_or_default();
        let next = table.iter().skip_while(|(name, _)| *name != key).nth(1).map(|(name, _)| name.to_owned());
        table.remove(key);
        if above.is_empty() {
            return true;
        }
        match next.and_then(|next| table.key_mut(&next)) {
            Some(mut next) => {
                let joined = above + text(next.leaf_decor().prefix());
                next.leaf_decor_mut().set_prefix(joined);
            }
            None => {
                let joined = above + text(Some(self.document.trailing()));
                self.document.set_trailing(joined);
            }
        }
        true
    }
}

impl fmt::Display for TypesFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.document.fmt(f)
    }
}

impl TypesError {
    fn at(text: &str, byte: usize, what: impl Into<String>) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        Self { line: before.matches('\n').count() + 1, what: what.into() }
    }

    fn syntax(text: &str, error: &TomlError) -> Self {
        let byte = error.span().map_or(0, |span| span.start);
        Self::at(text, byte, error.message().lines().collect::<Vec<_>>().join(", "))
    }
}

fn entries(text: &str, item: &Item) -> Result<BTreeMap<String, Arc<str>>, TypesError> {
    let byte = |span: Option<std::ops::Range<usize>>| span.map_or(0, |span| span.start);
    let Some(table) = item.as_table_like() else {
        return Err(TypesError::at(text, byte(item.span()), "types is a table: [types]"));
    };
    let entry = |(name, item): (&str, &Item)| match item.as_str() {
        Some(value_type) => Ok((name.to_owned(), value_type.into())),
        None => {
            let at = byte(table.key(name).and_then(Key::span).or(item.span()));
            let what = format!(
                "{:?} needs a type, such as \"int\"; a key with a dot stands in quotes",
                shown(name).to_string()
            );
            Err(TypesError::at(text, at, what))
        }
    };
    table.iter().map(entry).collect()
}

/// The lines above an entry, if they say something.
fn comments(key: &Key) -> String {
    let above = text(key.leaf_decor().prefix());
    if above.contains('#') { above.to_owned() } else { String::new() }
}

fn text(raw: Option<&RawString>) -> &str {
    raw.and_then(RawString::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# Edited by hand.
[types]
# How long we wait.
"http/timeout" = "duration"  # seconds are fine
"limits/" = "int"
"limits/soft/" = "float"
"limits/name" = "string"
"#;

    fn file() -> TypesFile {
        TypesFile::parse(TEXT).expect("it is TOML")
    }

    #[test]
    fn the_longest_entry_counts_then_the_extension() {
        let file = file();
        for (key, expected) in [
            ("http/timeout", "duration"),
            ("limits/a", "int"),
            ("limits/a.json", "int"),
            ("limits/soft/a", "float"),
            ("limits/name", "string"),
            ("limits", "text/plain"),
            ("a.json", ".json"),
            ("a.b/c", "text/plain"),
            ("a.nonsense", "text/plain"),
            (".yaml", ".yaml"),
            ("a.", "text/plain"),
        ] {
            assert_eq!(&*file.type_of(key), expected, "{key}");
        }
    }

    #[test]
    fn an_edit_changes_its_entry_and_no_other_byte() {
        let mut file = file();
        assert!(!file.set("limits/b", "int"), "the prefix says so already");
        assert!(!file.set("http/timeout", "duration"));
        assert_eq!(file.to_string(), TEXT);
        assert!(file.set("http/timeout", "int"));
        assert_eq!(file.to_string(), TEXT.replace("= \"duration\"", "= \"int\""));
        assert!(file.set("a.b/ü \"x\"", "int"));
        assert_eq!(&*file.type_of("a.b/ü \"x\""), "int");
        assert!(file.remove("a.b/ü \"x\""));
        assert!(file.set("http/timeout", "duration"));
        assert_eq!(file.to_string(), TEXT);
    }

    #[test]
    fn comments_outlive_their_entry() {
        let mut file = file();
        assert!(file.remove("http/timeout"));
        assert!(!file.remove("http/timeout"));
        assert!(!file.remove("limits/b"), "a prefix is not the entry of a key");
        for key in ["limits/", "limits/soft/", "limits/name"] {
            assert!(file.to_string().contains("# How long we wait."));
            assert!(file.remove(key));
        }
        let emptied = file.to_string();
        assert_eq!(emptied, "# Edited by hand.\n[types]\n# How long we wait.\n");
        assert!(TypesFile::parse(&emptied).expect("it is TOML").set("a", "int"));
    }

    #[test]
    fn an_entry_that_says_nothing_new_goes() {
        let mut file = TypesFile::default();
        assert!(file.set("a.json", "json"));
        assert_eq!(file.to_string(), "[types]\n\"a.json\" = \"json\"\n");
        assert!(file.set("a.json", ".json"));
        assert_eq!(file.to_string(), "[types]\n");
        assert!(!file.set("a", "text/plain"));
    }

    #[cfg(feature = "git")]
    #[test]
    fn what_two_files_say_otherwise_is_found() {
        let (before, mut after) = (file(), file());
        assert!(before.difference(&after).is_empty());
        after.set("http/timeout", "int");
        after.remove("limits/name");
        after.set("new", "int");
        let expected = ["http/timeout", "limits/name", "new"].map(str::to_owned);
        assert_eq!(before.difference(&after), expected.into());
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        for (text, line) in [
            ("[types]\n\"a\" = \"int\"\n\"b\" = ", 3),
            ("\n[types]\na.b = \"int\"\n", 3),
            ("[types]\n\"a\" = 1", 2),
            ("types = 1", 1),
            ("[types]\n\"a\" = \"int\"\n\"a\" = \"int\"\n", 3),
            ("[types\n", 1),
        ] {
            let error = TypesFile::parse(text).expect_err(text);
            assert_eq!(error.line, line, "{text:?}: {error}");
            assert!(!error.to_string().contains('\n'));
        }
    }
}
