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

#[cfg(feature = "git")]
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use super::extension;
use datastream::key::{ancestors, shown};
use datastream::value::same_type;
use rpds::RedBlackTreeMapSync;
use toml_edit::{Document, DocumentMut, Item, Key, RawString, Table, TableLike, TomlError, value};

/// Where it lies: at the root of what the store keeps. It is no setting.
pub(super) const NAME: &str = ".datastream.toml";

const TABLE: &str = "types";
const PLAIN: &str = "text/plain";
const NO_TABLE: &str = "types is a table: [types]";

/// The types of settings, as the file has them.
#[derive(Clone, Debug, Default)]
pub(super) struct TypesFile {
    /// As it was read.
    text: String,
    /// As it was edited since.
    edited: Option<DocumentMut>,
    /// By a key, or by a prefix with its `/`. Of two versions of the file almost all is shared.
    types: Types,
}

type Types = RedBlackTreeMapSync<String, Arc<str>>;

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
            None => Types::default(),
            Some(item) => entries(text, item)?,
        };
        Ok(Self { text: text.to_owned(), edited: None, types })
    }

    /// Reads the version of the file that comes after this one. Returns it with the entries of which the two say something
    /// else: keys, and prefixes with their `/`.
    #[cfg(feature = "git")]
    pub(super) fn followed_by(&self, text: &str) -> Result<(Self, BTreeSet<String>), TypesError> {
        if let Some(followed) = self.prolonged_to(text) {
            return Ok(followed);
        }
        let after = Self::parse(text)?;
        let difference = self.difference(&after);
        Ok((after, difference))
    }

    /// The same, where entries were only added at the end: of thousands of versions most are such, and are not read from
    /// their beginning.
    #[cfg(feature = "git")]
    fn prolonged_to(&self, text: &str) -> Option<(Self, BTreeSet<String>)> {
        let before = &self.text;
        let added =
            text.strip_prefix(&**before).filter(|_| self.edited.is_none() && before.ends_with('\n'))?;
        let is_plain = !before.contains("\"\"\"") && !before.contains("'''");
        let header = before.lines().rev().find(|line| line.trim_start().starts_with('['));
        if !is_plain || header != Some("[types]") {
            return None;
        }
        // Whether a table may come depends on those before it.
        if added.lines().any(|line| line.trim_start().starts_with('[')) {
            return None;
        }
        let added = Self::parse(&format!("[types]\n{added}")).ok()?;
        let mut types = self.types.clone();
        for (name, value_type) in &added.types {
            if types.contains_key(name) {
                return None;
            }
            types.insert_mut(name.clone(), value_type.clone());
        }
        let names = added.types.keys().cloned().collect();
        Some((Self { text: text.to_owned(), edited: None, types }, names))
    }

    /// The type of `key`.
    pub(super) fn type_of(&self, key: &str) -> Arc<str> {
        let prefix = || ancestors(key).filter_map(|prefix| self.types.get(prefix)).last();
        self.types.get(key).or_else(prefix).cloned().unwrap_or_else(|| extension(key).unwrap_or(PLAIN).into())
    }

    /// [`try_set`](Self::try_set), of a text that was read whole.
    #[cfg(test)]
    pub(super) fn set(&mut self, key: &str, value_type: &str) -> bool {
        self.try_set(key, value_type).expect("all of the text was read before")
    }

    /// [`try_remove`](Self::try_remove), of a text that was read whole.
    #[cfg(test)]
    pub(super) fn remove(&mut self, key: &str) -> bool {
        self.try_remove(key).expect("all of the text was read before")
    }

    /// Makes `value_type` the type of `key`: with an entry, where nothing else says so. Of an extension it is enough that it
    /// means the same: `app.json` needs no entry to be `json`. Returns whether that changed the text.
    ///
    /// An edit needs all of the text, of which only the end was read where others prolonged it. After an error `self` is not
    /// to be used.
    pub(super) fn try_set(&mut self, key: &str, value_type: &str) -> Result<bool, TypesError> {
        if self.types.get(key).is_some_and(|held| **held == *value_type) {
            return Ok(false);
        }
        let had = self.types.remove_mut(key);
        if self.says(key, value_type) {
            return if had { self.take_out(key) } else { Ok(false) };
        }
        self.types.insert_mut(key.to_owned(), value_type.into());
        self.write(key, value_type)
    }

    /// Whether a file of that name needs nothing more to be of this type.
    pub(super) fn says(&self, key: &str, value_type: &str) -> bool {
        let said = self.type_of(key);
        *said == *value_type || extension(key) == Some(&*said) && same_type(&said, value_type)
    }

    /// Takes out the entry of `key` itself. Returns whether there was one. After an error it is still there.
    pub(super) fn try_remove(&mut self, key: &str) -> Result<bool, TypesError> {
        if !self.types.contains_key(key) {
            return Ok(false);
        }
        self.take_out(key)?;
        Ok(self.types.remove_mut(key))
    }

    #[cfg(feature = "git")]
    fn difference(&self, other: &Self) -> BTreeSet<String> {
        let differ =
            |(name, value_type): &(&String, &Arc<str>), of: &Self| of.types.get(*name) != Some(*value_type);
        let here = self.types.iter().filter(|entry| differ(entry, other));
        let there = other.types.iter().filter(|entry| differ(entry, self));
        here.chain(there).map(|(name, _)| name.clone()).collect()
    }

    fn document(&mut self) -> Result<&mut DocumentMut, TypesError> {
        let document = match self.edited.take() {
            Some(document) => document,
            None => self.text.parse().map_err(|error| TypesError::syntax(&self.text, &error))?,
        };
        Ok(self.edited.insert(document))
    }

    fn table(&mut self) -> Result<&mut dyn TableLike, TypesError> {
        let wrong = TypesError::at(&self.text, 0, NO_TABLE);
        let table = self.document()?.entry(TABLE).or_insert_with(|| Item::Table(Table::new()));
        table.as_table_like_mut().ok_or(wrong)
    }

    /// In the place of the entry that is there, with its comments.
    fn write(&mut self, key: &str, value_type: &str) -> Result<bool, TypesError> {
        let table = self.table()?;
        match table.get_mut(key).and_then(Item::as_value_mut) {
            Some(held) => {
                let decor = held.decor().clone();
                *held = value_type.into();
                *held.decor_mut() = decor;
            }
            None => _ = table.insert(key, value(value_type)),
        }
        Ok(true)
    }

    /// Comments above the entry stay: at the entry that comes then, or at the end.
    fn take_out(&mut self, key: &str) -> Result<bool, TypesError> {
        let table = self.table()?;
        let above = table.key(key).map(comments).unwrap_or_default();
        let next = table.iter().skip_while(|(name, _)| *name != key).nth(1).map(|(name, _)| name.to_owned());
        table.remove(key);
        if above.is_empty() {
            return Ok(true);
        }
        match next.and_then(|next| table.key_mut(&next)) {
            Some(mut next) => {
                let joined = above + text(next.leaf_decor().prefix());
                next.leaf_decor_mut().set_prefix(joined);
            }
            None => {
                let document = self.document()?;
                let joined = above + text(Some(document.trailing()));
                document.set_trailing(joined);
            }
        }
        Ok(true)
    }
}

impl fmt::Display for TypesFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.edited {
            Some(document) => document.fmt(f),
            None => self.text.fmt(f),
        }
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

fn entries(text: &str, item: &Item) -> Result<Types, TypesError> {
    let byte = |span: Option<std::ops::Range<usize>>| span.map_or(0, |span| span.start);
    let Some(table) = item.as_table_like() else {
        return Err(TypesError::at(text, byte(item.span()), NO_TABLE));
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
        assert!(!file.set("a.json", "json"), "its extension means that");
        assert!(file.set("a.json", "string"));
        assert_eq!(file.to_string(), "[types]\n\"a.json\" = \"string\"\n");
        assert!(file.set("a.json", ".json"));
        assert_eq!(file.to_string(), "[types]\n");
        assert!(!file.set("a", "text/plain"));
    }

    /// However it came to be: what is read from what was added is what all of it says.
    #[cfg(feature = "git")]
    #[test]
    fn a_version_is_read_from_what_was_added_only_where_that_is_the_same() {
        for (before, added) in [
            (TEXT, "a = \"int\"\n\"b/\" = \"bool\" # why\n"),
            (TEXT, ""),
            (TEXT, "a = \"int\"\n[other]\nb = \"int\"\n"),
            ("[types]\na = \"int\"\n[other]\n", "b = \"int\"\n"),
            ("[types]\na = \"int\"\n[other]\nx = \"\"\"\n[types]\n\"\"\"\n", "b = \"int\"\n"),
            ("[types]\na = \"int", "\"\n"),
            ("[types]\na = \"int\"\n", "a = \"bool\"\n"),
            ("[types]\na = \"int\"\n", "b = 1\n"),
            ("", "[types]\na = \"int\"\n"),
            ("[other]\nx = 1\n[types]\na = \"int\"\n", "[other]\ny = 2\n"),
            ("[other]\nx = 1\n[types]\na = \"int\"\n", "[another]\ny = 2\n"),
        ] {
            let text = format!("{before}{added}");
            let Ok(first) = TypesFile::parse(before) else { continue };
            match (first.followed_by(&text), TypesFile::parse(&text)) {
                (Ok((followed, names)), Ok(whole)) => {
                    assert_eq!(followed.types, whole.types, "{text}");
                    assert_eq!(names, first.difference(&whole), "{text}");
                    assert_eq!(followed.to_string(), text);
                }
                (Err(followed), Err(whole)) => assert_eq!(followed, whole),
                (followed, whole) => panic!("{text}: {followed:?}, {whole:?}"),
            }
        }
    }

    #[test]
    fn a_text_that_turns_out_to_be_wrong_is_not_edited() {
        let text = "[types]\na = \"int\"\n[types]\n";
        let read = TypesFile { text: text.to_owned(), ..file() };
        for edit in [
            |file: &mut TypesFile| file.try_set("new", "int"),
            |file: &mut TypesFile| file.try_set("limits/name", "int"),
            |file: &mut TypesFile| file.try_remove("limits/name"),
        ] {
            let mut file = read.clone();
            assert_eq!(edit(&mut file).expect_err("a table comes twice").line, 3);
            assert_eq!(file.to_string(), text);
        }
        assert_eq!(read.clone().try_set("limits/b", "int"), Ok(false), "that is no edit");
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
