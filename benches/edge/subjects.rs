//! The processes that are measured.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pingora::proxy::{http_proxy_service, ProxyHttp, Session};
use pingora::server::configuration::ServerConf;
use pingora::server::Server;
use pingora::upstreams::peer::HttpPeer;

/// Set for the process that is the pass-through: where it passes to.
pub const PASS_THROUGH: &str = "HEDGEROW_BENCH_PASS_THROUGH";

/// The number of the subject that the others are compared with.
pub const WITHOUT_SPOOL: usize = 1;

/// Threads that serve requests, for all of them.
const THREADS: usize = 2;

pub struct Subject {
    pub name: &'static str,
    pub address: SocketAddr,
    child: Child,
}

impl Drop for Subject {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Subject {
    /// CPU time of all its threads so far, in user and in system mode (proc(5), fields 14 and 15).
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<&str> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        // USER_HZ is 100 on every Linux that Rust runs on.
        Duration::from_millis(ticks * 10)
    }
}

pub fn start(folder: &Path, upstream: SocketAddr) -> Vec<Subject> {
    let spool = format!("{{path: \"{}\"}}", folder.join("spool").display());
    vec![
        start_pass_through(upstream),
        hedgerow(
            folder,
            "enriched, without spool",
            "enriched",
            "\"off\"",
            upstream,
        ),
        hedgerow(folder, "enriched, with spool", "enriched", &spool, upstream),
        hedgerow(
            folder,
            "reference, without spool",
            "reference",
            "\"off\"",
            upstream,
        ),
    ]
}

fn hedgerow(
    folder: &Path,
    name: &'static str,
    mode: &str,
    spool: &str,
    upstream: SocketAddr,
) -> Subject {
    let address = free();
    let file = folder.join(format!("{}.yaml", address.port()));
    let yaml = format!(
        "listen: \"{address}\"\n\
         projects:\n  shop: {{host: \"http://{upstream}\", api_key: phc_bench, http: 1}}\n\
         routes:\n  - path: /hr/\n    segment: {{project: shop}}\n\
         mapping: {{mode: {mode}}}\n\
         delivery: {{spool: {spool}}}\n\
         server: {{threads: {THREADS}}}\n"
    );
    std::fs::write(&file, yaml).unwrap();
    let child = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["run", "-c"])
        .arg(&file)
        .env("RUST_LOG", "error")
        .stdin(Stdio::null())
        .spawn()
        .unwrap();
    listening(name, address, child)
}

fn start_pass_through(upstream: SocketAddr) -> Subject {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .env(PASS_THROUGH, upstream.to_string())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let output = child.stdout.take().unwrap();
    BufReader::new(output).read_line(&mut line).unwrap();
    listening("pass-through", line.trim().parse().unwrap(), child)
}

fn listening(name: &'static str, address: SocketAddr, child: Child) -> Subject {
    let subject = Subject {
        name,
        address,
        child,
    };
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(start.elapsed() < Duration::from_secs(20), "{name}");
        std::thread::sleep(Duration::from_millis(10));
    }
    subject
}

fn free() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap()
}

struct PassThrough(SocketAddr);

#[async_trait]
impl ProxyHttp for PassThrough {
    type CTX = ();
    fn new_ctx(&self) {}

    async fn upstream_peer(&self, _: &mut Session, _: &mut ()) -> pingora::Result<Box<HttpPeer>> {
        Ok(Box::new(HttpPeer::new(self.0, false, String::new())))
    }
}

/// The smallest proxy that the framework makes: it passes everything through.
pub fn pass_through(upstream: SocketAddr) {
    let conf = ServerConf {
        threads: THREADS,
        ..ServerConf::default()
    };
    let mut server = Server::new_with_opt_and_conf(None, conf);
    server.bootstrap();
    let mut service = http_proxy_service(&server.configuration, PassThrough(upstream));
    let address = free();
    service.add_tcp(&address.to_string());
    server.add_service(service);
    println!("{address}");
    server.run_forever();
}
