//! What a file may hold, and what is found when it was changed.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use datastream::key::Selector;
use datastream::position::Position;

use super::format::framed;
use super::{Kept, LastGood, Unfit, decode, encode};
use crate::snapshot::{Held, Snapshot};
use crate::status::Origin;

fn held(text: &str, revision: u64) -> Arc<Held> {
    let value = Bytes::copy_from_slice(text.as_bytes());
    Arc::new(Held { value, value_type: "int".into(), revision, origin: Origin::Live, below: None })
}

fn kept(covered: &[&str], values: &[(&str, u64)], revision: u64) -> Kept {
    let position = Position { revision, token: Bytes::from_static(b"token") };
    let covered = covered.iter().map(|entry| Selector::parse(entry).expect("it is an entry"));
    let values = values.iter().map(|&(key, revision)| (Arc::from(key), held("70000", revision)));
    let state = Snapshot::assembled(Origin::Cache, Some(position), covered.collect(), values);
    let confirmed = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
    Kept { server: "localhost:8080".to_owned(), confirmed, state: Arc::new(state) }
}

/// A small file with everything in it.
fn file() -> Vec<u8> {
    let last_good = LastGood::from([(Arc::from("n"), held("100", 3))]);
    encode(&kept(&["n", "limits/", "missing"], &[("n", 7), ("limits/rate", 2)], 9), &last_good)
}

#[test]
fn what_is_written_is_read() {
    let read = decode(&file(), Origin::Cache).expect("it is whole");
    assert_eq!((read.server.as_str(), read.confirmed), ("localhost:8080", kept(&[], &[], 9).confirmed));
    assert_eq!(read.state.position(), kept(&[], &[], 9).state.position());
    assert_eq!(read.state.keys().collect::<Vec<_>>(), ["limits/rate", "n"]);
    assert!(["n", "limits/other", "missing"].iter().all(|key| read.state.covers(key)));
    let n = read.state.held("n").expect("it has a value");
    assert_eq!((&n.value[..], n.revision, n.origin), (&b"70000"[..], 7, Origin::Cache));
    let below = n.below.as_ref().expect("it has a last good value");
    assert_eq!((&below.value[..], below.revision, below.origin), (&b"100"[..], 3, Origin::Cache));
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let file = file();
    for end in 0..file.len() {
        assert!(decode(&file[..end], Origin::Cache).is_err(), "cut at {end}");
    }
    assert!(decode(&[&file[..], b"\0"].concat(), Origin::Cache).is_err(), "one byte too many");
}

#[test]
fn a_file_with_any_bit_flipped_is_refused() {
    let mut file = file();
    for bit in 0..8 * file.len() {
        file[bit / 8] ^= 1 << (bit % 8);
        assert!(decode(&file, Origin::Cache).is_err(), "bit {bit}");
        file[bit / 8] ^= 1 << (bit % 8);
    }
    assert!(decode(&file, Origin::Cache).is_ok(), "it is whole again");
}

#[test]
fn a_file_of_another_version_or_another_program_says_so() {
    let text = |text: &str| decode(text.as_bytes(), Origin::Cache).expect_err("it is not ours");
    assert!(matches!(text("datastream-settings 2 anything else\n"), Unfit::Version));
    for foreign in ["", "{}", "SQLite format 3\0", "datastream-settingsX1 0 00000000\n"] {
        assert!(matches!(text(foreign), Unfit::Foreign), "{foreign}");
    }
}

/// Such a file would be none at the next start, although most of it is good.
#[test]
fn what_could_not_be_read_again_is_not_written() {
    let whole = kept(&["a", "p/"], &[("a", 3), ("p//x", 4)], 9);
    let mut covered = whole.state.covered().clone();
    covered.insert(Selector::Key("p//x".into()));
    let values = [("a", 3), ("p//x", 4)].map(|(key, revision)| (Arc::from(key), held("70000", revision)));
    let left = Arc::new(Snapshot::assembled(Origin::Cache, None, covered, values));
    let left = Kept { state: left, server: whole.server.clone(), ..whole };
    for (kept, revision) in [(whole, 3), (left, 0)] {
        let read = decode(&encode(&kept, &LastGood::new()), Origin::Cache).expect("it can be read");
        let values: Vec<_> = read.state.entries().map(|(key, held)| (&**key, held.revision)).collect();
        assert_eq!(values, [("a", revision)]);
        assert!(read.state.covers("p/y"));
    }
}

#[test]
fn a_rule_broken_under_a_good_checksum_is_refused() {
    let table = [
        ("a value that is not covered", kept(&["a"], &[("b", 1)], 9)),
        ("a value newer than its position", kept(&["a"], &[("a", 10)], 9)),
        ("half a position", kept(&["a"], &[("a", 0)], 0)),
    ];
    for (rule, kept) in table {
        let read = decode(&encode(&kept, &LastGood::new()), Origin::Cache);
        assert!(matches!(read, Err(Unfit::Invalid(_))), "{rule}");
    }
    let file = encode(&kept(&["a/"], &[("a/b/c", 1)], 9), &LastGood::new());
    let at =
        |wanted: &[u8]| file.windows(wanted.len()).position(|found| found == wanted).expect("it is there");
    let (line, key) = (at(b"\n"), at(b"a/b/c"));
    let mut changed = file.clone();
    changed[key..][..5].copy_from_slice(b"a/b//");
    let read = decode(&framed(&changed[line + 1..]), Origin::Cache);
    assert!(matches!(read, Err(Unfit::Invalid(_))), "a value whose key is none");
}
