//! Variables of the environment that name keys.

use std::collections::HashMap;
use std::env;

/// What they begin with.
const PREFIX: &str = "DATASTREAM_OVERRIDE_";

/// The variables that were set when the client was made.
#[derive(Debug, Default)]
pub(super) struct Environment {
    texts: HashMap<String, String>,
}

impl Environment {
    /// Reads it. A variable that is not UTF-8 is named in the log and left out.
    pub(super) fn read() -> Self {
        Self::of(env::vars_os().filter_map(|(name, text)| {
            let name = name.into_string().ok().filter(|name| name.starts_with(PREFIX))?;
            if text.to_str().is_none() {
                tracing::warn!(name, "an override is not used: it is no UTF-8");
            }
            Some((name, text.into_string().ok()?))
        }))
    }

    /// These very variables.
    pub(super) fn of(texts: impl IntoIterator<Item = (String, String)>) -> Self {
        Self { texts: texts.into_iter().collect() }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.texts.is_empty()
    }

    /// The text that overrides `key`.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        if self.texts.is_empty() {
            return None;
        }
        self.texts.get(&variable(key)).map(String::as_str)
    }
}

/// The name of the variable of a key. Several keys may have the same.
fn variable(key: &str) -> String {
    let mut name = PREFIX.to_owned();
    for character in key.chars() {
        match character {
            '/' => name.push_str("__"),
            letter if letter.is_ascii_alphanumeric() => name.push(letter.to_ascii_uppercase()),
            _ => name.push('_'),
        }
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_variable_is_the_key_in_capitals_with_two_underscores_for_a_slash() {
        let table = [
            ("max_connections", "DATASTREAM_OVERRIDE_MAX_CONNECTIONS"),
            ("limits/rate", "DATASTREAM_OVERRIDE_LIMITS__RATE"),
            ("a-b.c", "DATASTREAM_OVERRIDE_A_B_C"),
            ("größe", "DATASTREAM_OVERRIDE_GR__E"),
        ];
        for (key, name) in table {
            assert_eq!(variable(key), name);
        }
    }

    #[test]
    fn a_key_is_overridden_by_its_own_variable_only() {
        let environment = Environment::of([("DATASTREAM_OVERRIDE_A__B".to_owned(), "1".to_owned())]);
        assert_eq!((environment.get("a/b"), environment.get("a")), (Some("1"), None));
    }
}
