//! `hedgerow health`, the health check of an image without a shell.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use super::address::unused_address;
use super::{hedgerow, said};

/// Answers one request with this status and returns the request.
fn answers(status: &'static str) -> (SocketAddr, JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serving = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() > 0 {
            request.push(byte[0]);
        }
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Length: 7\r\nConnection: close\r\n\r\n{{\"a\":1}}"
        );
        stream.write_all(answer.as_bytes()).unwrap();
        String::from_utf8_lossy(&request).into_owned()
    });
    (address, serving)
}

fn settings(folder: &Path, top: &str) -> PathBuf {
    let file = folder.join("hedgerow.yaml");
    let text = format!(
        "{top}projects: {{shop: {{host: us, api_key: env:NOT_SET_ANYWHERE}}}}\n\
         routes: [{{path: /hr/, segment: {{project: shop}}}}]\n"
    );
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn health_asks_the_configured_address_and_exits_by_the_answer() {
    let folder = tempfile::tempdir().unwrap();
    // The file's setting, the flag, the request, its answer, the exit code.
    for (top, ready, asked, status, code) in [
        (
            "health: ADDRESS\nadmin: 127.0.0.1:1\n",
            false,
            "/healthz",
            "200 OK",
            0,
        ),
        ("admin: ADDRESS\n", false, "/healthz", "200 OK", 0),
        ("admin: ADDRESS\n", true, "/readyz", "200 OK", 0),
        (
            "health: ADDRESS\n",
            true,
            "/readyz",
            "503 Service Unavailable",
            1,
        ),
        (
            "listen: [{address: \"ADDRESS\", health: /up}]\n",
            false,
            "/up/live",
            "200 OK",
            0,
        ),
        (
            "listen: [127.0.0.1:1, {address: \"ADDRESS\", health: /up}]\n",
            true,
            "/up/ready",
            "503 x",
            1,
        ),
        // If the address is that of all interfaces, the command asks loopback.
        ("health: ANYWHERE\n", false, "/healthz", "200 OK", 0),
    ] {
        let (address, serving) = answers(status);
        let anywhere = format!("0.0.0.0:{}", address.port());
        let top = top
            .replace("ADDRESS", &address.to_string())
            .replace("ANYWHERE", &anywhere);
        let file = settings(folder.path(), &top);
        let mut arguments = vec!["health", file.to_str().unwrap()];
        arguments.extend(ready.then_some("--ready"));
        let output = hedgerow(&arguments);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{top}: {text}");
        assert!(text.contains("{\"a\":1}"), "{top}: {text}");
        let request = serving.join().unwrap();
        assert!(
            request.starts_with(&format!("GET {asked} HTTP/1.1\r\n")),
            "{top}: {request}"
        );
    }
}

#[test]
fn health_reports_a_missing_answer_or_address() {
    let folder = tempfile::tempdir().unwrap();
    let closed = unused_address();
    let tls = "listen: [{address: \"127.0.0.1:1\", tls: {certificate: a, key: b}, health: /up}]\n";
    for (top, code, words) in [
        (
            format!("health: \"{closed}\"\n"),
            1,
            "no answer from 127.0.0.1",
        ),
        (
            "listen: 127.0.0.1:1\n".to_owned(),
            2,
            "has no health address",
        ),
        ("typo: 1\n".to_owned(), 2, "typo"),
        (tls.to_owned(), 2, "hedgerow"),
    ] {
        let file = settings(folder.path(), &top);
        let output = hedgerow(&["health", "-c", file.to_str().unwrap()]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(code), "{top}: {text}");
        assert!(text.contains(words), "{top}: {text}");
    }
}
