//! What cannot be served: one line that says what and what to do, exit code 2, and a database that is as it was.

use crate::postgres::{Certificates, Cluster, Database, Setup};
use crate::server_process::refused;

use super::TABLE;

/// Runs the program, which refuses to start in one line that has all of `words`.
fn told(store: &str, words: &[&str]) {
    let said = refused(&["--listen", "127.0.0.1:0", "--store", store]);
    // A line before it may tell of what is not used.
    let line = said.lines().last().unwrap_or_default();
    assert!(said.lines().count() == 1 && words.iter().all(|word| line.contains(word)), "{words:?}: {said}");
}

fn database(sql: &str) -> Database {
    let database = Cluster::shared().database();
    database.psql(sql);
    database
}

#[test]
fn a_table_that_cannot_be_served_rightly_is_told() {
    let columns = "value bytea, value_type text, updated_at timestamptz";
    let cases: [(String, &[&str]); 16] = [
        (format!("{TABLE}; CREATE RULE r AS ON INSERT TO data DO ALSO NOTHING"), &["has rules", "triggers"]),
        (String::new(), &["\"data\" does not exist", "CREATE TABLE data (key text PRIMARY KEY", "?table="]),
        ("CREATE TABLE data (key text PRIMARY KEY, value bytea, updated_at timestamptz)".into(), &["no column value_type"]),
        (format!("CREATE TABLE data (key int PRIMARY KEY, {columns})"), &["key integer", "it needs key text"]),
        (
            "CREATE TABLE data (key text PRIMARY KEY, value jsonb, value_type text, updated_at timestamptz)".into(),
            &["value jsonb", "it needs value bytea"],
        ),
        (
            "CREATE TABLE data (key text PRIMARY KEY, value text, value_type text, updated_at text)".into(),
            &["updated_at text", "timestamptz"],
        ),
        (format!("CREATE TABLE data (key text, {columns})"), &["no unique key"]),
        (format!("CREATE TABLE data (key text, {columns}, UNIQUE (key, value))"), &["no unique key"]),
        (format!("CREATE TABLE data (key text PRIMARY KEY DEFERRABLE, {columns})"), &["no unique key", "deferrable"]),
        (format!("CREATE TABLE data (key text PRIMARY KEY, {columns}, owner text NOT NULL)"), &["\"owner\"", "default"]),
        (format!("CREATE UNLOGGED TABLE data (key text PRIMARY KEY, {columns})"), &["not logged"]),
        (format!("CREATE TABLE data (key text PRIMARY KEY, {columns}) PARTITION BY HASH (key)"), &["partitioned"]),
        (format!("CREATE TABLE data (key text PRIMARY KEY, {columns}); CREATE TABLE child () INHERITS (data)"), &["inherit"]),
        (format!("CREATE TABLE base (key text PRIMARY KEY, {columns}); CREATE VIEW data AS SELECT * FROM base"), &["view"]),
        (
            "CREATE TABLE data (key text PRIMARY KEY, value bytea GENERATED ALWAYS AS ('x') STORED, value_type text,
               updated_at timestamptz)"
                .into(),
            &["computes its column value"],
        ),
        (
            format!("CREATE COLLATION same (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
                     CREATE TABLE data (key text COLLATE same PRIMARY KEY, {columns})"),
            &["collation"],
        ),
    ];
    for (sql, words) in cases {
        let database = database(&sql);
        told(&database.url(), words);
        assert_eq!(
            database.psql("SELECT to_regnamespace('datastream') IS NULL"),
            "t",
            "{sql}: nothing is added"
        );
    }
}

#[test]
fn a_role_that_may_not_see_the_rows_is_told_what_to_grant() {
    let database = database(TABLE);
    let role = database.role("stranger");
    told(&role.url(), &["reading the table", "GRANT SELECT ON", role.name()]);
    database.psql(&format!(
        "GRANT SELECT ON data TO {}; ALTER TABLE data ENABLE ROW LEVEL SECURITY",
        role.name()
    ));
    told(&role.url(), &["hides rows", "row level security"]);
}

#[test]
fn whom_the_server_does_not_let_in_is_told_where_the_password_goes() {
    let database = database(TABLE);
    let role = database.role_with_password("writer", "right1");
    let wrong = role.url().replace("right1", "wrong2");
    told(&wrong, &["does not let in", role.name(), "password authentication failed", "PGPASSWORD"]);
    let said = refused(&["--listen", "127.0.0.1:0", "--store", &wrong]);
    assert!(!said.contains("wrong2"), "{said}");
}

#[test]
fn a_place_where_nothing_can_be_served_is_told() {
    let cluster = Cluster::shared();
    told(&cluster.url("nowhere"), &["no database \"nowhere\"", "createdb"]);
    told("postgres://u@127.0.0.1:1/d", &["cannot reach PostgreSQL at 127.0.0.1:1", "refused", "--store"]);
    told(
        "postgres://u@no.such.host.invalid/d?sslmode=disable",
        &["cannot reach PostgreSQL at no.such.host.invalid:5432"],
    );
    cluster.psql("DROP DATABASE IF EXISTS of_latin1");
    cluster.psql("CREATE DATABASE of_latin1 ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0");
    told(&cluster.url("of_latin1"), &["LATIN1", "UTF8"]);
    cluster.psql("DROP DATABASE of_latin1");
}

/// The server's own word for its version is hidden by that of a schema that is looked into first.
#[test]
fn a_server_that_is_too_old_is_told() {
    let database = database(TABLE);
    database.psql(
        "CREATE SCHEMA old;
         CREATE FUNCTION old.current_setting(name text) RETURNS text LANGUAGE sql AS
           $$ SELECT CASE name WHEN 'server_version_num' THEN '120022' ELSE '12.22' END $$",
    );
    database.psql(&format!("ALTER DATABASE {} SET search_path = old, pg_catalog, public", database.name()));
    told(&database.url(), &["PostgreSQL 12.22 is too old", "13"]);
}

#[test]
fn a_certificate_that_proves_nothing_is_told() {
    let certificates = Certificates::new();
    let cluster = Setup::default().tls(&certificates).start();
    let database = cluster.database();
    database.psql(TABLE);
    let url = |host: &str, mode: &str, roots: &std::path::Path| {
        let url = database.url().replace("127.0.0.1", host);
        format!("{url}?sslmode={mode}&sslrootcert={}", roots.display())
    };
    let (ours, foreign) = (certificates.authority(), certificates.foreign_authority());
    for mode in ["verify-full", "require"] {
        told(&url("localhost", mode, &foreign), &["no TLS connection", "UnknownIssuer", "sslrootcert"]);
        told(
            &url("127.0.0.1", mode, &ours),
            &["no TLS connection", "not valid for name", "must name that host"],
        );
    }
    told(&url("localhost", "verify-full", "/nowhere.pem".as_ref()), &["/nowhere.pem", "PEM"]);
    let plain = Cluster::shared().database();
    let unprotected = plain.url().replace("127.0.0.1", "localhost") + "?sslmode=verify-full";
    told(&unprotected, &["no TLS connection", "sslmode=disable"]);
    let server = crate::process::Server::start(&[
        "--listen",
        "127.0.0.1:0",
        "--store",
        &url("localhost", "verify-full", &ours),
    ]);
    let encrypted = "SELECT count(*) > 0 AND bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
      WHERE application_name = 'datastream-server'";
    assert_eq!(database.psql(encrypted), "t");
    drop(server);
}

/// What holds the table is not waited for without end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_others_hold_is_told() {
    let database = database(TABLE);
    let other = database.connect().await;
    other.batch_execute("BEGIN; INSERT INTO data VALUES ('a', '1')").await.expect("it is open");
    let url = database.url();
    tokio::task::spawn_blocking(move || told(&url, &["locked by another transaction"]))
        .await
        .expect("no panic");
}

#[test]
fn a_database_serves_one_table_and_says_which() {
    let database = database(&format!("{TABLE}; {}", TABLE.replace("data", "other")));
    let server = crate::process::Server::start(&["--listen", "127.0.0.1:0", "--store", &database.url()]);
    told(
        &format!("{}?table=other", database.url()),
        &["serves the table \"public.data\"", "not \"public.other\"", "detach"],
    );
    drop(server);
    let other = self::database(&format!("{TABLE}; CREATE SCHEMA datastream CREATE TABLE log (theirs int)"));
    told(&other.url(), &["schema datastream holds something else", "rename"]);
    assert_eq!(other.psql("SELECT count(*) FROM datastream.log"), "0", "it is left as it was");
    database.psql("DROP TABLE datastream.request");
    told(&database.url(), &["lacks a part", "detach"]);
}
