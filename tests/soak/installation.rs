//! A proxy with its configuration, as a series of processes with kills, hand-overs and reloads.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::dice::Dice;
use super::process::{self, Process, ProcessEnvironment};
use super::run::Plan;
use super::support::address::unused_address;
use super::support::tls::Certificates;

pub struct Installation {
    pub name: &'static str,
    pub process: Process,
    /// The current process.
    pub id: Arc<AtomicU32>,
    pub admin: SocketAddr,
    others: OtherListeners,
    rest: String,
}

/// The other listeners, and the folder of the files.
struct OtherListeners {
    h2c: SocketAddr,
    secure: SocketAddr,
    folder: tempfile::TempDir,
}

impl OtherListeners {
    fn listen(&self) -> String {
        let at = |name: &str| self.folder.path().join(name).display().to_string();
        format!(
            "[{{address}}, {{address: \"{}\", h2c: on}}, {{address: \"{}\", tls: {{certificate: \"{}\", key: \"{}\"}}}}]",
            self.h2c,
            self.secure,
            at("certificate.pem"),
            at("key.pem"),
        )
    }

    /// Replaces the certificate.
    fn certify(&self) {
        let made = Certificates::new(&["localhost"]);
        for name in ["certificate.pem", "key.pem"] {
            let new = self.folder.path().join("new");
            std::fs::copy(made.file(name), &new).expect("the folder is ours");
            std::fs::rename(&new, self.folder.path().join(name)).expect("the folder is ours");
        }
    }
}

impl Installation {
    /// Starts a proxy that sends events to `posthog`, proxies pages from `site`, and stores events
    /// in `spool`.
    pub async fn start(
        name: &'static str,
        around: ProcessEnvironment,
        [posthog, site, spool]: [&str; 3],
    ) -> Self {
        let others = OtherListeners {
            h2c: unused_address(),
            secure: unused_address(),
            folder: tempfile::tempdir().expect("a folder"),
        };
        let admin = unused_address();
        let rest = format!(
            "admin: \"{admin}\"\nprojects:\n  shop: {{host: \"{posthog}\", api_key: phc_test}}\n\
             routes:\n  - path: /hr/\n    segment: {{project: shop, write_keys: any}}\n  \
             - {{path: /ph/, posthog: shop}}\n  - {{path: /, origin: \"{site}\"}}\n\
             delivery: {{connect_timeout: 1s, timeout: 1s, spool: {spool}}}\n",
        );
        others.certify();
        let process =
            Process::start_in(around, others.folder.path(), &others.listen(), &rest).await;
        Self {
            name,
            id: Arc::new(AtomicU32::new(process.id())),
            process,
            admin,
            others,
            rest,
        }
    }

    pub fn addresses(&self) -> [SocketAddr; 3] {
        [self.process.address, self.others.h2c, self.others.secure]
    }

    pub fn file(&self) -> &Path {
        &self.process.file
    }

    /// The configuration with another limit, which a reload activates.
    fn configure(&self, round: usize) {
        let new = self.others.folder.path().join("new.yaml");
        let rest = format!("{}limits: {{event: {}kB}}\n", self.rest, 900 + round % 100);
        let Process {
            address, socket, ..
        } = &self.process;
        process::write(&new, *address, socket, &self.others.listen(), &rest);
        std::fs::rename(new, &self.process.file).expect("the folder is ours");
    }

    /// The first half of the run has kills and hand-overs; in the second half the process stays, so
    /// that its memory can be measured. Reloads and new certificates come all the time. Returns a
    /// text about what was done.
    pub async fn turn(&mut self, plan: Plan, mut dice: Dice) -> String {
        let (start, mut round, mut kills, mut hand_overs) = (Instant::now(), 0, 0, 0);
        let pause = (plan.span / 2).as_millis() as u64 / (2 * plan.kills as u64 + 1);
        let mut next = Duration::from_millis(pause);
        while start.elapsed() < plan.span {
            tokio::time::sleep(Duration::from_millis(dice.between(700, 1_500))).await;
            round += 1;
            self.configure(round);
            if round % 3 == 0 {
                self.others.certify();
            }
            if start.elapsed() >= next && start.elapsed() < plan.span / 2 {
                next += Duration::from_millis(pause);
                if kills <= hand_overs {
                    kills += 1;
                    self.process.signal("-KILL");
                    self.process.end().await;
                    self.process.start_again().await;
                } else {
                    hand_overs += 1;
                    self.process.hand_over().await;
                }
                self.id.store(self.process.id(), Ordering::Relaxed);
            }
        }
        format!("{kills} kills, {hand_overs} hand-overs, {round} configurations")
    }
}
