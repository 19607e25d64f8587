//! What befalls a server, its connections or its database while a crowd writes.

use fastrand::Rng;

use super::scene::Scene;

/// A fault, which is over when [`strike`](Self::strike) returns, as far as it ever is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Fault {
    /// The database ends one connection of a server.
    OneConnection,
    /// The database ends every connection of both.
    AllConnections,
    /// A server is killed, and started again.
    Kill,
    /// The database is restarted, as an administrator does.
    Restart,
    /// The database is killed with all its processes, and started again.
    Crash,
}

/// So many faults: each kind as often as the others, in any order.
pub(super) fn sequence(rng: &mut Rng, rounds: usize) -> Vec<Fault> {
    let kinds = [Fault::OneConnection, Fault::AllConnections, Fault::Kill, Fault::Restart, Fault::Crash];
    let mut faults = Vec::with_capacity(rounds);
    while faults.len() < rounds {
        let mut kinds = kinds;
        rng.shuffle(&mut kinds);
        faults.extend(kinds);
    }
    faults.truncate(rounds);
    faults
}

impl Fault {
    pub(super) fn strike(self, scene: &mut Scene) {
        match self {
            Self::OneConnection => end_connections(scene, "ORDER BY random() LIMIT 1"),
            Self::AllConnections => end_connections(scene, ""),
            Self::Kill => {
                let which = scene.rng.usize(..2);
                scene.members[which].kill_and_start();
            }
            Self::Restart => {
                scene.database.cluster().stop();
                scene.database.cluster().start_again();
            }
            Self::Crash => {
                scene.database.cluster().kill();
                scene.database.cluster().start_again();
            }
        }
    }
}

fn end_connections(scene: &Scene, which: &str) {
    let ended = scene.database.psql(&format!(
        "SELECT count(pg_terminate_backend(pid)) FROM (
           SELECT pid FROM pg_stat_activity WHERE application_name = 'datastream-server' {which}) AS ours"
    ));
    assert_ne!(ended, "0", "no server is connected");
}
