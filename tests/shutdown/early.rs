//! A signal in the first moments of a process: the process ends in order, and finishes what it has
//! begun.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use tokio::net::TcpListener;

use super::process::{command, write};
use super::support::address::unused_address;
use super::support::client::{post, Client};
use super::support::proxy::{yaml, PostHog};
use super::support::{eventually, track, within};

fn send(pid: u32, name: &str) {
    let sent = std::process::Command::new("kill")
        .args([name, &pid.to_string()])
        .status();
    assert!(sent.unwrap().success(), "{name}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_stopped_while_it_starts_exits_with_0() {
    let folder = tempfile::tempdir().unwrap();
    // It waits for this answer before it listens.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sum = "0".repeat(64);
    let library = format!(
        "write_keys: any, library: {{url: \"http://{}/a.tgz\", sha256: {sum}, keep: kept, \
         script: fq7dk2, settings: sz4mwp, chunks: ch8tvn, calls: qn5rzd}}",
        silent.local_addr().unwrap()
    );
    let rest = yaml("http://127.0.0.1:9").replace("write_keys: any", &library);
    let (file, socket) = (folder.path().join("h.yaml"), folder.path().join("s"));
    write(&file, unused_address(), &socket, "[{address}]", &rest);
    for name in ["-TERM", "-INT", "-QUIT"] {
        let mut child = command(&file, &[])
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let _held = within("its question", silent.accept()).await.unwrap();
        for other in ["-HUP", "-USR1", "-USR2", "-ALRM", "-IO", "-VTALRM", "-PROF"] {
            send(child.id(), other);
        }
        send(child.id(), name);
        let ended = eventually("its end", || child.try_wait().unwrap()).await;
        let log = std::io::read_to_string(child.stderr.take().unwrap()).unwrap();
        assert_eq!(ended.code(), Some(0), "{name}: {ended:?}\n{log}");
        assert!(log.contains("stopped before it served"), "{log}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_is_stopped_as_it_begins_to_listen_serves_waiting_connections() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let (file, socket) = (folder.path().join("h.yaml"), folder.path().join("s"));
    for round in 0..8_u64 {
        let address = unused_address();
        write(
            &file,
            address,
            &socket,
            "[{address}]",
            &yaml(&posthog.url()),
        );
        let mut child = command(&file, &[])
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The process writes this line before it serves.
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = lines.any(|line| line.unwrap().contains("listening on"));
        assert!(said, "it listens");
        let mut client = Client::connect(address).await;
        client
            .send(&post(
                "/hr/v1/t",
                "",
                track(&round.to_string(), 200).as_bytes(),
            ))
            .await;
        send(child.id(), "-TERM");
        assert_eq!(client.answer().await.status, 200, "round {round}");
        let ended = eventually("its end", || child.try_wait().unwrap()).await;
        assert_eq!(ended.code(), Some(0), "round {round}: {ended:?}");
        assert_eq!(posthog.capture.stored(), round + 1);
    }
}
