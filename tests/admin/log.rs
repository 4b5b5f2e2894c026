//! The log of the real binary: the lines at the start and the end, as text and as JSON; and a
//! reader that does not read the log delays nothing.

use std::io::Read;
use std::process::{Child, Command, Stdio};

use super::get;
use super::metric;
use super::support::address::unused_address;
use super::support::client::{post, Client};
use super::support::proxy::{yaml, PostHog};
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
        let address = unused_address();
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

    /// Stops the process with SIGTERM and returns its whole log.
    async fn end(mut self) -> String {
        let pid = self.0.id().to_string();
        // The process serves a moment before it handles signals.
        eventually("it catches SIGTERM", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
            let caught = status.split("SigCgt:").nth(1)?.split_whitespace().next()?;
            let caught = u64::from_str_radix(caught, 16).ok()?;
            (caught & (1 << 14) != 0).then_some(())
        })
        .await;
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
async fn the_start_logs_addresses_routes_and_a_command_as_text_or_json() {
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
            "shutting down: ".to_owned(),
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

/// Requests of each kind of route, with the values that must never be in a log.
async fn requests_with_secrets(address: std::net::SocketAddr, trace: &str) {
    let body = track("secret-payload", 200);
    let headers = format!("traceparent: {trace}\r\n");
    let get = |path: &str| {
        format!("GET {path} HTTP/1.1\r\nHost: shop.example\r\n{headers}\r\n").into_bytes()
    };
    for (request, status) in [
        (
            post("/hr/v1/t?writeKey=wk_secret", &headers, body.as_bytes()),
            200,
        ),
        (post("/hr/v1/projects/wk_secret/none", &headers, b"{}"), 404),
        (get("/ph/array/phc_secret/config?token=phc_secret"), 200),
        (
            post("/ph/e/?token=phc_secret", &headers, body.as_bytes()),
            200,
        ),
        (get("/account/reset?code=secret-code"), 200),
    ] {
        let mut client = Client::connect(address).await;
        assert_eq!(client.exchange(&request).await.status, status);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_request_has_one_line_with_its_trace_and_no_content() {
    use super::support::recorder::Recorder;
    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let (posthog, site) = (Recorder::start().await, Recorder::start().await);
    let routes = format!(
        "routes:\n  - {{path: /ph/, posthog: shop}}\n  - {{path: /account/, origin: \"{}\"}}\n",
        site.url()
    );
    let text = yaml(&posthog.url()).replace("routes:\n", &routes);
    for (flags, filter, number) in [
        (
            &["--access-log", "--log-format", "json"][..],
            "hedgerow=info",
            5,
        ),
        (&["--access-log"], "hedgerow=info", 5),
        (&[], "hedgerow=debug", 5),
        (&[], "hedgerow=info", 0),
    ] {
        let (process, address) = Process::start(&text, filter, flags).await;
        requests_with_secrets(address, TRACE).await;
        let log = process.end().await;
        let lines: Vec<&str> = log
            .lines()
            .filter(|line| line.contains("hedgerow::access"))
            .collect();
        assert_eq!(lines.len(), number, "{flags:?} {filter}\n{log}");
        for secret in [
            "secret",
            "phc_",
            "/array",
            "shop.example",
            "?",
            "00f067aa0ba902b7",
        ] {
            let told = lines.iter().find(|line| line.contains(secret));
            assert_eq!(told, None, "{secret}");
        }
        let expected = [
            "POST /hr/ track: 200 ok, ",
            "POST /hr/ unknown: 404 unknown_path, ",
            "GET /ph/ posthog: 200 ok, ",
            "POST /ph/ posthog: 200 relayed, ",
            "GET /account/ site: 200 relayed, ",
        ];
        for said in expected.iter().take(number) {
            let of_it = lines.iter().filter(|line| line.contains(said));
            assert_eq!(of_it.count(), 1, "{said} in {lines:#?}");
        }
        for line in &lines {
            assert!(
                line.contains("trace 4bf92f3577b34da6a3ce929d0e0e4736"),
                "{line}"
            );
            if flags.contains(&"json") {
                let line: serde_json::Value = serde_json::from_str(line).expect(line);
                assert_eq!(line["trace"], "4bf92f3577b34da6a3ce929d0e0e4736");
                assert!(
                    line["milliseconds"].is_number() && line["received"].is_u64(),
                    "{line}"
                );
            }
        }
    }
    // The traceparent goes to both; no header of the sender goes with an event.
    for (server, path) in [
        (&posthog, "GET /array/"),
        (&posthog, "POST /e/"),
        (&site, "GET /account/reset"),
    ] {
        let seen = server.seen();
        let of_path: Vec<_> = seen
            .iter()
            .filter(|one| one.head.starts_with(path))
            .collect();
        assert_eq!(of_path.len(), 4, "{path}");
        for request in of_path {
            assert_eq!(
                request.header("traceparent").as_deref(),
                Some(TRACE),
                "{path}"
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_is_not_read_delays_no_request_and_lost_lines_are_counted() {
    let posthog = PostHog::start().await;
    let admin = unused_address();
    let text = format!("admin: \"{admin}\"\n{}", yaml(&posthog.url()));
    let (process, address) = Process::start(&text, "trace,pingora=trace", &[]).await;
    let mut sent = 0u64;
    let start = std::time::Instant::now();
    // Fills the pipe and the queue, and goes on for a while.
    while metric(admin, "hedgerow_log_lines_dropped_total").await < 100 {
        assert!(start.elapsed() < DEADLINE, "nothing is lost after {sent}");
        for _ in 0..50 {
            // A cut head and a whole request for each.
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
