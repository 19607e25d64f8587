//! Files in the place of the cache that are none: the client goes on as without one, and says so in its log.

use std::fs;
use std::path::{Path, PathBuf};

use datastream_client::{Client, Origin, State, Watch};
use datastream_server::testing::TestServer;
use tempfile::TempDir;

use crate::captured_log;
use crate::wire::{eventually, within};

/// A client that keeps its state in `path`, and its handle of `n`.
fn keeping(server: &TestServer, path: &Path) -> (Client, Watch<i64>) {
    let client = Client::builder(server.url()).cache_file(path).connect();
    let n = client.watch::<i64>("n");
    (client, n)
}

/// A folder, and a good cache in it, where `n` is 10.
async fn good(server: &TestServer) -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("good");
    let (client, n) = keeping(server, &path);
    within("ready", n.ready()).await.expect("it is there");
    within("its end", client.close()).await;
    (folder, path)
}

#[tokio::test]
pub(super) async fn row_92_a_file_that_is_damaged_anywhere_is_as_none() {
    captured_log::capture();
    let server = TestServer::start().with("n", 10_i64);
    let (folder, path) = good(&server).await;
    let good = fs::read(&path).expect("it was written");
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let cut = (0..good.len()).map(|at| good[..at].to_vec());
    let flips = (0..good.len()).map(flipped);
    let others = [[&b"datastream-settings 9 "[..], &good[22..]].concat(), b"[settings]\nn = 66\n".to_vec()];
    let silence = server.silence();
    let clients: Vec<_> = (0..)
        .zip(cut.chain(flips).chain(others))
        .map(|(number, bytes)| {
            let path = folder.path().join(format!("bad-{number:04}"));
            fs::write(&path, bytes).expect("the folder can be written");
            let (client, n) = keeping(&server, &path);
            (path, client, n)
        })
        .collect();
    for (path, _client, n) in &clients {
        let named = || captured_log::lines_with(&format!("{}", path.display())).len() == 1;
        eventually("it is named", named).await;
        assert_eq!((n.get(), n.status().state), (None, State::NotReady), "{}", path.display());
    }
    drop(silence);
    for (_, _client, n) in &clients {
        eventually("the server's", || n.get() == Some(10) && n.status().origin == Origin::Live).await;
    }
    let (path, client, n) = &clients[0];
    within("its end", client.close()).await;
    drop(server);
    let nobody = Client::builder("http://127.0.0.1:1").cache_file(path).connect();
    assert_eq!((n.get(), nobody.watch::<i64>("n").get()), (Some(10), None), "of another server");
}

#[tokio::test]
pub(super) async fn row_92_the_cache_of_another_server_is_as_none() {
    let server = TestServer::start().with("n", 10_i64);
    let (_folder, path) = good(&server).await;
    let other = TestServer::start().with("m", 1_i64);
    let (client, n) = keeping(&other, &path);
    let m = client.watch::<i64>("m");
    within("ready", m.ready()).await.expect("it is there");
    assert_eq!(n.get(), None);
}

#[cfg(unix)]
#[tokio::test]
pub(super) async fn row_92_a_link_a_directory_a_device_and_a_place_that_cannot_be_written_stop_nothing() {
    use std::os::unix::fs::symlink;

    let server = TestServer::start().with("n", 10_i64);
    let (folder, good) = good(&server).await;
    let before = fs::read(&good).expect("it is there");
    let at = |name: &str| folder.path().join(name);
    symlink(&good, at("link")).expect("a link");
    symlink(at("nowhere"), at("dangling")).expect("a link");
    fs::create_dir(at("directory")).expect("a directory");
    symlink("/dev/full", at("full")).expect("a link");
    let places = [
        at("link"),
        at("dangling"),
        at("directory"),
        at("full"),
        at("good/below/a/file"),
        at("no/such/folder"),
    ];
    for path in places {
        let (client, n) = keeping(&server, &path);
        let what = path.display();
        within("ready", n.ready()).await.unwrap_or_else(|why| panic!("{what}: {why}"));
        assert_eq!((n.get(), n.status().origin), (Some(10), Origin::Live), "{what}");
        within("its end", client.close()).await;
    }
    assert_eq!(fs::read(&good).expect("it is there"), before, "a link leads to no file that is changed");
}
