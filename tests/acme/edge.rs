//! A server with a listener for each kind of client, and the requests of the tests to it.

use std::net::SocketAddr;
use std::process::Command;

use super::pebble::Pebble;
use super::secure::{Connection, TrustedAuthorities};
use super::support::address::unused_address;
use super::support::running::{get, until, Running};

/// The address of a server that starts later.
pub struct EdgeAddresses {
    pub folder: tempfile::TempDir,
    pub http: SocketAddr,
    pub https: SocketAddr,
    pub admin: SocketAddr,
}

impl EdgeAddresses {
    pub async fn new() -> Self {
        Self {
            folder: tempfile::tempdir().unwrap(),
            http: unused_address(),
            https: unused_address(),
            admin: unused_address(),
        }
    }

    /// An address that the authority can reach.
    pub async fn seen_by(pebble: &Pebble) -> Self {
        let addresses = Self::new().await;
        pebble.http.lead_to(addresses.http);
        pebble.tls.lead_to(addresses.https);
        addresses
    }

    /// A configuration with this YAML as its certificates.
    pub fn yaml(&self, tls: &str) -> String {
        let (http, https, admin) = (self.http, self.https, self.admin);
        format!(
            "listen:\n  - {{address: \"{http}\", redirect: https, health: /up}}\n  \
             - {{address: \"{https}\", health: /up, tls: {tls}}}\nadmin: \"{admin}\"\n\
             projects:\n  shop: {{host: \"http://127.0.0.1:9\", api_key: phc_test}}\n\
             routes:\n  - {{path: /hr/, segment: {{project: shop}}}}\n  \
             - {{path: /, origin: \"http://127.0.0.1:9\"}}\n"
        )
    }

    pub async fn start(self, tls: &str) -> AcmeServer {
        let yaml = self.yaml(tls);
        let running = Running::start(self.folder.path(), &yaml, &[], self.admin).await;
        AcmeServer {
            running,
            addresses: self,
        }
    }
}

/// A server with a listener for each kind of client.
pub struct AcmeServer {
    pub running: Running,
    pub addresses: EdgeAddresses,
}

impl AcmeServer {
    /// Stops the server and starts it again.
    pub async fn start_again(self, tls: &str) -> Self {
        drop(self.running);
        self.addresses.start(tls).await
    }

    /// Reloads with another configuration.
    pub fn change(&self, tls: &str) {
        let new = self.addresses.folder.path().join("new.yaml");
        std::fs::write(&new, self.addresses.yaml(tls)).unwrap();
        std::fs::rename(new, &self.running.file).unwrap();
        self.reload();
    }

    /// The output of a `hedgerow` command with the server's configuration.
    pub fn command(&self, name: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .args([name, "-c"])
            .arg(&self.running.file)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }

    /// Reloads the configuration file.
    pub fn reload(&self) {
        let id = self.running.id().to_string();
        let sent = Command::new("kill").args(["-HUP", &id]).status();
        assert!(sent.unwrap().success());
    }

    /// The value of a metric.
    pub async fn metric(&self, name: &str) -> f64 {
        let answer = get(self.addresses.admin, "/metrics").await;
        let text = String::from_utf8(answer.body).unwrap();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(name));
        let value = lines.find_map(|rest| rest.trim().parse().ok());
        value.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
    }

    pub async fn issued(&self) -> f64 {
        self.metric("hedgerow_acme_orders_total{outcome=\"issued\"}")
            .await
    }

    /// Waits until it has issued so many. A certificate is served a moment before it is counted.
    pub async fn has_issued(&self, number: f64) {
        until("the count of certificates", || async {
            let issued = self.issued().await;
            (issued == number).then_some(()).ok_or(issued.to_string())
        })
        .await;
    }

    /// Waits until so many certificates fail. A success is logged a moment before it is recorded.
    pub async fn fails(&self, number: f64) {
        until("the count of failures", || async {
            let failing = self.metric("hedgerow_acme_failing").await;
            (failing == number).then_some(()).ok_or(failing.to_string())
        })
        .await;
    }

    /// Connects to a name, and waits until its certificate exists.
    pub async fn connected(&self, trust: &TrustedAuthorities, name: &str) -> Connection {
        until("a certificate", || async {
            let connection = trust.connect(self.addresses.https, name).await;
            connection.map_err(|error| format!("{name}: {error}\n{}", self.running.log()))
        })
        .await
    }

    /// The same, with reloads that ask for another attempt.
    pub async fn recovers(&self, trust: &TrustedAuthorities, name: &str) -> Connection {
        let mut round = 0;
        until("a certificate after a reload", || {
            // 20 checks and one reload a second.
            round += 1;
            if round % 20 == 1 {
                self.reload();
            }
            async {
                let connection = trust.connect(self.addresses.https, name).await;
                connection.map_err(|error| format!("{name}: {error}\n{}", self.running.log()))
            }
        })
        .await
    }

    pub async fn logs(&self, text: &str) -> String {
        until("a line of the log", || async {
            let log = self.running.log();
            // Without a line that is still being written.
            let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
            let found = whole.lines().find(|line| line.contains(text));
            found
                .map(str::to_owned)
                .ok_or_else(|| format!("{text:?} is not in\n{log}"))
        })
        .await
    }
}
