//! One entry of what a request asks for.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::{KeyError, check, check_characters, check_segments};

/// One entry of `DataRequest.keys`: a key, or everything below a prefix.
///
/// Made by [`Selector::parse`]. It orders, compares and hashes as the text that was asked for, so that a
/// set of selectors can be searched with a `&str`. A clone shares the text.
#[derive(Clone)]
pub enum Selector {
    /// Exactly this key.
    Key(Arc<str>),
    /// Every key that begins with this, which ends in `/`.
    Prefix(Arc<str>),
}

impl Selector {
    /// Reads an entry: with a `/` at its end it is a prefix, otherwise a key.
    ///
    /// # Errors
    ///
    /// The first rule of keys that it breaks. There is no prefix `/`: everything is asked for by naming
    /// nothing.
    pub fn parse(text: &str) -> Result<Self, KeyError> {
        let Some(path) = text.strip_suffix('/') else {
            check(text)?;
            return Ok(Self::Key(text.into()));
        };
        check_characters(text)?;
        check_segments(path)?;
        Ok(Self::Prefix(text.into()))
    }

    /// The entry as it was asked for: a prefix with its `/`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        match self {
            Self::Key(text) | Self::Prefix(text) => text,
        }
    }

    /// Whether it asks for `key`.
    #[must_use]
    pub fn matches(&self, key: &str) -> bool {
        match self {
            Self::Key(text) => **text == *key,
            Self::Prefix(text) => key.starts_with(&**text),
        }
    }

    /// Whether it asks for all that `other` asks for: `a/` includes `a/b`, `a/b/` and itself.
    #[must_use]
    pub fn includes(&self, other: &Self) -> bool {
        self.matches(other.as_str())
    }
}

impl Borrow<str> for Selector {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl PartialEq for Selector {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for Selector {}

impl PartialOrd for Selector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Selector {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for Selector {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Debug for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}
