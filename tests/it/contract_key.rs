//! The grammar of keys, and sets of them.

use datastream::key::{self, KeyError, KeySet, Selector};

fn selector(text: &str) -> Selector {
    Selector::parse(text).expect("a selector of the test is well-formed")
}

fn set(entries: &[&str]) -> KeySet {
    entries.iter().copied().map(selector).collect()
}

#[test]
fn a_key_that_breaks_a_rule_is_refused_with_that_rule() {
    let longest = "k".repeat(key::MAX_BYTES);
    let cases: &[(&str, KeyError)] = &[
        ("", KeyError::Empty),
        (&format!("{longest}k"), KeyError::TooLong),
        (&"k".repeat(1 << 20), KeyError::TooLong),
        (&"\u{e9}".repeat(257), KeyError::TooLong),
        ("../../etc/passwd", KeyError::DotSegment),
        ("a/../b", KeyError::DotSegment),
        ("./a", KeyError::DotSegment),
        ("a/.", KeyError::DotSegment),
        ("..", KeyError::DotSegment),
        ("/etc/passwd", KeyError::LeadingSlash),
        ("/", KeyError::LeadingSlash),
        ("//", KeyError::LeadingSlash),
        ("C:\\x", KeyError::Backslash),
        ("\\\\host\\x", KeyError::Backslash),
        ("a\0b", KeyError::Control),
        ("a\rb", KeyError::Control),
        ("a\nb", KeyError::Control),
        ("a\tb", KeyError::Control),
        ("a\u{1b}[31m", KeyError::Control),
        ("a\u{7f}", KeyError::Control),
        ("a\u{85}", KeyError::Control),
        ("a\u{9f}", KeyError::Control),
        ("a/", KeyError::TrailingSlash),
        ("a//b", KeyError::EmptySegment),
        (".git/config", KeyError::GitSegment),
        (".git", KeyError::GitSegment),
        ("x/.GIT/y", KeyError::GitSegment),
        ("x/.gIt", KeyError::GitSegment),
    ];
    for (text, rule) in cases {
        assert_eq!(key::check(text), Err(*rule), "{}", key::shown(text));
    }
}

#[test]
fn characters_that_hide_are_refused_and_their_neighbours_are_not() {
    let ranges = [
        '\u{ad}'..='\u{ad}',
        '\u{34f}'..='\u{34f}',
        '\u{61c}'..='\u{61c}',
        '\u{115f}'..='\u{1160}',
        '\u{17b4}'..='\u{17b5}',
        '\u{180b}'..='\u{180f}',
        '\u{200b}'..='\u{200f}',
        '\u{2028}'..='\u{202e}',
        '\u{2060}'..='\u{206f}',
        '\u{3164}'..='\u{3164}',
        '\u{fe00}'..='\u{fe0f}',
        '\u{feff}'..='\u{feff}',
        '\u{ffa0}'..='\u{ffa0}',
        '\u{fff0}'..='\u{fff8}',
        '\u{1bca0}'..='\u{1bca3}',
        '\u{1d173}'..='\u{1d17a}',
        '\u{e0000}'..='\u{e0fff}',
    ];
    for character in ('\u{a0}'..=char::MAX).chain(' '..='[') {
        let hides = ranges.iter().any(|range| range.contains(&character));
        let expected = if hides { Err(KeyError::Invisible) } else { Ok(()) };
        assert_eq!(key::check(&format!("a{character}b")), expected, "U+{:04X}", u32::from(character));
    }
}

#[test]
fn everything_else_is_a_key_and_taken_literally() {
    let longest = "k".repeat(key::MAX_BYTES);
    let keys = [
        longest.as_str(),
        "a",
        "a/b/c",
        "C:x",
        "..%2f..%2fetc",
        "%2e%2e/x",
        "..%252f",
        "%2e",
        "...",
        "a..b/.hidden/x.",
        " ",
        " a / b ",
        ".gitmodules",
        "git~1",
        ".git x",
        "x.git/y",
        "a,b",
        "a'b\"c",
        "100%_*?",
        "$1",
        "--help",
        "; DROP TABLE data",
        "\u{43f}\u{430}\u{440}/\u{1f680}",
    ];
    for text in keys {
        assert_eq!(key::check(text), Ok(()), "{}", key::shown(text));
        assert_eq!(selector(text).as_str(), text);
    }
}

#[test]
fn keys_that_look_alike_are_distinct() {
    let pairs = [("A", "a"), ("\u{e9}", "e\u{301}"), ("\u{430}", "a"), ("%61", "a")];
    for (one, other) in pairs {
        assert!(key::check(one).is_ok() && key::check(other).is_ok());
        assert_ne!(selector(one), selector(other));
        assert!(!set(&[one]).matches(other));
        assert_ne!(key::shown(one).to_string(), key::shown(other).to_string());
    }
}

#[test]
fn a_trailing_slash_asks_for_a_prefix_and_obeys_the_same_rules() {
    assert!(matches!(selector("a/b/"), Selector::Prefix(text) if &*text == "a/b/"));
    assert!(matches!(selector("a/b"), Selector::Key(text) if &*text == "a/b"));
    let longest = format!("{}/", "k".repeat(key::MAX_BYTES - 1));
    assert_eq!(selector(&longest).as_str(), longest);
    let cases = [
        ("", KeyError::Empty),
        ("/", KeyError::LeadingSlash),
        ("a//", KeyError::EmptySegment),
        ("../", KeyError::DotSegment),
        (".git/", KeyError::GitSegment),
        ("a\\/", KeyError::Backslash),
        ("a\n/", KeyError::Control),
        ("\u{feff}/", KeyError::Invisible),
        (&format!("k{longest}"), KeyError::TooLong),
    ];
    for (text, rule) in cases {
        assert_eq!(Selector::parse(text), Err(rule), "{}", key::shown(text));
    }
}

#[test]
fn a_prefix_ends_at_a_segment() {
    let app = selector("app/");
    let expected = [("app/x", true), ("app/x/y", true), ("app", false), ("app2/x", false), ("App/x", false)];
    for (text, matched) in expected {
        assert_eq!(app.matches(text), matched, "{text}");
        assert_eq!(set(&["app/"]).matches(text), matched, "{text}");
    }
}

#[test]
fn a_selector_includes_what_it_asks_for_and_no_more() {
    let cases = [
        ("a/", "a/b", true),
        ("a/", "a/b/", true),
        ("a/", "a/", true),
        ("a", "a", true),
        ("a/b/", "a/", false),
        ("a/", "a", false),
        ("a", "a/", false),
        ("a", "a/b", false),
        ("a/", "ab", false),
    ];
    for (outer, inner, included) in cases {
        assert_eq!(selector(outer).includes(&selector(inner)), included, "{outer} {inner}");
        assert_eq!(set(&[outer]).includes(&selector(inner)), included, "{outer} {inner}");
    }
}

#[test]
fn ancestors_are_the_prefixes_above_a_key() {
    let above = |text| key::ancestors(text).collect::<Vec<_>>();
    assert_eq!(above("a/b/c"), ["a/", "a/b/"]);
    assert_eq!(above("a/b/"), ["a/"]);
    assert!(above("a").is_empty() && above("").is_empty());
}

/// The set answers by look-up what each of its selectors answers by itself.
#[test]
fn a_set_matches_what_one_of_its_selectors_matches() {
    let texts = ["a", "b", "a/a", "a/b", "ab", "a/a/a", "a/b/a", "b/a"];
    let entries = ["a", "a/", "a/a", "a/b/", "ab", "b/"];
    for chosen in 0..1_u32 << entries.len() {
        let chosen = entries.iter().enumerate().filter(|(bit, _)| chosen & 1 << bit != 0);
        let set: KeySet = chosen.map(|(_, text)| selector(text)).collect();
        for text in texts {
            assert_eq!(set.matches(text), set.iter().any(|entry| entry.matches(text)), "{set:?} {text}");
        }
        for text in entries {
            let entry = selector(text);
            assert_eq!(
                set.includes(&entry),
                set.iter().any(|outer| outer.includes(&entry)),
                "{set:?} {text}"
            );
        }
    }
}

#[test]
fn a_set_keeps_its_entries_and_names_the_outermost() {
    let mut covered = set(&["a/", "a/b", "a/b/", "c", "c/d/", "c/d/e/", "a"]);
    assert_eq!(covered.len(), 7);
    assert_eq!(covered.keys().map(|key| &**key).collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(covered.prefixes().map(|prefix| &**prefix).collect::<Vec<_>>(), ["a/", "c/d/"]);
    assert!(covered.contains_selector(&selector("a/b")) && !covered.contains_selector(&selector("a/x")));

    assert!(!covered.insert(selector("a/b")) && covered.insert(selector("z")));
    assert!(covered.remove(&selector("a/")) && !covered.remove(&selector("a/")));
    assert_eq!(covered.keys().map(|key| &**key).collect::<Vec<_>>(), ["a", "a/b", "c", "z"]);
    assert!(!covered.matches("a/x") && covered.matches("a/b/x"));
}

#[test]
fn everything_covers_all_and_has_no_entries() {
    let mut all = KeySet::all();
    assert!(all.is_all() && !all.is_empty());
    assert_eq!((all.len(), all.iter().next()), (0, None));
    assert!(all.matches("a") && all.includes(&selector("a/")));
    assert!(!all.insert(selector("a")) && !all.contains_selector(&selector("a")));
    assert_eq!(all, KeySet::all());
    assert_ne!(all, KeySet::new());
    assert!(KeySet::default().is_empty() && !KeySet::new().matches("a"));
}

#[test]
fn an_error_names_the_rule_and_not_the_key() {
    for text in ["hidden\\", "hidden/", "hidden//x", "hidden\u{7}", ".git/hidden", "hidden\u{200b}"] {
        let error = key::check(text).expect_err("the key breaks a rule");
        assert!(!error.to_string().contains("hidden") && !error.to_string().contains(char::is_control));
    }
}

#[test]
fn a_shown_key_is_escaped_and_at_most_128_bytes() {
    assert_eq!(
        key::shown("app/\u{43f}\u{43e}\u{440}\u{442}").to_string(),
        "app/\u{43f}\u{43e}\u{440}\u{442}"
    );
    assert_eq!(
        key::shown("a\r\nb\0\u{1b}\u{202e}\u{200b}\u{2028}").to_string(),
        "a\\r\\nb\\0\\u{1b}\\u{202e}\\u{200b}\\u{2028}"
    );
    assert_eq!(key::shown(&"k".repeat(128)).to_string(), "k".repeat(128));
    assert_eq!(key::shown(&"k".repeat(129)).to_string(), format!("{}\u{2026}", "k".repeat(125)));
    for filler in ["\u{43f}", "\u{202e}", "\u{1f680}", "\n"] {
        for offset in 0..8 {
            let shown = key::shown(&format!("{}{}", "k".repeat(offset), filler.repeat(1000))).to_string();
            assert!(shown.len() <= 128 && shown.len() > 110 && shown.ends_with('\u{2026}'), "{shown}");
        }
    }
}

#[test]
fn no_character_that_a_key_may_not_have_survives_being_shown() {
    for character in ('\0'..=char::MAX).filter(|character| *character != '\\') {
        let text = character.to_string();
        if matches!(key::check(&text), Err(KeyError::Control | KeyError::Invisible)) {
            assert!(key::shown(&text).to_string().is_ascii(), "U+{:04X}", u32::from(character));
        }
    }
}
