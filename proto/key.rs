//! Keys: which strings are keys, what a request may ask for, and how a key is shown to people.
//!
//! A key is compared byte by byte. Nothing here decodes, folds or normalises one: `%2e` is three
//! characters, `A` and `a` are two keys, and so are the composed and the decomposed form of an accented
//! letter. A key is not a path, and nothing may be built from it that some other parser reads as one.

mod error;
mod selector;
mod set;

pub use error::KeyError;
pub use selector::Selector;
pub use set::KeySet;

/// The most bytes that a key, or a prefix with its `/`, may have.
pub const MAX_BYTES: usize = 512;

/// The most bytes of a key that [`shown`] lets through: enough to recognise it, too few to fill a log.
const SHOWN_BYTES: usize = 128;

/// Checks that `key` names one setting: for writes, and for reads of exactly that key.
///
/// # Errors
///
/// The first rule that it breaks.
pub fn check(key: &str) -> Result<(), KeyError> {
    check_characters(key)?;
    if key.ends_with('/') {
        return Err(KeyError::TrailingSlash);
    }
    check_segments(key)
}

/// The prefixes that a key lies below, the widest first: `a/` and `a/b/` for `a/b/c`. A prefix does not
/// lie below itself.
pub fn ancestors(key: &str) -> impl Iterator<Item = &str> {
    key.match_indices('/').map(|(slash, _)| &key[..=slash]).filter(move |prefix| prefix.len() < key.len())
}

/// A key, or any other string of a peer, as it may stand in a log or an error text.
///
/// Escaped in the manner of a Rust literal, so that no control, bidirectional, invisible or combining
/// character survives; what is then longer than 128 bytes is cut and ends in `…`.
pub fn shown(key: &str) -> impl std::fmt::Display + use<> {
    const ELLIPSIS: char = '…';
    let mut text = String::new();
    let mut cut = 0;
    for character in key.chars() {
        if is_invisible(character) {
            text.extend(character.escape_unicode());
        } else {
            text.extend(character.escape_debug());
        }
        if text.len() > SHOWN_BYTES {
            text.truncate(cut);
            text.push(ELLIPSIS);
            break;
        }
        if text.len() + ELLIPSIS.len_utf8() <= SHOWN_BYTES {
            cut = text.len();
        }
    }
    text
}

/// Checks what holds for a key and a prefix as a whole.
fn check_characters(text: &str) -> Result<(), KeyError> {
    if text.is_empty() {
        return Err(KeyError::Empty);
    }
    if text.len() > MAX_BYTES {
        return Err(KeyError::TooLong);
    }
    if text.starts_with('/') {
        return Err(KeyError::LeadingSlash);
    }
    text.chars().try_for_each(|character| match character {
        '\\' => Err(KeyError::Backslash),
        _ if character.is_control() => Err(KeyError::Control),
        _ if is_invisible(character) => Err(KeyError::Invisible),
        _ => Ok(()),
    })
}

/// Checks what holds for each segment of a path without a `/` at its ends.
fn check_segments(path: &str) -> Result<(), KeyError> {
    path.split('/').try_for_each(|segment| match segment {
        "" => Err(KeyError::EmptySegment),
        "." | ".." => Err(KeyError::DotSegment),
        _ if segment.eq_ignore_ascii_case(".git") => Err(KeyError::GitSegment),
        _ => Ok(()),
    })
}

/// Whether a character steers the direction of text, breaks a line, or has no width: with those, two keys
/// that look the same differ, or one looks like another. The soft hyphen is among them, because most
/// programs do not draw it. Beside the marks of direction and the line breaks, these are the characters that
/// Unicode calls default ignorable.
const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{fff0}'..='\u{fff8}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}
