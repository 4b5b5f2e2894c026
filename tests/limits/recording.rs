//! A long recording passes through the real binary, which holds only a little of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{run, status_of};

/// The largest body of a `posthog` route, in bytes.
const LENGTH: usize = 64 << 20;

/// A stand-in for PostHog that counts the bytes of each request and stores none.
async fn counting() -> (String, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    let arrived = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&arrived);
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut buffer = vec![0; 64 * 1024];
        let mut seen = 0_usize;
        while seen < LENGTH {
            let read = stream.read(&mut buffer).await.unwrap_or(0);
            if read == 0 {
                return;
            }
            seen += buffer[..read].iter().filter(|byte| **byte == b'~').count();
            count.store(seen as u64, Ordering::SeqCst);
        }
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
        stream.write_all(answer).await.unwrap();
    });
    (host, arrived)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_recording_of_64_megabytes_passes_and_takes_no_memory() {
    let _alone = super::ALONE.lock().await;
    let (host, arrived) = counting().await;
    let folder = tempfile::tempdir().unwrap();
    let yaml = format!(
        "projects:\n  shop: {{host: \"{host}\", api_key: phc_test}}\n\
         routes:\n  - path: /ph/\n    posthog: {{project: shop}}\n"
    );
    let (binary, address) = run(folder.path(), &yaml).await;
    let pid = binary.id().unwrap().to_string();
    let mut client = TcpStream::connect(address).await.unwrap();
    let head = format!("POST /ph/s/ HTTP/1.1\r\nHost: a\r\nContent-Length: {LENGTH}\r\n\r\n");
    client.write_all(head.as_bytes()).await.unwrap();
    let piece = vec![b'~'; 64 * 1024];
    let fresh = status_of(&pid, "VmHWM:");
    let pieces = LENGTH / piece.len();
    // The first eighth covers what a new process needs for any request: threads, buffers, the
    // allocator's memory.
    for _ in 0..pieces / 8 {
        client.write_all(&piece).await.unwrap();
    }
    let before = status_of(&pid, "VmHWM:");
    for _ in pieces / 8..pieces {
        client.write_all(&piece).await.unwrap();
    }
    let mut answer = vec![0; 1024];
    let read = client.read(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert_eq!(arrived.load(Ordering::SeqCst), LENGTH as u64);
    let peak = status_of(&pid, "VmHWM:");
    let (grown, first) = (peak.saturating_sub(before), before.saturating_sub(fresh));
    eprintln!(
        "64 MiB passed, the peak of memory grew by {} kB with the first eighth, and by {} kB after it",
        first / 1000,
        grown / 1000
    );
    assert!(first < 32 << 20, "memory grew by {first} bytes");
    assert!(grown < 4 << 20, "memory grew by {grown} bytes");
}
