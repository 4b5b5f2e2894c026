//! The log of the real binary: what it says at its start and end, as text or JSON, and that nothing
//! waits for a reader that does not read it.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use super::get;
use super::metric;
use super::support::client::{post, Client};
use super::support::proxy::{yaml, PostHog};
use super::support::recorder::refused_port;
use super::support::{eventually, track, DEADLINE};

struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    async fn start(yaml: &str, filter: &str, more: &[&str]) -> (Self, std::net::SocketAddr) {
        let folder = tempfile::tempdir().expect("a folder").keep();
        let address = refused_port().await;
        let file = folder.join("hedgerow.yaml");
        let text = format!("listen: \"{address}\"\n{yaml}server: {{grace: 1s}}\n");
        std::fs::write(&file, text).expect("ours");
        let child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
            .arg("run")
            .arg("-c")
            .arg(&file)
            .args(more)
            .env("RUST_LOG", filter)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary");
        let process = Self(child);
        let start = std::time::Instant::now();
        while tokio::net::TcpStream::connect(address).await.is_err() {
            assert!(start.elapsed() < DEADLINE, "it does not listen");
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        (process, address)
    }

    /// Ends it with SIGTERM; all that it has logged.
    async fn end(mut self) -> String {
        let pid = self.0.id().to_string();
        let sent = Command::new("kill").args(["-TERM", &pid]).status();
        assert!(sent.expect("there is a kill").success());
        let mut pipe = self.0.stderr.take().expect("it is piped");
        let reading = std::thread::spawn(move || {
            let mut text = String::new();
            pipe.read_to_string(&mut text).map(|_| text)
        });
        let child = &mut self.0;
        eventually("its end", || child.try_wait().expect("our child")).await;
        reading.join().expect("it reads").expect("text")
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_start_says_where_and_what_and_how_to_try_it_as_text_or_as_json() {
    let posthog = PostHog::start().await;
    for format in ["text", "json"] {
        let (process, address) = Process::start(
            &yaml(&posthog.url()),
            "warn,hedgerow=info",
            &["--log-format", format],
        )
        .await;
        let mut client = Client::connect(address).await;
        let sent = post("/hr/v1/t", "", track(format, 200).as_bytes());
        assert_eq!(client.exchange(&sent).await.status, 200);
        let text = process.end().await;
        for said in [
            format!("listening on {address}"),
            format!("project shop: {}", posthog.url()),
            "route /hr/: segment, project shop, any write key".to_owned(),
            "no spool".to_owned(),
            format!("try it: curl -i http://{address}/hr/v1/track -d "),
            "leaving: ".to_owned(),
        ] {
            let lines = text.lines().filter(|line| line.contains(&said));
            assert_eq!(lines.count(), 1, "{format}: {said} in\n{text}");
        }
        for line in text.lines().filter(|_| format == "json") {
            let value: serde_json::Value = serde_json::from_str(line).expect(line);
            for key in ["time", "level", "target", "message"] {
                assert!(value[key].is_string(), "{key}: {line}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_nobody_reads_holds_no_request_up_and_what_is_lost_is_counted() {
    let posthog = PostHog::start().await;
    let admin = refused_port().await;
    let text = format!("admin: \"{admin}\"\n{}", yaml(&posthog.url()));
    let (process, address) = Process::start(&text, "trace,pingora=trace", &[]).await;
    let mut sent = 0u64;
    let start = std::time::Instant::now();
    // Until the pipe and the queue are full, and then for a while.
    while metric(admin, "hedgerow_log_lines_dropped_total").await < 100 {
        assert!(start.elapsed() < DEADLINE, "nothing is lost after {sent}");
        for _ in 0..50 {
            // A half head each, and a whole request.
            let mut half = Client::connect(address).await;
            half.send(b"POST /hr/v1/t HTTP/1.1\r\nHost: h\r\nX").await;
            drop(half);
            let mut client = Client::connect(address).await;
            let id = sent.to_string();
            let request = post("/hr/v1/t", "", track(&id, 200).as_bytes());
            assert_eq!(client.exchange(&request).await.status, 200);
            sent += 1;
        }
    }
    posthog.events(sent).await;
    assert_eq!(get(admin, "/healthz").await.status, 200);
    let text = process.end().await;
    assert!(text.contains("lines of the log were dropped"), "{sent}");
}
