//! The real binary with a spool, started inside a wrapper command.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hedgerow::demo::capture::Capture;
use tokio::net::TcpStream;

use super::support::address::unused_address;
use super::support::recorder::distinct_id;
use super::support::running::Ended;
use super::support::DEADLINE;

pub struct Setup {
    pub address: SocketAddr,
    process: Ended,
    folder: tempfile::TempDir,
}

impl Setup {
    /// Starts the binary inside this wrapper, with a Segment route at `/hr/` and a site at the
    /// other paths.
    pub async fn start(wrapper: &[String], posthog: &str, site: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        // Another user must be able to read it.
        open_to_all(folder.path());
        let address = unused_address();
        let spool = folder.path().join("spool");
        let yaml = format!(
            "listen: \"{address}\"\n\
             projects:\n  shop: {{host: \"{posthog}\", api_key: phc_test}}\n\
             routes:\n  - path: /hr/\n    segment: {{project: shop, write_keys: any}}\n  \
             - {{path: /, origin: \"{site}\"}}\n\
             delivery: {{connect_timeout: 1s, timeout: 5s, spool: {{path: \"{}\"}}}}\n",
            spool.display()
        );
        let file = folder.path().join("hedgerow.yaml");
        std::fs::write(&file, yaml).expect("the folder is ours");
        let log = std::fs::File::create(folder.path().join("log")).expect("the folder is ours");
        let mut words: Vec<&str> = wrapper.iter().map(String::as_str).collect();
        let file = file.display().to_string();
        words.extend([env!("CARGO_BIN_EXE_hedgerow"), "run", "-c", &file]);
        let process = Command::new(words[0])
            .args(&words[1..])
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("it is there");
        let mut setup = Self {
            address,
            process: Ended(process),
            folder,
        };
        let start = Instant::now();
        while TcpStream::connect(address).await.is_err() {
            let ended = setup.process.0.try_wait().expect("our own process");
            assert!(ended.is_none(), "it ended: {ended:?}\n{}", setup.log());
            assert!(start.elapsed() < DEADLINE, "{}", setup.log());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        setup
    }

    /// The wrapper replaces itself with its command, so this is the proxy's process id.
    pub fn id(&self) -> u32 {
        self.process.0.id()
    }

    /// Replaces the configuration file.
    pub fn configure(&self, from: &str, to: &str) {
        let file = self.folder.path().join("hedgerow.yaml");
        let yaml = std::fs::read_to_string(&file).expect("it is there");
        let new = yaml.replace(from, to);
        assert_ne!(new, yaml);
        std::fs::write(file, new).expect("the folder is ours");
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).expect("it is there")
    }

    pub fn descriptors(&self) -> usize {
        let folder = format!("/proc/{}/fd", self.id());
        std::fs::read_dir(folder).expect("it runs").count()
    }

    /// Whether the connections of the burst have closed.
    pub fn descriptors_are_few(&self) -> bool {
        self.descriptors() < 100
    }

    /// Waits until PostHog has all of these.
    pub async fn all_arrive(&self, capture: &Capture, ids: &[String]) {
        let start = Instant::now();
        let wanted: BTreeSet<&str> = ids.iter().map(String::as_str).collect();
        loop {
            let events = capture.events();
            let there: BTreeSet<String> = events
                .iter()
                .map(|event| distinct_id(&serde_json::from_str(&event.raw).expect("JSON")))
                .collect();
            let missing: Vec<_> = wanted.iter().filter(|id| !there.contains(**id)).collect();
            if missing.is_empty() {
                return;
            }
            assert!(
                start.elapsed() < DEADLINE,
                "{missing:?} did not arrive:\n{}",
                self.log()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

fn open_to_all(folder: &std::path::Path) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o777)).expect("it is ours");
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|about| {
        use std::os::unix::fs::MetadataExt;
        about.uid() == 0
    })
}

/// A wrapper that runs a command as a user without other processes, so that the user's threads are
/// those of this test. `None` for an ordinary user, whom the limits bind anyway.
pub fn unprivileged() -> Option<Vec<String>> {
    if !is_root() {
        return None;
    }
    let user = 60_000 + std::process::id() % 5_000;
    let words = ["setpriv", "--reuid", &user.to_string(), "--clear-groups"].map(str::to_owned);
    let works = Command::new(&words[0])
        .args(&words[1..])
        .args([env!("CARGO_BIN_EXE_hedgerow"), "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    works.then(|| words.to_vec())
}

/// A wrapper that runs a command in a mount namespace in which this file replaces the system's.
pub fn with_file_instead(file: &std::path::Path, of: &str) -> Option<Vec<String>> {
    let script = format!(
        "mount --bind '{}' {of} && exec \"$0\" \"$@\"",
        file.display()
    );
    let words = ["unshare", "--mount", "sh", "-c", &script].map(str::to_owned);
    let works = Command::new(&words[0])
        .args(&words[1..])
        .arg("true")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success());
    works.then(|| words.to_vec())
}
