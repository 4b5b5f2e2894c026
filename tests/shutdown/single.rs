//! What happens to one connection when the process shuts down.

use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::time::Duration;

use super::process::{command, write, Process};
use super::support::address::unused_address;
use super::support::client::{post, Client};
use super::support::proxy::{yaml, PostHog};
use super::support::tls::Certificates;
use super::support::{eventually, track};

// All processes here have a grace period of two minutes, longer than any test. An end in time shows
// that the process did not wait for the grace period.

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_nothing_under_way_leaves_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    for signal in ["-TERM", "-QUIT", "-INT"] {
        let rest = yaml(&posthog.url());
        let mut process = Process::start(folder.path(), "[{address}]", &rest).await;
        process.signal(signal);
        assert_eq!(process.end().await, Some(0), "{signal}");
        assert!(!process.socket.exists(), "{signal}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_connections_are_closed_and_requests_under_way_end() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let rest = yaml(&posthog.url());
    let certificates = Certificates::new(&["localhost"]);
    let secure = unused_address();
    let listen = format!(
        "[{{address}}, {{address: \"{secure}\", tls: {{certificate: \"{}\", key: \"{}\"}}}}]",
        certificates.file("certificate.pem").display(),
        certificates.file("key.pem").display()
    );
    let mut process = Process::start(folder.path(), &listen, &rest).await;
    let request = |id: &str| post("/hr/v1/t", "", track(id, 300).as_bytes());

    let mut idle = Client::connect(process.address).await;
    let answer = idle.exchange(&request("idle")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), "keep-alive");
    let mut silent = Client::connect(process.address).await;
    let mut used = Client::connect(process.address).await;
    assert_eq!(used.exchange(&request("used-1")).await.status, 200);
    let mut half_head = Client::connect(process.address).await;
    let whole = request("half-head");
    half_head.send(&whole[..20]).await;
    let mut half_body = Client::connect(process.address).await;
    let body = request("half-body");
    half_body.send(&body[..body.len() - 50]).await;
    // This answer shows that earlier bytes have arrived.
    let mut last = Client::connect(process.address).await;
    assert_eq!(last.exchange(&request("last")).await.status, 200);

    // The process closes idle connections when no connection is in a handshake. This connection
    // delays that, so that the following steps have time.
    let handshaking = std::net::TcpStream::connect(secure).unwrap();
    process.signal("-TERM");
    eventually("the listener is closed", || {
        std::net::TcpStream::connect(process.address).err()
    })
    .await;
    half_head.send(&whole[20..]).await;
    let answer = half_head.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("connection"), "close");
    assert!(half_head.ends().await);
    // A connection with a request in time gets one more answer, which closes it.
    let answer = used.exchange(&request("used-2")).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("connection"), "close");
    assert!(used.ends().await);
    drop(handshaking);
    assert!(idle.ends().await);
    assert!(silent.ends().await);
    assert!(process.runs(), "a request is still under way");
    half_body.send(&body[body.len() - 50..]).await;
    let answer = half_body.answer().await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.header("connection"), "close");
    assert_eq!(process.end().await, Some(0));
    assert_eq!(posthog.capture.stored(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_cannot_serve_leaves_the_old_process_serving() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let rest = yaml(&posthog.url());
    let mut process = Process::start(folder.path(), "[{address}]", &rest).await;
    let said = |more: &[&str], file: &std::path::Path| {
        let output = command(file, more).stderr(Stdio::piped()).output();
        let output = output.expect("it is built");
        let said = String::from_utf8(output.stderr).expect("it is text");
        (output.status.code(), said)
    };

    // Another program has one of its addresses.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let both = format!("[{{address}}, \"{}\"]", taken.local_addr().unwrap());
    let other = folder.path().join("other.yaml");
    write(&other, process.address, &process.socket, &both, &rest);
    let (code, words) = said(&["--upgrade"], &other);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("cannot listen on"), "{words}");
    assert!(process.runs());
    let mut client = Client::connect(process.address).await;
    let request = post("/hr/v1/t", "", track("1", 300).as_bytes());
    assert_eq!(client.exchange(&request).await.status, 200);

    // No process listens at that address, and none can.
    let nowhere = folder.path().join("run").join("absent.sock");
    write(&other, process.address, &nowhere, "[{address}]", &rest);
    let (code, words) = said(&["-u"], &other);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("no hand-over at"), "{words}");
    let without = format!("listen: \"{}\"\n{rest}", process.address);
    std::fs::write(&other, without).unwrap();
    let (code, words) = said(&["-u"], &other);
    assert_eq!(code, Some(2), "{words}");
    assert!(words.contains("server.upgrade_socket"), "{words}");

    // The old process can still hand over to a process that is able to start: also the address that
    // only the old process has.
    // Each has a file of its own: the old one watches its file, and could listen there first.
    let free = unused_address();
    let both = format!("[{{address}}, \"{free}\"]");
    process.file = folder.path().join("both.yaml");
    write(
        &process.file,
        process.address,
        &process.socket,
        &both,
        &rest,
    );
    process.hand_over().await;
    for address in [process.address, free] {
        let mut client = Client::connect(address).await;
        assert_eq!(client.exchange(&request).await.status, 200, "{address}");
    }
    // The new process closes an address that it no longer has.
    process.file = folder.path().join("one.yaml");
    write(
        &process.file,
        process.address,
        &process.socket,
        "[{address}]",
        &rest,
    );
    process.hand_over().await;
    eventually("the listener is closed", || {
        std::net::TcpStream::connect(free).err()
    })
    .await;
    process.signal("-TERM");
    assert_eq!(process.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_its_own_user_can_ask_for_the_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let rest = yaml(&posthog.url());
    let process = Process::start(folder.path(), "[{address}]", &rest).await;
    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    // The process may serve before it offers its sockets.
    eventually("there is a socket", || process.socket.metadata().ok()).await;
    assert_eq!(mode(&process.socket), 0o600);
    assert_eq!(mode(process.socket.parent().unwrap()), 0o700);
    process.signal("-KILL");

    // A folder in which other users could create a socket.
    let open = folder.path().join("open");
    std::fs::create_dir(&open).unwrap();
    std::fs::set_permissions(&open, std::fs::Permissions::from_mode(0o777)).unwrap();
    let address = unused_address();
    let file = folder.path().join("open.yaml");
    for (socket, why) in [
        (
            open.join("upgrade.sock"),
            "other users can write in the folder",
        ),
        (process.file.clone(), "exists and is not a socket"),
    ] {
        write(&file, address, &socket, "[{address}]", &rest);
        let output = command(&file, &[]).stderr(Stdio::piped()).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(why), "{said}");
    }
    assert!(process.file.is_file(), "the file is as it was");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_supervisor_is_notified_which_process_serves() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let address = unused_address();
    let (file, socket) = (folder.path().join("c.yaml"), folder.path().join("r/u.sock"));
    write(
        &file,
        address,
        &socket,
        "[{address}]",
        &yaml(&posthog.url()),
    );
    let notified = folder.path().join("notify");
    let supervisor = std::os::unix::net::UnixDatagram::bind(&notified).unwrap();
    supervisor
        .set_read_timeout(Some(Duration::from_secs(120)))
        .unwrap();
    let start = |more: &[&str]| {
        let mut command = command(&file, more);
        let command = command.env("NOTIFY_SOCKET", &notified);
        command.stderr(Stdio::null()).spawn().unwrap()
    };
    let told = || {
        let mut bytes = [0; 256];
        let read = supervisor.recv(&mut bytes).expect("a word in time");
        String::from_utf8(bytes[..read].to_vec()).unwrap()
    };
    let mut old = start(&[]);
    assert_eq!(told(), format!("READY=1\nMAINPID={}\n", old.id()));
    let mut new = start(&["--upgrade"]);
    assert_eq!(told(), format!("READY=1\nMAINPID={}\n", new.id()));
    let ended = eventually("the old one's end", || old.try_wait().unwrap()).await;
    assert_eq!(ended.code(), Some(0));
    new.kill().unwrap();
    new.wait().unwrap();
}
