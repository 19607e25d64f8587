//! PostgreSQL for tests: clusters, poolers and standbys of their own, from the packages of Debian.
//!
//! Start with [`Cluster::shared`] and [`Cluster::database`]. Who ends a server, or changes its settings, starts one for
//! itself: [`Cluster::start`], or a [`Setup`]. Everything is on 127.0.0.1 and in temporary folders, and ends with the
//! test, also when that is killed. What is not installed fails the test, and says what to install.

mod account;
mod certificates;
mod cluster;
mod daemon;
mod database;
mod pooler;
mod port;
mod processes;
mod programs;
mod psql;
mod role;
mod server;
mod setup;
mod standby;
#[cfg(test)]
mod tests;
mod wait;

pub(crate) use self::certificates::Certificates;
pub(crate) use self::cluster::Cluster;
pub(crate) use self::daemon::Daemon;
pub(crate) use self::database::Database;
pub(crate) use self::pooler::Pooler;
pub(crate) use self::port::free as free_port;
pub(crate) use self::psql::psql;
pub(crate) use self::setup::Setup;
pub(crate) use self::standby::Standby;
pub(crate) use self::wait::until;
