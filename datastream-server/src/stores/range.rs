//! The texts that begin with a prefix, as a range.

/// `a/` as `a0`, which is the first text behind all that begins with `a/`.
pub(super) fn behind(prefix: &str) -> String {
    format!("{}0", prefix.strip_suffix('/').unwrap_or(prefix))
}
