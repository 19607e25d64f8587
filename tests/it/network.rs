//! Two hosts and a router between them that can drop every packet, as network namespaces that nobody else sees.
//!
//! A test runs itself once more inside of them, so nothing is left when it is killed, and where the system allows user
//! namespaces it needs no rights. The test is one host; a server is started on the other one.

use std::io::Write as _;
use std::process::Command;

use crate::process::{Server, command};

/// Set inside.
const INSIDE: &str = "DATASTREAM_INSIDE_NETWORK";

/// How the set-up says that it could not be done.
const NOT_POSSIBLE: i32 = 77;

/// Makes the network and runs the command that it is given.
const SET_UP: &str = r#"{
    mount -t tmpfs none /run && ip link set lo up && ip netns add router && ip netns add server &&
    ip link add to-router type veth peer name to-test netns router &&
    ip link add to-server netns router type veth peer name to-router netns server &&
    ip address add 10.0.1.1/24 dev to-router && ip link set to-router up &&
    ip -n router address add 10.0.1.254/24 dev to-test && ip -n router link set to-test up &&
    ip -n router address add 10.0.2.254/24 dev to-server && ip -n router link set to-server up &&
    ip -n server link set to-router up &&
    for host in 1 2 3 4 5; do ip -n server address add 10.0.2.$host/24 dev to-router || exit 77; done &&
    ip route add 10.0.2.0/24 via 10.0.1.254 && ip -n server route add 10.0.1.0/24 via 10.0.2.254 &&
    ip netns exec router sh -c 'echo 1 >/proc/sys/net/ipv4/ip_forward'
} || exit 77
exec "$0" "$@""#;

/// How many addresses the other host has.
pub(crate) const HOSTS: usize = 5;

/// Runs the test of this name inside such a network, unless this is inside already: then it returns true. Where that
/// cannot be, it is said as a test that was skipped.
pub(crate) fn enter(test: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    // The second is for a root that may make namespaces, but none of users.
    let flags = [&["--map-root-user", "--net", "--mount"][..], &["--net", "--mount"]];
    match flags.into_iter().find_map(|flags| run_inside(flags, test)) {
        Some(said) => {
            assert!(said.contains("test result: ok. 1 passed"), "it fails inside of the network: {said}");
            // Without what the test harness says, which would be counted once more.
            let is_ours = |line: &&str| !line.starts_with("test ") && !line.starts_with("running ");
            said.lines().filter(is_ours).filter(|line| !line.is_empty()).for_each(|line| println!("{line}"));
        }
        None => {
            // Past the capture of the test harness, and in one piece: a script lists what was skipped.
            let line =
                format!("\nskipped: {test}: no network namespaces may be made here, or there is no ip\n");
            std::io::stderr().write_all(line.as_bytes()).expect("there is a stderr");
        }
    }
    false
}

/// What the test says inside; `None` if there is no inside.
fn run_inside(flags: &[&str], test: &str) -> Option<String> {
    let program = std::env::current_exe().expect("a running test has a path");
    let mut inside = Command::new("unshare");
    inside.args(flags).args(["sh", "-c", SET_UP]).arg(program).args(["--exact", test, "--nocapture"]);
    let output = inside.env(INSIDE, "1").output().ok()?;
    // What `unshare` itself cannot do is 1. A test that fails is 101.
    let is_possible = !matches!(output.status.code(), Some(1 | NOT_POSSIBLE));
    let said = [output.stdout, output.stderr].concat();
    is_possible.then(|| String::from_utf8_lossy(&said).into_owned())
}

/// The address of the other host with this number, from 0.
fn host(number: usize) -> String {
    assert!(number < HOSTS, "there are {HOSTS} addresses");
    format!("10.0.2.{}", number + 1)
}

/// A server on the other host, at the address with this number, and its URL.
pub(crate) fn start_server(number: usize, flags: &[&str]) -> (Server, String) {
    let listen = format!("{}:8080", host(number));
    let server = command(&[flags, &["--insecure", "--listen", &listen]].concat());
    let mut entering = Command::new("ip");
    entering.args(["netns", "exec", "server"]).arg(server.get_program()).args(server.get_args());
    for (name, _) in server.get_envs() {
        entering.env_remove(name);
    }
    (Server::spawn(entering), format!("http://{listen}"))
}

/// The router drops all that comes from or goes to one address, without a word, until this is dropped.
pub(crate) struct Dropping(String);

impl Dropping {
    pub(crate) fn begin(number: usize) -> Self {
        let dropping = Self(host(number));
        dropping.rule("add");
        dropping
    }

    fn rule(&self, verb: &str) {
        for direction in ["from", "to"] {
            let rule = ["-n", "router", "rule", verb, direction, &self.0, "blackhole"];
            let status = Command::new("ip").args(rule).status().expect("ip can be run");
            assert!(status.success(), "{rule:?}: {status}");
        }
    }
}

impl Drop for Dropping {
    fn drop(&mut self) {
        self.rule("del");
    }
}
