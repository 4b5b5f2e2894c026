//! Certificates that Hedgerow orders itself, from a real authority: Debian's `pebble`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "acme/pebble.rs"]
mod pebble;
#[path = "acme/secure.rs"]
mod secure;
mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use pebble::Pebble;
use secure::{Connection, Trust};
use support::recorder::refused_port;
use support::running::{get, until, Running};

/// Where a server will be.
struct Place {
    folder: tempfile::TempDir,
    http: SocketAddr,
    https: SocketAddr,
    admin: SocketAddr,
}

impl Place {
    async fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            http: refused_port().await,
            https: refused_port().await,
            admin: refused_port().await,
        }
    }

    /// One that the authority looks at.
    async fn seen_by(pebble: &Pebble) -> Self {
        let place = Self::new().await;
        pebble.http.lead_to(place.http);
        pebble.tls.lead_to(place.https);
        place
    }

    /// A configuration with these certificates, a piece of YAML.
    fn yaml(&self, tls: &str) -> String {
        let (http, https, admin) = (self.http, self.https, self.admin);
        format!(
            "listen:\n  - {{address: \"{http}\", redirect: https, health: /up}}\n  \
             - {{address: \"{https}\", health: /up, tls: {tls}}}\nadmin: \"{admin}\"\n\
             projects:\n  shop: {{host: \"http://127.0.0.1:9\", api_key: phc_test}}\n\
             routes:\n  - {{path: /hr/, segment: {{project: shop}}}}\n  \
             - {{path: /, origin: \"http://127.0.0.1:9\"}}\n"
        )
    }

    async fn start(self, tls: &str) -> Edge {
        let yaml = self.yaml(tls);
        let running = Running::start(self.folder.path(), &yaml, &[], self.admin).await;
        Edge {
            running,
            place: self,
        }
    }
}

/// A server with a listener for each kind of client.
struct Edge {
    running: Running,
    place: Place,
}

impl Edge {
    /// Ends it, and starts it again.
    async fn start_again(self, tls: &str) -> Self {
        drop(self.running);
        self.place.start(tls).await
    }

    /// Has it read another configuration.
    fn change(&self, tls: &str) {
        let new = self.place.folder.path().join("new.yaml");
        std::fs::write(&new, self.place.yaml(tls)).unwrap();
        std::fs::rename(new, &self.running.file).unwrap();
        self.reload();
    }

    /// `hedgerow` with its configuration: what it says.
    fn command(&self, name: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .args([name, "-c"])
            .arg(&self.running.file)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Has it read its configuration again.
    fn reload(&self) {
        let id = self.running.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &id]).status();
        assert!(sent.unwrap().success());
    }

    /// The value of a metric.
    async fn metric(&self, name: &str) -> f64 {
        let answer = get(self.place.admin, "/metrics").await;
        let text = String::from_utf8(answer.body).unwrap();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
        let value = lines.find_map(|rest| rest.trim().parse().ok());
        value.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
    }

    async fn issued(&self) -> f64 {
        self.metric("hedgerow_acme_orders_total{outcome=\"issued\"}")
            .await
    }

    /// A connection to a name, once there is a certificate for it.
    async fn connected(&self, trust: &Trust, name: &str) -> Connection {
        until("a certificate", || async {
            let connection = trust.connect(self.place.https, name).await;
            connection.map_err(|error| format!("{name}: {error}\n{}", self.running.log()))
        })
        .await
    }

    /// The same, where an attempt has to be made again for it.
    async fn recovers(&self, trust: &Trust, name: &str) -> Connection {
        let mut round = 0;
        until("a certificate after a reload", || {
            // Twenty looks a second; a reload each second.
            round += 1;
            if round % 20 == 1 {
                self.reload();
            }
            async {
                let connection = trust.connect(self.place.https, name).await;
                connection.map_err(|error| format!("{name}: {error}\n{}", self.running.log()))
            }
        })
        .await
    }

    async fn logs(&self, text: &str) -> String {
        until("a line of the log", || async {
            let log = self.running.log();
            let found = log.lines().find(|line| line.contains(text));
            found
                .map(str::to_owned)
                .ok_or_else(|| format!("{text:?} is not in\n{log}"))
        })
        .await
    }
}

/// A certificate of an authority of this test, with its key, that has so many days behind and before it.
fn made(names: &[&str], behind: u64, before: u64) -> (String, String) {
    const DAY: u64 = 24 * 3600;
    let authority_key = rcgen::KeyPair::generate().unwrap();
    let mut authority = rcgen::CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let root = authority.self_signed(&authority_key).unwrap().pem();
    let issuer = rcgen::Issuer::new(authority, authority_key);
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let mut params = rcgen::CertificateParams::new(names).unwrap();
    let now = SystemTime::now();
    params.not_before = (now - Duration::from_secs(behind * DAY)).into();
    params.not_after = (now + Duration::from_secs(before * DAY)).into();
    let key = rcgen::KeyPair::generate().unwrap();
    let signed = params.signed_by(&key, &issuer).unwrap();
    (format!("{}{}", key.serialize_pem(), signed.pem()), root)
}

fn file(pebble: &Pebble, storage: &Path, name: &str) -> PathBuf {
    let folder = pebble.folder(storage);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join(name)
}

const NAMES: &str = ", domains: [shop.example, www.shop.example]";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_challenge_brings_a_certificate_for_every_name() {
    for challenge in ["http-01", "tls-alpn-01", "[http-01, tls-alpn-01]"] {
        let Some(pebble) = Pebble::start("").await else {
            return;
        };
        let trust = pebble.trust().await;
        let storage = tempfile::tempdir().unwrap();
        let more = format!("{NAMES}, challenge: {challenge}, email: ops@shop.example");
        let place = Place::seen_by(&pebble).await;
        let edge = place.start(&pebble.acme(storage.path(), &more)).await;
        for name in ["shop.example", "www.shop.example"] {
            let mut connection = edge.connected(&trust, name).await;
            let answer = connection.get("/up").await.unwrap();
            assert!(answer.contains("ready"), "{answer}");
        }
        let other = trust.connect(edge.place.https, "other.example").await;
        assert!(other.is_err());
        assert_eq!(edge.issued().await, 1.0);
        assert_eq!(edge.metric("hedgerow_acme_failing").await, 0.0);
        // A token of no order goes the way of any other path: to the site, which is not there.
        let path = "/.well-known/acme-challenge/";
        for token in ["", "unknown", "account.json"] {
            let answer = get(edge.place.http, &format!("{path}{token}")).await;
            assert_eq!(answer.status, 502, "{token:?}");
        }
        assert_eq!(get(edge.place.http, "/page").await.status, 301);
        let doctor = edge.command("doctor");
        let line = "acme shop.example, www.shop.example: expires in";
        assert!(doctor.contains(line), "{doctor}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_the_directory_all_else_is_served_and_a_restart_orders_nothing_again() {
    let Some(pebble) = Pebble::start("").await else {
        return;
    };
    let trust = pebble.trust().await;
    let storage = tempfile::tempdir().unwrap();
    let tls = pebble.acme(storage.path(), NAMES);
    pebble.directory.cut();
    let edge = Place::seen_by(&pebble).await.start(&tls).await;
    let line = edge.logs("no certificate could be ordered").await;
    for part in ["shop.example", "no answer from", "attempt 2 is made in"] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    assert_eq!(edge.metric("hedgerow_acme_failing").await, 1.0);
    let refused = edge.metric("hedgerow_acme_orders_total{outcome=\"failed\"}");
    assert_eq!(refused.await, 1.0);
    // Plain listeners serve, a handshake is answered with a no, and the server is ready.
    assert_eq!(get(edge.place.http, "/up").await.status, 200);
    assert_eq!(get(edge.place.admin, "/readyz").await.status, 200);
    for name in ["shop.example", "other.example"] {
        let Err(error) = trust.connect(edge.place.https, name).await else {
            panic!("there is a certificate for {name}");
        };
        assert!(error.contains("AccessDenied"), "{error}");
    }
    let doctor = edge.command("doctor");
    let line =
        "BAD   acme shop.example, www.shop.example: no certificate; the last order has failed";
    assert!(doctor.contains(line), "{doctor}");
    // A start in vain does not try again sooner: what was tried is kept.
    let edge = edge.start_again(&tls).await;
    edge.logs("there is no certificate for").await;
    assert_eq!(edge.metric("hedgerow_acme_failing").await, 1.0);
    pebble.start_leading();
    let first = edge.recovers(&trust, "shop.example").await.certificate();
    edge.logs("its certificate has come after").await;
    assert_eq!(edge.metric("hedgerow_acme_failing").await, 0.0);
    // What is there needs no authority.
    pebble.directory.cut();
    let edge = edge.start_again(&tls).await;
    let again = edge.connected(&trust, "www.shop.example").await;
    assert_eq!(again.certificate(), first);
    assert_eq!(edge.issued().await, 0.0);
    assert!(!edge.running.log().contains("is ordered from"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_renewal_swaps_the_certificate_under_open_connections() {
    let Some(pebble) = Pebble::start("").await else {
        return;
    };
    let storage = tempfile::tempdir().unwrap();
    // 80 of 90 days are over.
    let (old, root) = made(&["shop.example", "www.shop.example"], 80, 10);
    std::fs::write(file(&pebble, storage.path(), "shop.example.pem"), old).unwrap();
    pebble.directory.cut();
    let place = Place::seen_by(&pebble).await;
    let edge = place.start(&pebble.acme(storage.path(), NAMES)).await;
    let old = Trust::in_pem(root.as_bytes());
    let mut open = edge.connected(&old, "shop.example").await;
    assert!(open.get("/up").await.is_ok());
    let line = edge.logs("no certificate could be ordered").await;
    assert!(line.contains("the one that is served ends"), "{line}");
    pebble.start_leading();
    let trust = pebble.trust().await;
    let new = edge.recovers(&trust, "www.shop.example").await;
    assert_ne!(new.certificate(), open.certificate());
    // It was made with the old one, and goes on.
    assert!(open.get("/up").await.is_ok());
    assert!(old.connect(edge.place.https, "shop.example").await.is_err());
    assert_eq!(edge.issued().await, 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_refused_is_said_and_holds_up_no_other_certificate() {
    let Some(pebble) = Pebble::start(",\"domainBlocklist\":[\"blocked.example\"]").await else {
        return;
    };
    let trust = pebble.trust().await;
    let storage = tempfile::tempdir().unwrap();
    let of = |more: &str| pebble.acme(storage.path(), more);
    let tls = format!(
        "[{}, {}, {}]",
        of(", domains: blocked.example"),
        of(", domains: unseen.example, challenge: http-01"),
        of(", domains: shop.example, challenge: tls-alpn-01")
    );
    let place = Place::seen_by(&pebble).await;
    pebble.http.cut();
    let edge = place.start(&tls).await;
    edge.connected(&trust, "shop.example").await;
    let line = edge.logs("blocked.example: no certificate could be").await;
    assert!(line.contains("rejectedIdentifier"), "{line}");
    let line = edge.logs("unseen.example: no certificate could be").await;
    assert!(line.contains("is not proven by http-01"), "{line}");
    assert_eq!(edge.metric("hedgerow_acme_failing").await, 2.0);
    assert_eq!(edge.issued().await, 1.0);
    // A name whose certificate is awaited is not shown that of another one.
    let shown = trust.connect(edge.place.https, "blocked.example").await;
    let Err(error) = shown else {
        panic!("there is a certificate for blocked.example");
    };
    assert!(error.contains("AccessDenied"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_with_one_folder_order_once_and_answer_for_each_other() {
    let Some(pebble) = Pebble::start("").await else {
        return;
    };
    let trust = pebble.trust().await;
    let storage = tempfile::tempdir().unwrap();
    let both = pebble.acme(storage.path(), NAMES);
    let alone = pebble.acme(storage.path(), &format!("{NAMES}, challenge: http-01"));
    // The one that is asked has failed and waits, so that the other one orders.
    pebble.directory.cut();
    let asked = Place::seen_by(&pebble).await.start(&both).await;
    asked.logs("no certificate could be ordered").await;
    pebble.start_leading();
    let orders = Place::new().await.start(&alone).await;
    let mut certificates = Vec::new();
    for edge in [&asked, &orders] {
        let connection = edge.connected(&trust, "shop.example").await;
        certificates.push(connection.certificate());
    }
    assert_eq!(certificates[0], certificates[1]);
    assert_eq!(asked.issued().await + orders.issued().await, 1.0);
    for edge in [&asked, &orders] {
        until("no failure is left", || async {
            let failing = edge.metric("hedgerow_acme_failing").await;
            (failing == 0.0).then_some(()).ok_or(failing.to_string())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_with_another_name_orders_for_it_while_the_old_one_is_served() {
    let Some(mut pebble) = Pebble::start("").await else {
        return;
    };
    let trust = pebble.trust().await;
    let storage = tempfile::tempdir().unwrap();
    let place = Place::seen_by(&pebble).await;
    let one = pebble.acme(storage.path(), ", domains: shop.example");
    let edge = place.start(&one).await;
    let mut open = edge.connected(&trust, "shop.example").await;
    // An authority that has forgotten the account: another one is made.
    pebble.start_anew().await;
    edge.change(&pebble.acme(storage.path(), NAMES));
    let new_trust = pebble.trust().await;
    edge.recovers(&new_trust, "www.shop.example").await;
    edge.connected(&new_trust, "shop.example").await;
    edge.logs("does not know our account").await;
    assert!(open.get("/up").await.is_ok());
    assert_eq!(edge.issued().await, 2.0);
    // A name less needs no other certificate.
    edge.change(&one);
    edge.logs("generation 3").await;
    edge.connected(&new_trust, "shop.example").await;
    assert_eq!(edge.issued().await, 2.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_bound_to_one_that_the_authority_knows() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let extra = format!(
        ",\"externalAccountBindingRequired\":true,\"externalAccountMACKeys\":{{\"kid-1\":\"{key}\"}}"
    );
    // It refuses each fifth nonce, and asks for no proof that it has seen.
    let strange = [
        ("PEBBLE_WFE_NONCEREJECT", "20"),
        ("PEBBLE_AUTHZREUSE", "100"),
    ];
    let Some(pebble) = Pebble::start_with(&extra, &strange).await else {
        return;
    };
    let trust = pebble.trust().await;
    let storage = tempfile::tempdir().unwrap();
    let place = Place::seen_by(&pebble).await;
    let edge = place.start(&pebble.acme(storage.path(), NAMES)).await;
    let line = edge.logs("no certificate could be ordered").await;
    assert!(line.contains("externalAccountRequired"), "{line}");
    let secret = edge.place.folder.path().join("hmac");
    std::fs::write(&secret, format!("{key}\n")).unwrap();
    let bound = format!("{NAMES}, external_account: {{key_id: kid-1, hmac_key: \"file:hmac\"}}");
    edge.change(&pebble.acme(storage.path(), &bound));
    edge.recovers(&trust, "shop.example").await;
    pebble.http.cut();
    pebble.tls.cut();
    let other = bound.replace("shop.example, www", "www");
    edge.change(&pebble.acme(storage.path(), &other));
    until("a certificate without a question", || async {
        let found = edge.issued().await;
        (found == 2.0).then_some(()).ok_or(edge.running.log())
    })
    .await;
    assert!(!edge.running.log().contains(key));
}
