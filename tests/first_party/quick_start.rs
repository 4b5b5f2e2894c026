//! Follows docs/quickstart.md exactly for each of its layouts: runs its blocks, with a stand-in for
//! PostHog and free ports, until the page's event arrives.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use hedgerow::demo::http::{Handler, Request, Response};
use http::StatusCode;
use tokio::process::{Child, Command};

use super::address::unused_address;
use super::installed::{PostHogJs, Prerequisite, Version};
use super::setup::{self, API_KEY};
use super::stand_in::StandIn;
use super::visitor::{Visitor, ANALYTICS, POSTHOG, TURN};
use super::visits::is_here;

/// The blocks of a section in order, each with its language.
fn blocks(section: &str, language: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/quickstart.md");
    let document = std::fs::read_to_string(path).unwrap();
    let start = format!("\n## {section}\n");
    let rest = document.split(&start).nth(1).unwrap();
    let section = rest.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let pieces = section.split(&fence).skip(1);
    pieces
        .map(|piece| piece.split("```").next().unwrap().to_owned())
        .collect()
}

/// The site's page, with this in its head.
struct Pages(String);

fn page(head: &str) -> String {
    format!(
        "<!doctype html><html><head><meta charset=utf-8><title>The shop</title>\
         <link rel=icon href=data:,>{head}</head><body>Hello</body></html>"
    )
}

impl Handler for Pages {
    fn handle(&self, request: &Request) -> Response {
        match request.path.as_str() {
            "/" => Response::new(StatusCode::OK, "text/html; charset=utf-8", page(&self.0)),
            _ => Response::empty(StatusCode::NOT_FOUND),
        }
    }
}

async fn until_it_listens(address: SocketAddr) {
    let deadline = tokio::time::Instant::now() + setup::PATIENCE;
    while tokio::net::TcpStream::connect(address).await.is_err() {
        assert!(tokio::time::Instant::now() < deadline, "{address}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

/// A reader's shell in a folder of its own.
struct Reader {
    folder: tempfile::TempDir,
    /// The values of the test for those of the document.
    instead: Vec<(&'static str, String)>,
    /// What the commands printed on standard error.
    said: String,
    running: Option<Child>,
}

impl Reader {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let binary = Path::new(env!("CARGO_BIN_EXE_hedgerow")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new(program);
        command
            .current_dir(self.folder.path())
            .env("PATH", path)
            .env_remove("HEDGEROW_CONFIG")
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a section's blocks line by line, up to the command that serves.
    async fn follows(&mut self, section: &str) {
        let mut lines = Vec::new();
        let blocks = blocks(section, "sh").concat();
        for line in blocks.lines() {
            assert!(
                !lines.contains(&"hedgerow run".to_owned()),
                "{line}: never reached"
            );
            let mut line = line.to_owned();
            for (from, to) in &self.instead {
                line = line.replace(from, to);
            }
            // The package manager's command: the test downloads nothing.
            if line == "npm install @segment/analytics-next" {
                let scope = self.path("node_modules/@segment");
                std::fs::create_dir_all(&scope).unwrap();
                let package = Prerequisite::AnalyticsJs(Version::Newest).path();
                std::os::unix::fs::symlink(package, scope.join("analytics-next")).unwrap();
                continue;
            }
            lines.push(line);
        }
        let last = lines.pop().unwrap();
        assert_eq!(last, "hedgerow run", "{blocks}");
        let script = lines.join("\n");
        let output = self
            .command("sh")
            .args(["-e", "-c", &script])
            .output()
            .await
            .unwrap();
        self.said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{script}\n{}", self.said);
        let log = std::fs::File::create(self.path("log")).unwrap();
        let serving = self
            .command("hedgerow")
            .arg("run")
            .env("POSTHOG_API_KEY", API_KEY)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn();
        self.running = Some(serving.unwrap());
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log")).unwrap_or_default()
    }
}

/// Opens the page and waits for its event with a session; then runs `doctor`.
async fn the_event_comes(reader: &Reader, stand_in: &StandIn, url: &str, outside: SocketAddr) {
    let mut visitor = Visitor::with_chromium().await;
    visitor.open(url).await;
    visitor.until(ANALYTICS).await;
    visitor.until(POSTHOG).await;
    let deadline = tokio::time::Instant::now() + setup::PATIENCE;
    let event = loop {
        let events = stand_in.capture.events();
        let first = events.iter().find(|event| event.event == "$pageview");
        if let Some(event) = first {
            break serde_json::from_str::<serde_json::Value>(&event.raw).unwrap();
        }
        let seen = visitor.seen().await;
        let late = tokio::time::Instant::now() > deadline;
        assert!(
            !late,
            "{:#?}\n{}\n{}",
            seen.errors,
            reader.said,
            reader.log()
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    };
    assert_eq!(event["properties"]["$current_url"], url, "{event:#}");
    assert!(event["properties"]["$session_id"].is_string(), "{event:#}");
    let report = visitor.leave().await;
    assert_eq!(report.errors, [""; 0], "{}", reader.log());
    let [doctor] = blocks("Check that it works", "sh").try_into().unwrap();
    let doctor = doctor
        .trim()
        .replace("https://shop.example.com", &format!("http://{outside}"));
    let looked = reader
        .command("sh")
        .args(["-c", &doctor])
        .env("POSTHOG_API_KEY", API_KEY)
        .output()
        .await
        .unwrap();
    let said = String::from_utf8(looked.stdout).unwrap();
    assert!(looked.status.success() && !said.contains("BAD"), "{said}");
    assert!(said.contains("from outside, path: "), "{said}");
}

/// A stand-in for PostHog, and a reader with its host and a free address to listen on.
async fn start() -> (Arc<StandIn>, Reader, SocketAddr) {
    let stand_in = setup::stand_in(PostHogJs::Newest);
    let (posthog, _) = setup::start(Arc::clone(&stand_in) as _).await;
    let address = unused_address();
    let reader = Reader {
        folder: tempfile::tempdir().unwrap(),
        instead: vec![
            ("phc_…", API_KEY.to_owned()),
            ("--host us", format!("--host http://{posthog}")),
            ("hedgerow init", format!("hedgerow init --listen {address}")),
        ],
        said: String::new(),
        running: None,
    };
    (stand_in, reader, address)
}

fn nginx() -> Option<PathBuf> {
    let found = ["/usr/sbin/nginx", "/usr/local/sbin/nginx", "/usr/bin/nginx"];
    let found = found
        .map(PathBuf::from)
        .into_iter()
        .find(|file| file.is_file());
    if found.is_none() {
        let required = std::env::var("HEDGEROW_CLIENTS").is_ok_and(|value| value == "required");
        assert!(!required, "nginx is required and not installed");
        println!("SKIPPED: nginx is not installed (apt-get install nginx)");
    }
    found
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_path_of_the_site_handed_over_by_nginx_leads_from_nothing_to_the_event() {
    let test = "a_path_of_the_site_handed_over_by_nginx_leads_from_nothing_to_the_event";
    if !is_here(test, Version::Newest) {
        return;
    }
    let Some(nginx) = nginx() else {
        return;
    };
    let _turn = TURN.lock().await;
    let (stand_in, mut reader, address) = start().await;
    reader.follows("A path of the site").await;
    until_it_listens(address).await;
    // The command printed the document's lines, with the path and address of this file.
    let (_, printed) = reader.said.split_once("\n\n").unwrap();
    let (printed, _) = printed.split_once("\n\n").unwrap();
    let [shown] = blocks("A path of the site", "nginx").try_into().unwrap();
    let path = printed.split_whitespace().nth(2).unwrap();
    let shown = shown
        .replace("/hr/", path)
        .replace("127.0.0.1:8080", &address.to_string());
    assert_eq!(printed.trim(), shown.trim());
    let front = unused_address();
    let snippet = std::fs::read_to_string(reader.path("snippet.html")).unwrap();
    std::fs::create_dir(reader.path("site")).unwrap();
    std::fs::write(reader.path("site/index.html"), page(&snippet)).unwrap();
    let place = reader.folder.path().display();
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {place}/{kind};\n"))
        .concat();
    let whole = format!(
        "daemon off;\nmaster_process off;\npid {place}/pid;\nerror_log stderr;\nuser root;\n\
         events {{}}\nhttp {{\naccess_log off;\n{temporary}server {{\nlisten {front};\n{printed}\n\
         location / {{ root {place}/site; }}\n}}\n}}\n"
    );
    std::fs::write(reader.path("nginx.conf"), whole).unwrap();
    let file = reader.path("nginx.conf");
    let _site = Command::new(nginx)
        .args(["-e", "stderr", "-c"])
        .arg(&file)
        .stderr(std::fs::File::create(reader.path("nginx.log")).unwrap())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    until_it_listens(front).await;
    let url = format!("http://shop.test:{}/", front.port());
    the_event_comes(&reader, &stand_in, &url, front).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_front_of_the_site_leads_from_nothing_to_the_event() {
    let test = "in_front_of_the_site_leads_from_nothing_to_the_event";
    if !is_here(test, Version::Newest) {
        return;
    }
    let _turn = TURN.lock().await;
    let (stand_in, mut reader, address) = start().await;
    let (site, _) = setup::start(Arc::new(Pages(String::new()))).await;
    let origin = format!("http://{site}");
    reader.instead.push(("http://127.0.0.1:3000", origin));
    reader.follows("In front of the site").await;
    until_it_listens(address).await;
    let url = format!("http://shop.test:{}/", address.port());
    the_event_comes(&reader, &stand_in, &url, address).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_layout_with_its_own_host_leads_to_the_first_event() {
    let test = "the_layout_with_its_own_host_leads_to_the_first_event";
    if !is_here(test, Version::Newest) {
        return;
    }
    let _turn = TURN.lock().await;
    let (stand_in, mut reader, address) = start().await;
    let home = format!("http://t.shop.test:{}", address.port());
    reader.instead.push(("https://t.example.com", home));
    reader.follows("Its own host").await;
    until_it_listens(address).await;
    let snippet = std::fs::read_to_string(reader.path("snippet.html")).unwrap();
    let (site, _) = setup::start(Arc::new(Pages(snippet))).await;
    let url = format!("http://shop.test:{}/", site.port());
    the_event_comes(&reader, &stand_in, &url, address).await;
}
