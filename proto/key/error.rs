//! Why a string is not a key.

use super::MAX_BYTES;

/// The rule that a string breaks which should be a key or a prefix.
///
/// The texts name the rule and never the key, so that they can go to a peer as they are; put
/// [`shown`](super::shown) of the key beside them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is nothing in it.
    #[error("a key has at least one byte")]
    Empty,
    /// It is longer than [`MAX_BYTES`].
    #[error("a key has at most {MAX_BYTES} bytes")]
    TooLong,
    /// It begins with `/`.
    #[error("a key does not begin with `/`; leave it out")]
    LeadingSlash,
    /// It ends with `/`, which means a prefix, where one key is needed.
    #[error("a key does not end with `/`: that is a prefix, and only for reading")]
    TrailingSlash,
    /// Two `/` stand side by side.
    #[error("a key has no empty segment; write one `/` where there are two")]
    EmptySegment,
    /// A segment is `.` or `..`.
    #[error("no segment of a key is `.` or `..`; keys are names and not paths")]
    DotSegment,
    /// A segment is `.git`, in any case.
    #[error("no segment of a key is `.git`, in any case; choose another name")]
    GitSegment,
    /// It contains `\`.
    #[error("a key has no backslash; divide its segments with `/`")]
    Backslash,
    /// It contains a control character.
    #[error("a key has no control character; leave it out")]
    Control,
    /// It contains a character that steers the direction of text, breaks a line, or has no width.
    #[error("a key has no bidirectional, line-breaking or zero-width character; leave it out")]
    Invisible,
}
