//! TLS, against an endpoint of the test's own.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use datastream_client::{Client, State, Tls};
use datastream_server::testing::TestServer;
use futures_util::future::join_all;
use tokio::net::TcpListener;

use crate::captured_log;
use crate::tls_endpoint::{Identity, Issuer, TlsEndpoint};
use crate::wire::{DEADLINE, eventually, within};

fn server() -> TestServer {
    TestServer::start().with("n", 10_i64)
}

async fn reads_ten(client: &Client) {
    let n = client.watch::<i64>("n");
    within("ready", n.ready()).await.expect("it is there");
    assert_eq!(n.get(), Some(10));
    within("a call", client.set("other", 1_i64)).await.expect("calls go over TLS too");
}

#[tokio::test]
async fn a_client_trusts_the_issuer_that_it_is_given() {
    let (server, issuer, folder) = (server(), Issuer::new(), tempfile::tempdir().expect("a folder"));
    let config = issuer.identity(&["localhost", "127.0.0.1"]).config(None);
    let endpoint = TlsEndpoint::start(&server.url(), config).await;
    let file = folder.path().join("ca.pem");
    std::fs::write(&file, issuer.pem()).expect("the folder can be written");
    for tls in [Tls::default().ca_pem(issuer.pem()), Tls::default().ca_file(file)] {
        for host in ["localhost", "127.0.0.1"] {
            reads_ten(&Client::builder(endpoint.url(host)).tls(tls.clone()).connect()).await;
        }
    }
}

#[tokio::test]
async fn a_name_can_be_expected_that_is_not_that_of_the_address() {
    let (server, issuer) = (server(), Issuer::new());
    let config = issuer.identity(&["settings.example"]).config(None);
    let endpoint = TlsEndpoint::start(&server.url(), config).await;
    let tls = Tls::default().ca_pem(issuer.pem()).server_name("settings.example");
    reads_ten(&Client::builder(endpoint.url("127.0.0.1")).tls(tls).connect()).await;
}

#[tokio::test]
async fn a_client_shows_its_certificate_to_a_server_that_asks() {
    let (server, issuer, folder) = (server(), Issuer::new(), tempfile::tempdir().expect("a folder"));
    let config = issuer.identity(&["localhost"]).config(Some(&issuer));
    let endpoint = TlsEndpoint::start(&server.url(), config).await;
    let mine = issuer.identity(&["me"]);
    let (certificate, key) = mine.write(folder.path());
    let tls = || Tls::default().ca_pem(issuer.pem());
    let given = tls().identity_pem(mine.certificate.clone(), mine.key.clone());
    for tls in [given, tls().identity_files(certificate, key)] {
        reads_ten(&Client::builder(endpoint.url("localhost")).tls(tls).connect()).await;
    }
}

#[tokio::test]
async fn files_that_are_put_right_heal_a_client_that_runs() {
    let (server, issuer, folder) = (server(), Issuer::new(), tempfile::tempdir().expect("a folder"));
    let endpoint =
        TlsEndpoint::start(&server.url(), issuer.identity(&["localhost"]).config(Some(&issuer))).await;
    let (file, mine) = (folder.path().join("ca.pem"), issuer.identity(&["me"]));
    // First a file that is not there, then a wrong pair, as while files are replaced one by one.
    let (certificate, key) =
        Identity { certificate: mine.certificate.clone(), key: issuer.identity(&["other"]).key }
            .write(folder.path());
    let tls = Tls::default().ca_file(&file).identity_files(certificate, key);
    let client = Client::builder(endpoint.url("localhost")).tls(tls).connect();
    let n = client.watch::<i64>("n");
    says(&client, &["the credentials cannot be used: TLS: ", "ca.pem: No such file"]).await;
    std::fs::write(&file, issuer.pem()).expect("the folder can be written");
    says(
        &client,
        &[
            "the credentials cannot be used: TLS: ",
            "certificate.pem: it does not belong to the key, ",
            "key.pem",
        ],
    )
    .await;
    mine.write(folder.path());
    eventually("it is well", || n.get() == Some(10) && n.status().state == State::Ready).await;
}

/// Waits until the client says something with all of these.
async fn says(client: &Client, parts: &[&str]) -> String {
    let text = || client.status().last_error.map(|why| why.to_string()).unwrap_or_default();
    let said = async {
        while !parts.iter().all(|part| text().contains(part)) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let in_time = tokio::time::timeout(DEADLINE, said).await;
    assert!(in_time.is_ok(), "it does not say {parts:?} but: {}", text());
    text()
}

/// A newcomer's mistake: its address, what is trusted, and what is said of it.
struct Mistake {
    name: &'static str,
    url: String,
    tls: Tls,
    said: &'static str,
}

#[tokio::test]
async fn each_mistake_gets_one_line_that_says_what_to_do_and_is_tried_again() {
    captured_log::capture();
    let (server, issuer, other) = (server(), Issuer::new(), Issuer::new());
    let trusting = || Tls::default().ca_pem(issuer.pem());
    let behind = server.url();
    let endpoint = |config| TlsEndpoint::start(&behind, config);
    let right = endpoint(issuer.identity(&["localhost"]).config(None)).await;
    let expired = endpoint(issuer.identity_between(&["localhost"], 1990, 2000).config(None)).await;
    let early = endpoint(issuer.identity_between(&["localhost"], 3000, 4000).config(None)).await;
    let asking = endpoint(issuer.identity(&["localhost"]).config(Some(&issuer))).await;
    let mut without_h2 = issuer.identity(&["localhost"]).config(None);
    without_h2.alpn_protocols = vec![b"http/1.1".to_vec()];
    let mut silent_about_it = without_h2.clone();
    silent_about_it.alpn_protocols.clear();
    let (without_h2, silent_about_it) = (endpoint(without_h2).await, endpoint(silent_about_it).await);
    let stranger = other.identity(&["me"]);
    let outdated = issuer.identity_between(&["me"], 1990, 2000);
    let plain = server.url().replace("http://127.0.0.1", "https://localhost");
    let tls_said_plain = right.url("localhost").replace("https", "http");
    let mistake = |name, url: String, tls, said| Mistake { name, url, tls, said };
    let mistakes = [
        mistake("TLS to plaintext", plain, trusting(), "an address without it begins with http://"),
        mistake("plaintext to TLS", tls_said_plain, trusting(), "an address that begins with https://"),
        mistake("an issuer of one's own", right.url("localhost"), Tls::default(), "is not trusted"),
        mistake("another name", right.url("127.0.0.1"), trusting(), "for another name than that of"),
        mistake("expired", expired.url("localhost"), trusting(), "its certificate has expired"),
        mistake("not yet valid", early.url("localhost"), trusting(), "is the clock of this machine right?"),
        mistake("no certificate", asking.url("localhost"), trusting(), "wants a certificate of this client"),
        mistake(
            "a stranger's certificate",
            asking.url("localhost"),
            trusting().identity_pem(stranger.certificate, stranger.key),
            "it does not accept the certificate of this client",
        ),
        mistake(
            "a certificate that has expired",
            asking.url("localhost"),
            trusting().identity_pem(outdated.certificate, outdated.key),
            "it does not accept the certificate of this client: CertificateExpired",
        ),
        mistake("no HTTP/2", without_h2.url("localhost"), trusting(), "must offer `h2` (ALPN)"),
        mistake("no ALPN", silent_about_it.url("localhost"), trusting(), "must offer `h2` (ALPN)"),
        mistake("a key as root", right.url("localhost"), Tls::default().ca_pem("KEY"), "has no certificate"),
        mistake("no port", "https://".to_owned(), trusting(), "an address is like"),
    ];
    join_all(mistakes.map(check)).await;
}

async fn check(Mistake { name, url, tls, said }: Mistake) {
    let client = Client::builder(&url).tls(tls).client_name(name).connect();
    let _n = client.watch::<i64>("n");
    let text = says(&client, &[said]).await;
    assert!(text.len() < 300 && !text.contains('\n'), "{name}: {text}");
    let lines = || captured_log::lines_with(&text).len();
    eventually(&format!("a line of the log for {name}"), || lines() >= 1).await;
    let port = url.rsplit(':').next().expect("there is a last part");
    assert!(text.contains(port) || text.contains("TLS: "), "{name}: {text}");
    let asks = text.contains("does it want a certificate?");
    assert!(!(asks && text.matches("certificate").count() > 1), "it is asked what was said: {text}");
}

/// What stands in a file, and what is said where it has the part of the roots, the certificate and the key.
type Odd = (&'static str, String, [&'static str; 3]);

#[tokio::test]
async fn a_file_that_is_another_than_it_should_be_is_named() {
    let (folder, me) = (tempfile::tempdir().expect("a folder"), Issuer::new().identity(&["me"]));
    let right = me.write(folder.path());
    let garbage = |text: &str| format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n");
    let none = "it has no certificate in the PEM format";
    let damaged = "what stands there as a certificate is none, or damaged";
    let no_key = "it has no private key in the PEM format";
    let large = "it has more than 4194304 bytes: is it the right file?";
    let odd: [Odd; 6] = [
        ("empty", String::new(), [none, none, no_key]),
        ("no base64", garbage("?"), [damaged, damaged, no_key]),
        ("no certificate", garbage("AAAA"), [damaged, damaged, no_key]),
        ("a certificate", me.certificate.clone(), ["", "", no_key]),
        ("a key", me.key.clone(), [none, none, ""]),
        ("large", "\n".repeat((4 << 20) + 1), [large; 3]),
    ];
    for (name, text, said) in odd {
        let file = folder.path().join(name);
        std::fs::write(&file, text).expect("the folder can be written");
        each_part_says(&file, &right, said).await;
    }
}

/// It would block, or fill the memory, to read one of these.
#[tokio::test]
async fn what_is_no_regular_file_is_not_read() {
    let (folder, me) = (tempfile::tempdir().expect("a folder"), Issuer::new().identity(&["me"]));
    let right = me.write(folder.path());
    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("there is mkfifo");
    assert!(made.success());
    // Nobody waits for what is not written once this is gone, so that a failure is one.
    let _writer = std::fs::File::options().read(true).write(true).open(&pipe).expect("it is there");
    for path in [&pipe, Path::new("/dev/zero"), folder.path()] {
        each_part_says(path, &right, ["it is no regular file: name one"; 3]).await;
    }
}

/// Uses a file as the roots, as the certificate and as the key; where nothing is to be said, it is as good as the right one.
async fn each_part_says(file: &Path, (certificate, key): &(PathBuf, PathBuf), said: [&str; 3]) {
    let uses = [
        Tls::default().ca_file(file),
        Tls::default().identity_files(file, key),
        Tls::default().identity_files(certificate, file),
    ];
    for (tls, said) in uses.into_iter().zip(said).filter(|(_, said)| !said.is_empty()) {
        let client = Client::builder("https://127.0.0.1:1").tls(tls).connect();
        let _n = client.watch::<i64>("n");
        let text = says(&client, &[said]).await;
        let name = format!("the credentials cannot be used: TLS: {}: ", file.display());
        assert!(text.starts_with(&name) && text.len() < 300 && !text.contains('\n'), "{text}");
    }
}

#[tokio::test]
async fn a_mistake_is_told_once_however_often_it_is_made() {
    captured_log::capture();
    let (server, issuer) = (server(), Issuer::new());
    let expired = issuer.identity_between(&["localhost"], 1990, 2000).config(None);
    let endpoint = TlsEndpoint::start(&server.url(), expired).await;
    let client =
        Client::builder(endpoint.url("localhost")).tls(Tls::default().ca_pem(issuer.pem())).connect();
    let _n = client.watch::<i64>("n");
    eventually("four attempts", || endpoint.accepted() >= 4).await;
    let text = says(&client, &["its certificate has expired"]).await;
    assert_eq!(captured_log::lines_with(&text).len(), 1);
}

#[tokio::test]
async fn a_handshake_that_never_ends_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("https://{}", listener.local_addr().expect("it is bound"));
    let limits = datastream_client::Limits::default().connect(Duration::from_millis(200));
    let client = Client::builder(url).limits(limits).connect();
    let _n = client.watch::<i64>("n");
    // They are accepted by the system, and nobody answers.
    let mut silent = Vec::new();
    let two: io::Result<()> = within("a second attempt", async {
        for _ in 0..2 {
            silent.push(listener.accept().await?.0);
        }
        Ok(())
    })
    .await;
    two.expect("they are accepted");
    says(&client, &["the server cannot be reached: "]).await;
}
