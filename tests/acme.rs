//! Certificates that Hedgerow orders itself, from a real authority: Debian's `pebble`.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "acme/authority.rs"]
mod authority;
#[path = "acme/edge.rs"]
mod edge;
#[path = "acme/pebble.rs"]
mod pebble;
#[path = "acme/secure.rs"]
mod secure;
mod support;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use authority::Authority;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use base64::Engine;
use edge::EdgeAddresses;
use pebble::Pebble;
use secure::TrustedAuthorities;
use support::running::{get, until};

/// A certificate that this test issues itself, with its key. `behind` and `ahead` are the days
/// since it began and until it ends.
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
    params.use_authority_key_identifier_extension = true;
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
        let addresses = EdgeAddresses::seen_by(&pebble).await;
        let edge = addresses.start(&pebble.acme(storage.path(), &more)).await;
        for name in ["shop.example", "www.shop.example"] {
            let mut connection = edge.connected(&trust, name).await;
            let answer = connection.get("/up").await.unwrap();
            assert!(answer.contains("ready"), "{answer}");
        }
        let other = trust.connect(edge.addresses.https, "other.example").await;
        assert!(other.is_err());
        edge.has_issued(1.0).await;
        edge.fails(0.0).await;
        // The site is not there, so a token without an order gets the answer of any other path.
        let path = "/.well-known/acme-challenge/";
        for token in ["", "unknown", "account.json"] {
            let answer = get(edge.addresses.http, &format!("{path}{token}")).await;
            assert_eq!(answer.status, 502, "{token:?}");
        }
        assert_eq!(get(edge.addresses.http, "/page").await.status, 301);
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
    let edge = EdgeAddresses::seen_by(&pebble).await.start(&tls).await;
    let line = edge.logs("no certificate could be ordered").await;
    for part in [
        "shop.example",
        "no answer from",
        "Hedgerow makes attempt 2 in",
    ] {
        assert!(line.contains(part), "{part:?} is not in {line}");
    }
    edge.fails(1.0).await;
    let refused = edge.metric("hedgerow_acme_orders_total{outcome=\"failed\"}");
    assert_eq!(refused.await, 1.0);
    // Meanwhile plain listeners serve, TLS handshakes are refused, and the server is ready.
    assert_eq!(get(edge.addresses.http, "/up").await.status, 200);
    assert_eq!(get(edge.addresses.admin, "/readyz").await.status, 200);
    for name in ["shop.example", "other.example"] {
        let Err(error) = trust.connect(edge.addresses.https, name).await else {
            panic!("there is a certificate for {name}");
        };
        assert!(error.contains("AccessDenied"), "{error}");
    }
    let doctor = edge.command("doctor");
    let line =
        "BAD   acme shop.example, www.shop.example: no certificate; the last order has failed";
    assert!(doctor.contains(line), "{doctor}");
    // A restart after a failed attempt does not retry sooner: the attempt is stored.
    let edge = edge.start_again(&tls).await;
    edge.logs("there is no certificate for").await;
    edge.fails(1.0).await;
    pebble.start_leading();
    let first = edge.recovers(&trust, "shop.example").await.certificate();
    edge.logs("the authority has issued the certificate after")
        .await;
    edge.fails(0.0).await;
    // With a valid certificate Hedgerow does not ask the authority.
    pebble.directory.cut();
    let edge = edge.start_again(&tls).await;
    let again = edge.connected(&trust, "www.shop.example").await;
    assert_eq!(again.certificate(), first);
    assert_eq!(edge.issued().await, 0.0);
    assert!(!edge.running.log().contains("Hedgerow orders a certificate"));
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
    let addresses = EdgeAddresses::seen_by(&pebble).await;
    let edge = addresses.start(&pebble.acme(storage.path(), NAMES)).await;
    let old = TrustedAuthorities::in_pem(root.as_bytes());
    let mut open = edge.connected(&old, "shop.example").await;
    assert!(open.get("/up").await.is_ok());
    let line = edge.logs("no certificate could be ordered").await;
    assert!(line.contains("the certificate in use expires"), "{line}");
    pebble.start_leading();
    let trust = pebble.trust().await;
    let new = edge.recovers(&trust, "www.shop.example").await;
    assert_ne!(new.certificate(), open.certificate());
    // A connection from before the renewal continues with the old certificate.
    assert!(open.get("/up").await.is_ok());
    assert!(old
        .connect(edge.addresses.https, "shop.example")
        .await
        .is_err());
    edge.has_issued(1.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refused_order_is_reported_and_delays_no_other_certificate() {
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
    let addresses = EdgeAddresses::seen_by(&pebble).await;
    pebble.http.cut();
    let edge = addresses.start(&tls).await;
    edge.connected(&trust, "shop.example").await;
    let line = edge.logs("blocked.example: no certificate could be").await;
    assert!(line.contains("rejectedIdentifier"), "{line}");
    let line = edge.logs("unseen.example: no certificate could be").await;
    assert!(
        line.contains("could not be verified with http-01"),
        "{line}"
    );
    edge.fails(2.0).await;
    edge.has_issued(1.0).await;
    // Hedgerow never shows the certificate of another name in place of the awaited one.
    let shown = trust.connect(edge.addresses.https, "blocked.example").await;
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
    // The first process waits after its failure, so the other one orders.
    pebble.directory.cut();
    let asked = EdgeAddresses::seen_by(&pebble).await.start(&both).await;
    asked.logs("no certificate could be ordered").await;
    pebble.start_leading();
    let orders = EdgeAddresses::new().await.start(&alone).await;
    let mut certificates = Vec::new();
    for edge in [&asked, &orders] {
        let connection = edge.connected(&trust, "shop.example").await;
        certificates.push(connection.certificate());
    }
    assert_eq!(certificates[0], certificates[1]);
    until("one of them has issued it", || async {
        let issued = asked.issued().await + orders.issued().await;
        (issued == 1.0).then_some(()).ok_or(issued.to_string())
    })
    .await;
    for edge in [&asked, &orders] {
        edge.fails(0.0).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_with_another_name_orders_for_it_while_the_old_one_is_served() {
    let Some(mut pebble) = Pebble::start("").await else {
        return;
    };
    let trust = pebble.trust().await;
    let storage = tempfile::tempdir().unwrap();
    let addresses = EdgeAddresses::seen_by(&pebble).await;
    let one = pebble.acme(storage.path(), ", domains: shop.example");
    let edge = addresses.start(&one).await;
    let mut open = edge.connected(&trust, "shop.example").await;
    // The authority has forgotten the account, so Hedgerow makes another one.
    pebble.start_anew().await;
    edge.change(&pebble.acme(storage.path(), NAMES));
    let new_trust = pebble.trust().await;
    edge.recovers(&new_trust, "www.shop.example").await;
    edge.connected(&new_trust, "shop.example").await;
    edge.logs("does not know this account").await;
    assert!(open.get("/up").await.is_ok());
    edge.has_issued(2.0).await;
    // A certificate with one name too many is still good.
    edge.change(&one);
    edge.logs("generation 3").await;
    edge.connected(&new_trust, "shop.example").await;
    edge.has_issued(2.0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_bound_to_one_that_the_authority_knows() {
    let key = "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W";
    let extra = format!(
        ",\"externalAccountBindingRequired\":true,\"externalAccountMACKeys\":{{\"kid-1\":\"{key}\"}}"
    );
    // Pebble refuses each fifth nonce and does not ask again for a challenge that it has seen.
    let strange = [
        ("PEBBLE_WFE_NONCEREJECT", "20"),
        ("PEBBLE_AUTHZREUSE", "100"),
    ];
    let Some(pebble) = Pebble::start_with(&extra, &strange).await else {
        return;
    };
    let trust = pebble.trust().await;
    let storage = tempfile::tempdir().unwrap();
    let addresses = EdgeAddresses::seen_by(&pebble).await;
    let edge = addresses.start(&pebble.acme(storage.path(), NAMES)).await;
    let line = edge.logs("no certificate could be ordered").await;
    assert!(line.contains("externalAccountRequired"), "{line}");
    let secret = edge.addresses.folder.path().join("hmac");
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

/// The authority's identifier of a certificate (RFC 9773, 4.1).
fn identifier(pem: &str) -> String {
    use x509_parser::extensions::ParsedExtension;
    let mut blocks = x509_parser::pem::Pem::iter_from_buffer(pem.as_bytes()).map(Result::unwrap);
    let certificate = blocks.find(|block| block.label == "CERTIFICATE").unwrap();
    let certificate = certificate.parse_x509().unwrap();
    let authority =
        certificate
            .iter_extensions()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(found) => found.key_identifier.as_ref(),
                _ => None,
            });
    let authority = URL_SAFE_NO_PAD.encode(authority.unwrap().0);
    let serial = URL_SAFE_NO_PAD.encode(certificate.raw_serial());
    format!("{authority}.{serial}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_authoritys_times_for_renewal_and_retry_are_obeyed() {
    let authority = Authority::start().await;
    let address = authority.server.address;
    let storage = tempfile::tempdir().unwrap();
    let folder = storage
        .path()
        .join(format!("127.0.0.1%3A{}%2Fdirectory", address.port()));
    std::fs::create_dir_all(&folder).unwrap();
    // By its dates, the certificate would be renewed in weeks.
    let (pem, root) = made(&["shop.example"], 10, 80);
    std::fs::write(folder.join("shop.example.pem"), &pem).unwrap();
    let directory = format!("https://{address}/directory");
    let key = rcgen::KeyPair::generate().unwrap().serialize_der();
    let account = serde_json::json!({"email": null, "credentials": {
        "id": format!("https://{address}/account/1"), "directory": directory,
        "key_pkcs8": URL_SAFE_NO_PAD.encode(key),
    }});
    std::fs::write(folder.join("account.json"), account.to_string()).unwrap();
    let tls = format!(
        "{{acme: {{domains: shop.example, directory: \"{directory}\", ca_file: \"{}\", storage: \"{}\"}}}}",
        authority.certificates.file("ca.pem").display(),
        storage.path().display()
    );
    let edge = EdgeAddresses::new().await.start(&tls).await;
    let line = edge.logs("no certificate could be ordered").await;
    assert!(
        line.contains("too many certificates (rateLimited)"),
        "{line}"
    );
    // The authority asked to wait for 25 hours; Hedgerow's own wait would be five minutes.
    let patient = [" in 25 h", " in 24 h 59 min"];
    assert!(patient.iter().any(|words| line.contains(words)), "{line}");
    let known = identifier(&pem);
    let paths = authority.asked.paths.lock().unwrap().clone();
    assert!(paths.contains(&format!("/renewal/{known}")), "{paths:?}");
    let orders = authority.asked.orders.lock().unwrap().clone();
    assert_eq!(orders.len(), 1, "{orders:?}");
    assert_eq!(orders[0]["replaces"], known);
    assert_eq!(orders[0]["identifiers"][0]["value"], "shop.example");
    let kept = std::fs::read_to_string(folder.join("shop.example.json")).unwrap();
    let kept: serde_json::Value = serde_json::from_str(&kept).unwrap();
    let wait = kept["retry_after"].as_u64().unwrap() - kept["last"].as_u64().unwrap();
    assert!((89_900..=90_100).contains(&wait), "{kept}");
    let old = TrustedAuthorities::in_pem(root.as_bytes());
    edge.connected(&old, "shop.example").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unwritable_folder_is_reported_before_the_start_and_after_it() {
    let authority = Authority::start().await;
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let tls = format!(
        "{{acme: {{domains: shop.example, directory: \"https://{}/directory\", ca_file: \"{}\", \
         storage: \"{}\"}}}}",
        authority.server.address,
        authority.certificates.file("ca.pem").display(),
        file.join("acme").display()
    );
    let edge = EdgeAddresses::new().await.start(&tls).await;
    let line = edge.logs("no certificate could be ordered").await;
    assert!(line.contains("nothing can be written to"), "{line}");
    let check = edge.command("check");
    assert!(check.contains("cannot be stored in"), "{check}");
    let doctor = edge.command("doctor");
    assert!(doctor.contains("BAD   acme shop.example: "), "{doctor}");
    assert!(doctor.contains("cannot be written: "), "{doctor}");
    assert_eq!(get(edge.addresses.http, "/up").await.status, 200);
    assert!(authority.asked.paths.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrected_ca_file_is_tried_at_once_however_long_the_pause_was() {
    let Some(pebble) = Pebble::start("").await else {
        return;
    };
    let trust = pebble.trust().await;
    let storage = tempfile::tempdir().unwrap();
    // After many failures it waits for an hour.
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = now.unwrap().as_secs();
    let failed = serde_json::json!({
        "settings": "shop.example,www.shop.example; tls-alpn-01,http-01; ; ",
        "failures": 5, "error": "no answer", "begun": 0, "since": now - 100, "last": now - 100,
        "next": now + 3600, "retry_after": 0,
    });
    let kept = file(&pebble, storage.path(), "shop.example.json");
    std::fs::write(kept, failed.to_string()).unwrap();
    let right = pebble.acme(storage.path(), NAMES);
    let others = storage.path().join("others.pem");
    std::fs::write(&others, made(&["localhost"], 1, 1).1).unwrap();
    let (_, rest) = right.split_once("ca_file: \"").unwrap();
    let (own, _) = rest.split_once('"').unwrap();
    let wrong = right.replace(own, &others.display().to_string());
    let edge = EdgeAddresses::seen_by(&pebble).await.start(&wrong).await;
    edge.logs("there is no certificate for").await;
    edge.change(&right);
    edge.connected(&trust, "shop.example").await;
    edge.has_issued(1.0).await;
}
