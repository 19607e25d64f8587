//! Garage: it is read and followed, and every write is refused, since it ignores conditions.

use datastream_server::store::{Commit, CommitError, Operation, StoreError};
use datastream_server::stores::s3;

use super::{arrive, setting, state};
use crate::captured_log;
use crate::s3::Garage;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garage_is_followed_and_never_written() {
    captured_log::capture();
    let Some(garage) = Garage::start("garage_is_followed_and_never_written") else { return };
    let tool = garage.tool();
    tool.put("a", Some("int"), "1").await;
    tool.put("b/c.json", None, "{}").await;
    let store = s3::open(&garage.store()).await.expect("it can be served");
    assert_eq!(store.kind(), "s3 (read-only)");
    assert!(
        captured_log::lines_with("read-only").iter().any(|line| line.contains("If-None-Match is ignored"))
    );
    let both = [setting("a", "int", "1"), setting("b/c.json", ".json", "{}")];
    assert_eq!(state(&store).await, both);
    for operation in [
        Operation::put("a", "int", "2"),
        Operation::put("a", "int", "2").expecting(0),
        Operation::put("new", "int", "1"),
        Operation::delete("a"),
    ] {
        let denied = store.commit(Commit::one(operation)).await;
        assert!(matches!(denied, Err(CommitError::Store(StoreError::ReadOnly(_)))), "{denied:?}");
    }
    // By the clock: nobody asks it to look.
    tool.put("a", Some("int"), "3").await;
    arrive(&store, &[setting("a", "int", "3"), both[1].clone()]).await;
    tool.put("ü +%2e", Some("string"), "x").await;
    arrive(&store, &[setting("a", "int", "3"), both[1].clone(), setting("ü +%2e", "string", "x")]).await;
    tool.delete("b/c.json").await;
    arrive(&store, &[setting("a", "int", "3"), setting("ü +%2e", "string", "x")]).await;
    assert_eq!(tool.get("a").await.as_deref(), Some("3"));
}

/// Page after page, of a server that is not ours.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garage_lists_more_than_a_page() {
    let Some(garage) = Garage::start("garage_lists_more_than_a_page") else { return };
    let tool = std::sync::Arc::new(garage.tool());
    for from in (0..1100).step_by(50) {
        let putting = (from..from + 50).map(|n| {
            let tool = tool.clone();
            tokio::spawn(async move { tool.put(&format!("{n:04}"), Some("int"), &n.to_string()).await })
        });
        futures_util::future::try_join_all(putting).await.expect("they are written");
    }
    let store = s3::open(&garage.store()).await.expect("it can be served");
    let all: Vec<_> = (0..1100).map(|n| setting(&format!("{n:04}"), "int", &n.to_string())).collect();
    assert_eq!(state(&store).await, all);
}
