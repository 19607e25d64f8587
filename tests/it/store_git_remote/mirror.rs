//! The mirror is the server's, and so is its upkeep.

use datastream_server::store::{Retention, Store as _};

use crate::git::{Repository, run};

use super::open;

/// So many that git calls it much.
const FILES: usize = 9000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mirror_in_which_much_has_gathered_is_packed_and_loses_nothing() {
    let files: Vec<_> = (0..FILES).map(|number| (format!("many/{number}"), number.to_string())).collect();
    let files: Vec<_> = files.iter().map(|(path, text)| (&**path, &**text)).collect();
    let repository = Repository::holding(&files);
    let store = open(&repository.remote("mirror")).await.expect("it can be served");
    // As if each had come by a fetch of its own.
    let mirror = repository.folder().join("mirror");
    let unpack = "mkdir aside && mv objects/pack/*.pack aside/ && rm -f objects/pack/* &&
                  for pack in aside/*; do git unpack-objects -q <$pack; done && rm -r aside";
    let unpacked = std::process::Command::new("sh").args(["-ec", unpack]).current_dir(&mirror).status();
    assert!(unpacked.expect("there is a shell").success());
    let loose = || -> usize {
        let counted = run(&mirror, &["count-objects"]);
        counted.split(' ').next().and_then(|count| count.parse().ok()).expect("a number")
    };
    assert!(loose() >= FILES, "{}", loose());
    store.compact(Retention::default()).await.expect("compact");
    assert!(loose() < FILES / 100, "{}", loose());
    run(&mirror, &["fsck", "--connectivity-only"]);
    let live = store.load().await.expect("load").changes.len();
    repository.person().commit(&[("one more", "1")]);
    store.refresh().await.expect("it goes on");
    assert_eq!((live, store.load().await.expect("load").changes.len()), (FILES, FILES + 1));
}
