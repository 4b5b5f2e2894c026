//! A real Prometheus watches one failure after another: each alert fires, and ends with its
//! failure.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};

use chrono::Datelike;
use hedgerow::demo::capture::InjectedFault;
use http::StatusCode;
use percent_encoding::{utf8_percent_encode, NON_ALPHANUMERIC};

use super::support::address::unused_address;
use super::support::disk::SmallDisk;
use super::support::running::{call, get, until, Ended, Running, StandIn};
use super::support::track;
use super::{file, installed};

/// A running Prometheus and its address.
struct Watching {
    address: SocketAddr,
    _process: Ended,
}

impl Watching {
    /// Scrapes this address five times a second and evaluates the shipped rules with short times.
    async fn start(program: &str, folder: &Path, target: SocketAddr) -> Self {
        let rules = file("conf/prometheus/alerts.yml");
        let mut short = String::new();
        for line in rules.lines() {
            let waits = line.trim_start().starts_with("for: ");
            short.push_str(match waits {
                true => "        for: 400ms",
                false => line,
            });
            short.push('\n');
        }
        let short = short.replace("[5m]", "[5s]").replace("[15m]", "[5s]");
        assert!(!short.contains("m]"), "{short}");
        std::fs::write(folder.join("alerts.yml"), short).expect("the folder is ours");
        let configuration = format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}\n\
             rule_files: [alerts.yml]\n\
             scrape_configs: [{{job_name: hedgerow, static_configs: [{{targets: [\"{target}\"]}}]}}]\n"
        );
        std::fs::write(folder.join("prometheus.yml"), configuration).expect("the folder is ours");
        let log = folder.join("prometheus.log");
        let out = std::fs::File::create(&log).expect("the folder is ours");
        let process = Command::new(program)
            .arg("--config.file=prometheus.yml")
            .arg("--storage.tsdb.path=tsdb")
            .arg("--web.listen-address=127.0.0.1:0")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(out)
            .spawn()
            .expect("Prometheus");
        let mut process = Ended(process);
        let address = until("Prometheus listens", || {
            let text = std::fs::read_to_string(&log).expect("its log");
            let ended = process.0.try_wait().expect("our own process");
            assert!(ended.is_none(), "{ended:?}\n{text}");
            let said = text.split_once("msg=\"Listening on\" address=");
            let said = said.and_then(|(_, rest)| rest.split_once('\n'));
            let address = said.and_then(|(address, _)| address.trim().parse().ok());
            std::future::ready(address.ok_or(text))
        })
        .await;
        Self {
            address,
            _process: process,
        }
    }

    /// The names of the firing alerts.
    async fn firing(&self) -> BTreeSet<String> {
        let answer = get(self.address, "/api/v1/alerts").await;
        // Prometheus answers 503 until it is ready.
        if answer.status != 200 {
            return BTreeSet::new();
        }
        let json = answer.json();
        let alerts = json["data"]["alerts"].as_array().expect("a list");
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        let names = firing.map(|alert| alert["labels"]["alertname"].as_str().expect("a name"));
        names.map(str::to_owned).collect()
    }

    async fn fires(&self, name: &str) {
        self.fires_while(name, || async {}).await;
    }

    /// Waits for an alert while the failure continues: on a busy machine, a counter may grow only
    /// between two scrapes that are too far apart.
    async fn fires_while<F>(&self, name: &str, mut goes_on: impl FnMut() -> F)
    where
        F: std::future::Future<Output = ()>,
    {
        until(&format!("{name} fires"), || {
            let trouble = goes_on();
            async move {
                Box::pin(trouble).await;
                self.fires_now(name).await
            }
        })
        .await;
        println!("{name} fires");
    }

    async fn fires_now(&self, name: &str) -> Result<(), String> {
        let firing = self.firing().await;
        match firing.contains(name) {
            true => Ok(()),
            false => Err(format!("{firing:?}")),
        }
    }

    /// Waits until each panel of the dashboard has values.
    async fn shows_all_panels(&self) {
        let queries = super::dashboard::queries("5m");
        until("each panel shows something", || async {
            let mut empty = Vec::new();
            for (panel, query) in &queries {
                let encoded = utf8_percent_encode(query, NON_ALPHANUMERIC);
                let path = format!("/api/v1/query?query={encoded}");
                let answer = Box::pin(get(self.address, &path)).await;
                let json = answer.json();
                assert_eq!(json["status"], "success", "{panel}: {query}: {json}");
                let results = json["data"]["result"].as_array().expect("a list");
                // A quantile of no values is NaN.
                let mut values = results.iter().filter_map(|one| one["value"][1].as_str());
                if values.all(|value| value == "NaN") {
                    empty.push(format!("{panel}: {query}"));
                }
            }
            match empty.is_empty() {
                true => Ok(()),
                false => Err(format!("{empty:#?}")),
            }
        })
        .await;
        println!("{} queries of the dashboard show something", queries.len());
    }

    /// Waits until no alert fires except the lasting ones.
    async fn only(&self, lasting: &[&str]) {
        let lasting: BTreeSet<String> = lasting.iter().map(|name| (*name).to_owned()).collect();
        until(&format!("only {lasting:?} fire"), || async {
            let firing = self.firing().await;
            match firing == lasting {
                true => Ok(()),
                false => Err(format!("{firing:?}")),
            }
        })
        .await;
        println!("only {lasting:?}");
    }
}

/// A certificate that is valid for so many days from now, and its key.
fn certificate(folder: &Path, days: i64) {
    let end = chrono::Utc::now() + chrono::Duration::days(days);
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut parameters =
        rcgen::CertificateParams::new(vec!["localhost".to_owned()]).expect("a name");
    parameters.not_after = rcgen::date_time_ymd(end.year(), end.month() as u8, end.day() as u8);
    let certificate = parameters.self_signed(&key).expect("it is signed");
    std::fs::write(folder.join("certificate.pem"), certificate.pem()).expect("ours");
    std::fs::write(folder.join("key.pem"), key.serialize_pem()).expect("ours");
}

/// Writes a file until only this many bytes are free.
fn leave_free(disk: &Path, file: &Path, free: u64) {
    use std::io::Write;
    let mut file = std::fs::File::create(file).expect("ours");
    let left = || {
        let disk = rustix::fs::statvfs(disk).expect("a disk");
        disk.f_bavail * disk.f_frsize
    };
    while left() > free {
        file.write_all(&[0; 16 << 10]).expect("there is room");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_alerts_fire_and_end_under_a_real_prometheus() {
    let Some(program) = installed("prometheus") else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    certificate(folder, 5);
    let mut posthog = StandIn::start().await;
    let (site, secure, admin) = (unused_address(), unused_address(), unused_address());
    let disk = SmallDisk::mount("24m");
    let spool = disk.as_ref().map_or(folder, |disk| disk.at.as_path());
    let yaml = format!(
        "listen: [\"{site}\", {{address: \"{secure}\", tls: {{certificate: {:?}, key: {:?}}}}}]\n\
         admin: \"{admin}\"\n\
         projects: {{shop: {{host: \"{}\", api_key: phc_test}}}}\n\
         routes: [{{path: /hr/, segment: {{project: shop, write_keys: [wk_right]}}}}]\n\
         delivery: {{connect_timeout: 2s, timeout: 5s, spool: {{path: {:?}, max_size: 1MiB}}}}\n",
        folder.join("certificate.pem"),
        folder.join("key.pem"),
        posthog.url(),
        spool.join("spool"),
    );
    let hedgerow = Running::start(folder, &yaml, &[], admin).await;
    let watching = Watching::start(program, folder, admin).await;
    let send = |id: String, bytes: usize| {
        let body = track(&id, bytes).replacen('{', "{\"writeKey\":\"wk_right\",", 1);
        async move { Box::pin(call(site, "/hr/v1/t", "", &body)).await.status }
    };
    let ending = "HedgerowCertificateEnding";
    assert_eq!(send("first".to_owned(), 300).await, 200);
    watching.only(&[ending]).await;

    // Stops PostHog and starts it again.
    posthog.stop();
    for number in 0..6 {
        assert_eq!(send(format!("away-{number}"), 300).await, 200);
    }
    watching.fires("HedgerowPostHogFailing").await;
    posthog.resume();
    watching.only(&[ending]).await;

    // A page with a key that the route does not have.
    let wrong = track("wrong", 300).replacen('{', "{\"writeKey\":\"wk_wrong\",", 1);
    watching
        .fires_while("HedgerowWriteKeyRefused", || async {
            assert_eq!(call(site, "/hr/v1/t", "", &wrong).await.status, 401);
        })
        .await;
    watching.only(&[ending]).await;

    // PostHog no longer accepts the project's key.
    let refused = InjectedFault::Status(StatusCode::UNAUTHORIZED, None);
    posthog.capture.set_fault(refused);
    assert_eq!(send("key".to_owned(), 300).await, 200);
    // The replay retries by itself.
    watching.fires("HedgerowProjectKeyRefused").await;
    posthog.capture.set_fault(InjectedFault::None);
    watching.only(&[ending]).await;

    // An event that PostHog always rejects.
    posthog
        .capture
        .set_fault(InjectedFault::Poison("Bad".to_owned()));
    let bad = "{\"writeKey\":\"wk_right\",\"event\":\"Bad\",\"userId\":\"u\"}";
    assert_eq!(call(site, "/hr/v1/t", "", bad).await.status, 200);
    watching.fires("HedgerowDeadLetters").await;
    posthog.capture.set_fault(InjectedFault::None);
    let dropped = hedgerow.spool(&["drop", "--all"]);
    println!("{dropped}");
    watching.only(&[ending]).await;

    // The spool fills up until it refuses events.
    posthog.stop();
    let mut sent = 0;
    while send(format!("many-{sent}"), 60_000).await == 200 {
        sent += 1;
        assert!(sent < 100, "it takes all of them");
        if sent == 15 {
            watching.fires("HedgerowSpoolNearlyFull").await;
        }
    }
    watching.fires("HedgerowSpoolNotWritable").await;
    watching
        .fires_while("HedgerowRequestsUnavailable", || async {
            assert_eq!(send("full".to_owned(), 60_000).await, 503);
        })
        .await;
    posthog.resume();
    watching.only(&[ending]).await;

    // Another program fills the disk and frees it again.
    if let Some(disk) = &disk {
        let other = disk.at.join("other");
        leave_free(&disk.at, &other, 200 << 10);
        watching.fires("HedgerowDiskNearlyFull").await;
        std::fs::remove_file(&other).expect("ours");
        watching.only(&[ending]).await;
    }

    // After all these failures no panel is empty.
    watching.shows_all_panels().await;

    // A new certificate replaces the old one.
    drop(hedgerow);
    certificate(folder, 90);
    let hedgerow = Running::start(folder, &yaml, &[], admin).await;
    watching.only(&[]).await;
    drop(hedgerow);
}
