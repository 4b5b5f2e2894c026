//! Debian's `pebble`, an authority for tests, with a name server that resolves every name to this
//! machine.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::secure::TrustedAuthorities;
use super::support::address::unused_address;
use super::support::running::{until, Ended};
use super::support::tls::Certificates;

/// How often the start is tried again: another program may have taken the free port.
const TRIES: usize = 10;

/// An address that redirects, or refuses connections.
pub struct Relay {
    pub address: SocketAddr,
    to: Arc<Mutex<Option<SocketAddr>>>,
    accepting: JoinHandle<()>,
}

impl Relay {
    pub async fn nowhere() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let to = Arc::<Mutex<Option<SocketAddr>>>::default();
        let known = Arc::clone(&to);
        let accepting = tokio::spawn(async move {
            while let Ok((mut here, _)) = listener.accept().await {
                let to = *known.lock().unwrap();
                let Some(to) = to else { continue };
                tokio::spawn(async move {
                    if let Ok(mut there) = TcpStream::connect(to).await {
                        let _ = copy_bidirectional(&mut here, &mut there).await;
                    }
                });
            }
        });
        Self {
            address,
            to,
            accepting,
        }
    }

    pub fn lead_to(&self, to: SocketAddr) {
        *self.to.lock().unwrap() = Some(to);
    }

    pub fn cut(&self) {
        *self.to.lock().unwrap() = None;
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The authority. It validates names at the ports `http` and `tls`, and receives requests at
/// `directory`.
pub struct Pebble {
    pub http: Relay,
    pub tls: Relay,
    pub directory: Relay,
    certificates: Certificates,
    folder: tempfile::TempDir,
    extra: String,
    variables: Vec<(&'static str, &'static str)>,
    running: Option<(Ended, Ended)>,
    served: SocketAddr,
    management: SocketAddr,
}

impl Pebble {
    /// The same with these further settings, as JSON that begins with a comma. `None`, with a
    /// message, if pebble is not installed.
    pub async fn start(extra: &str) -> Option<Self> {
        let plain = [("PEBBLE_WFE_NONCEREJECT", "0"), ("PEBBLE_AUTHZREUSE", "0")];
        Self::start_with(extra, &plain).await
    }

    /// The same with these environment variables, which configure how it validates.
    pub async fn start_with(
        extra: &str,
        variables: &[(&'static str, &'static str)],
    ) -> Option<Self> {
        if !installed() {
            return None;
        }
        let nowhere = unused_address();
        let mut pebble = Self {
            http: Relay::nowhere().await,
            tls: Relay::nowhere().await,
            directory: Relay::nowhere().await,
            certificates: Certificates::new(&["localhost", "127.0.0.1"]),
            folder: tempfile::tempdir().unwrap(),
            extra: extra.to_owned(),
            variables: variables.to_vec(),
            running: None,
            served: nowhere,
            management: nowhere,
        };
        pebble.start_anew().await;
        Some(pebble)
    }

    /// Starts it again without its accounts and orders.
    pub async fn start_anew(&mut self) {
        self.running = None;
        for _ in 0..TRIES {
            if self.try_start().await {
                self.start_leading();
                return;
            }
        }
        panic!("pebble does not start: {}", self.log());
    }

    /// Makes its directory reachable again.
    pub fn start_leading(&self) {
        self.directory.lead_to(self.served);
    }

    async fn try_start(&mut self) -> bool {
        let [served, management, dns, unused] = [
            unused_address(),
            unused_address(),
            unused_address(),
            unused_address(),
        ];
        let file = |name: &str| self.folder.path().join(name);
        let quoted = |path: &Path| format!("\"{}\"", path.display());
        let config = format!(
            "{{\"pebble\":{{\"listenAddress\":\"{served}\",\"managementListenAddress\":\"{management}\",\
             \"certificate\":{},\"privateKey\":{},\"httpPort\":{},\"tlsPort\":{}{}}}}}",
            quoted(&self.certificates.file("certificate.pem")),
            quoted(&self.certificates.file("key.pem")),
            self.http.address.port(),
            self.tls.address.port(),
            self.extra
        );
        std::fs::write(file("config.json"), config).unwrap();
        let started = |program: &str, arguments: &[&str]| {
            let log = std::fs::File::create(file(program)).unwrap();
            let child = Command::new(program)
                .args(arguments)
                // Answers each question in a separate task.
                .env("PEBBLE_VA_NOSLEEP", "1")
                .envs(self.variables.iter().copied())
                .stdin(Stdio::null())
                .stdout(log.try_clone().unwrap())
                .stderr(log)
                .spawn();
            Ended(child.unwrap())
        };
        let (dns, unused) = (dns.to_string(), unused.to_string());
        let names = started(
            "pebble-challtestsrv",
            &[
                "-dns01",
                &dns,
                "-defaultIPv4",
                "127.0.0.1",
                "-defaultIPv6",
                "",
                "-http01",
                "",
                "-https01",
                "",
                "-tlsalpn01",
                "",
                "-management",
                &unused,
            ],
        );
        let config = file("config.json");
        let authority = started(
            "pebble",
            &["-config", config.to_str().unwrap(), "-dnsserver", &dns],
        );
        (self.served, self.management) = (served, management);
        let mut running = (names, authority);
        let dns: SocketAddr = dns.parse().unwrap();
        for address in [served, management, dns] {
            while TcpStream::connect(address).await.is_err() {
                let ended = |one: &mut Ended| one.0.try_wait().unwrap().is_some();
                if ended(&mut running.0) || ended(&mut running.1) {
                    return false;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        self.running = Some(running);
        true
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("pebble")).unwrap_or_default()
    }

    /// The YAML of a certificate from this authority, in one line; `more` begins with a comma.
    pub fn acme(&self, storage: &Path, more: &str) -> String {
        format!(
            "{{acme: {{directory: \"https://{}/dir\", ca_file: \"{}\", storage: \"{}\"{more}}}}}",
            self.directory.address,
            self.certificates.file("ca.pem").display(),
            storage.display()
        )
    }

    /// The folder in `storage` with the files of this authority.
    pub fn folder(&self, storage: &Path) -> std::path::PathBuf {
        storage.join(format!(
            "127.0.0.1%3A{}%2Fdir",
            self.directory.address.port()
        ))
    }

    /// The authorities that a client needs to trust it.
    pub async fn trust(&self) -> TrustedAuthorities {
        let own = std::fs::read(self.certificates.file("ca.pem")).unwrap();
        let own = TrustedAuthorities::in_pem(&own);
        let pem = until("its root", || async {
            let mut connection = own.connect(self.management, "localhost").await?;
            connection.get("/roots/0").await
        });
        TrustedAuthorities::in_pem(pem.await.as_bytes())
    }
}

fn installed() -> bool {
    let there = |program: &str| {
        let mut asking = Command::new(program);
        asking.arg("-help").stdout(Stdio::null());
        asking.stderr(Stdio::null()).status().is_ok()
    };
    let found = there("pebble") && there("pebble-challtestsrv");
    if !found {
        println!(
            "\n*** SKIPPED, no certificate was ordered: pebble is not installed; `make test` \
             installs it ***"
        );
    }
    found
}
