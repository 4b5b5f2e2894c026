//! Hostile and heavy traffic uses bounded memory.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "limits/connections.rs"]
mod connections;
#[path = "limits/first_byte.rs"]
mod first_byte;
#[path = "limits/rates.rs"]
mod rates;
#[path = "limits/recording.rs"]
mod recording;
#[path = "limits/slow.rs"]
mod slow;
#[path = "support/started.rs"]
mod started;
mod support;
#[path = "limits/turns.rs"]
mod turns;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use support::client::{chunk, post, Client};
use support::proxy::{yaml, PostHog, Proxy};
use support::{batch, eventually, gzip, track};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::sync::Mutex;

/// The tests measure the memory of the process, so only one runs at a time.
static ALONE: Mutex<()> = Mutex::const_new(());

/// A value of this process's status, in bytes.
fn status(name: &str) -> usize {
    status_of("self", name)
}

/// A value of `/proc/PID/status`, in bytes.
fn status_of(process: &str, name: &str) -> usize {
    let text = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    let kilobytes = line.split_whitespace().nth(1).unwrap();
    kilobytes.parse::<usize>().unwrap() << 10
}

/// Resets the peak, and returns the memory in use.
fn settle() -> usize {
    fs::write("/proc/self/clear_refs", "5").unwrap();
    status("VmRSS:")
}

/// A stand-in for PostHog that accepts everything and stores nothing.
async fn forgetful() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut piece = vec![0; 16 * 1024];
                let mut tail = Vec::new();
                while let Ok(read) = stream.read(&mut piece).await {
                    if read == 0 {
                        return;
                    }
                    tail.extend_from_slice(&piece[..read]);
                    // The end of a chunked body, or of the envelope.
                    if tail.ends_with(b"0\r\n\r\n") || tail.ends_with(b"]}") {
                        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                        let _ = stream.write_all(answer).await;
                    }
                    let keep = tail.len().saturating_sub(16);
                    tail.drain(..keep);
                }
            });
        }
    });
    format!("http://{address}")
}

/// `hedgerow run` with this file, and its address.
async fn run(folder: &Path, yaml: &str) -> (Child, SocketAddr) {
    let (file, log) = (folder.join("h.yaml"), folder.join("log"));
    fs::write(&file, format!("listen: \"127.0.0.1:0\"\n{yaml}")).unwrap();
    let mut binary = started::run(&file, &log, &[("RUST_LOG", "info")]);
    let address = started::listens(&mut binary, &log).await;
    (binary, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_of_ten_mebibytes_streams_in_less_than_four() {
    let _alone = ALONE.lock().await;
    let proxy = Proxy::start(&yaml(&forgetful().await)).await;
    let item = track("1", 1000);
    let mut client = Client::connect(proxy.address).await;
    // Idle here means that everything has been used once.
    let warm = client.exchange(&post("/hr/t", "", item.as_bytes())).await;
    assert_eq!(warm.status, 200);
    let idle = settle();
    client
        .send(b"POST /hr/v1/b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    client.send(&chunk(b"{\"batch\":[")).await;
    let mut sent = 0;
    let piece = format!("{item},").repeat(16);
    while sent < (10 << 20) - (64 << 10) {
        client.send(&chunk(piece.as_bytes())).await;
        sent += piece.len();
    }
    client.send(&chunk(format!("{item}]}}").as_bytes())).await;
    client.send(b"0\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let growth = status("VmHWM:").saturating_sub(idle);
    println!("{sent} bytes in one batch: the peak grew by {growth} bytes over {idle}");
    assert!(growth < 4 << 20, "{growth} bytes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_slow_uploads_hold_what_they_have_sent_and_no_more() {
    const UPLOADS: usize = 1000;
    const SENT: usize = 2000;
    let _alone = ALONE.lock().await;
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let body = track("slow", SENT);
    let request = post("/hr/t", "", body.as_bytes());
    let (most, rest) = request.split_at(request.len() - 100);
    let before = settle();
    let mut clients = Vec::new();
    for _ in 0..UPLOADS {
        let mut client = Client::connect(proxy.address).await;
        client.send(most).await;
        clients.push(client);
    }
    let counts = || proxy.hedgerow.counts();
    let all = UPLOADS * (SENT - 300);
    let held = eventually("all are read", || {
        Some(counts().held).filter(|held| *held >= all)
    })
    .await;
    let growth = status("VmHWM:").saturating_sub(before);
    println!("{UPLOADS} uploads of {SENT} bytes hold {held} bytes; the process grew by {growth}");
    assert!(held <= UPLOADS * SENT * 4, "{held}");
    assert!(growth / UPLOADS < 100 << 10, "{growth} bytes");
    for client in &mut clients {
        client.send(rest).await;
    }
    for client in &mut clients {
        assert_eq!(client.answer().await.status, 200);
    }
    assert_eq!(posthog.capture.stored(), UPLOADS as u64);
    assert_eq!(counts().held, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn past_the_total_budget_the_answer_is_503_and_the_others_go_on() {
    let _alone = ALONE.lock().await;
    let posthog = PostHog::start().await;
    let yaml = format!("{}limits: {{memory: 4MiB}}\n", yaml(&posthog.url()));
    let proxy = Proxy::start(&yaml).await;
    let body = batch(800, 1000);
    let request = post("/hr/v1/b", "", body.as_bytes());
    let (most, rest) = request.split_at(request.len() - 100);
    let mut clients = Vec::new();
    for _ in 0..8 {
        let mut client = Client::connect(proxy.address).await;
        client.send(most).await;
        clients.push(client);
        assert!(proxy.hedgerow.counts().held <= 4 << 20);
    }
    eventually("one is refused", || {
        (proxy.hedgerow.counts().busy > 0).then_some(())
    })
    .await;
    let (mut taken, mut refused) = (0, 0);
    for client in &mut clients {
        client.send(rest).await;
        let answer = client.answer().await;
        match answer.status {
            200 => taken += 1,
            503 => {
                assert_eq!(answer.header("retry-after"), "5");
                refused += 1;
            }
            other => panic!("{other}"),
        }
    }
    assert!(taken >= 1 && refused >= 1, "{taken} and {refused}");
    assert_eq!(posthog.capture.stored(), taken * 800);
    assert_eq!(proxy.hedgerow.counts().held, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gzip_bomb_is_refused_before_it_has_grown() {
    let _alone = ALONE.lock().await;
    let posthog = PostHog::start().await;
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    let bombs = [
        // White space, one huge string, and very many small messages.
        vec![b' '; 200 << 20],
        [&b"{\"event\":\""[..], &vec![b'a'; 200 << 20]].concat(),
    ];
    let packed: Vec<Vec<u8>> = bombs.iter().map(|bomb| gzip(bomb)).collect();
    drop(bombs);
    let before = settle();
    for bomb in &packed {
        let mut client = Client::connect(proxy.address).await;
        let answer = client.exchange(&post("/hr/v1/b", "", bomb)).await;
        assert_eq!(answer.status, 413, "{answer:?}");
    }
    let growth = status("VmHWM:").saturating_sub(before);
    println!("bombs of 200 MiB: the peak grew by {growth} bytes");
    assert!(growth < 24 << 20, "{growth} bytes");
    assert_eq!(proxy.hedgerow.counts().held, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_waits_holds_little_and_a_second_burst_takes_no_more_than_the_first() {
    let _alone = ALONE.lock().await;
    const CONNECTIONS: usize = 800;
    let folder = tempfile::tempdir().unwrap();
    let (binary, address) = run(folder.path(), &yaml(&forgetful().await)).await;
    let pid = binary.id().unwrap().to_string();
    let body = track("idle", 1000);
    let request = post("/hr/t", "", body.as_bytes());
    let exchange = |mut client: Client| {
        let request = request.clone();
        async move {
            assert_eq!(client.exchange(&request).await.status, 200);
            client
        }
    };
    // The first burst begins after the allocations that happen once.
    for _ in 0..50 {
        exchange(Client::connect(address).await).await;
    }
    let mut held = Vec::new();
    for _ in 0..2 {
        let before = status_of(&pid, "RssAnon:");
        let mut clients = Vec::new();
        for number in 0..CONNECTIONS {
            let client = Client::connect(address).await;
            clients.push(match number % 2 {
                0 => client,
                _ => exchange(client).await,
            });
        }
        // The server answers all of them, the last one too.
        let last = exchange(clients.pop().unwrap()).await;
        held.push(status_of(&pid, "RssAnon:").saturating_sub(before) / CONNECTIONS);
        drop((clients, last));
    }
    assert!(held[0] < 24 << 10, "{held:?} bytes for a connection");
    assert!(
        held[1] < 4 << 10,
        "{held:?}: nothing of the first was used again"
    );
}
