//! The code blocks that a reader copies first.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::address::unused_address;
use super::file;

/// The plug-in of the README, compiled as a part of this test.
#[path = "../../examples/plugin.rs"]
mod plugin;

const LONGEST: Duration = Duration::from_secs(60);

/// The blocks in this language below a heading of the README.
fn blocks(heading: &str, language: &str) -> Vec<String> {
    let readme = file("README.md");
    let start = format!("\n## {heading}\n");
    let section = readme.split(&start).nth(1).unwrap();
    let section = section.split("\n## ").next().unwrap();
    let fence = format!("```{language}\n");
    let pieces = section.split(&fence).skip(1);
    pieces
        .map(|piece| piece.split("```").next().unwrap().to_owned())
        .collect()
}

/// The recipe has the lines that the command prints.
#[test]
fn the_recipe_for_nginx_has_the_lines_that_snippet_prints() {
    use hedgerow::site::hand_over::{nginx, LocalAddress, SiteTls};
    let here = LocalAddress {
        address: ([127, 0, 0, 1], 8080).into(),
        tls: SiteTls::Plain,
    };
    let recipe = file("docs/behind/nginx.md");
    let bare: Vec<&str> = recipe.lines().map(str::trim).collect();
    for line in nginx(&["/hr/".to_owned()], here).lines() {
        assert!(bare.contains(&line.trim()), "{line}");
    }
}

/// A stand-in for PostHog, and the file of "Only events" in a folder, with the stand-in's address
/// as `host` and a free address to listen on.
fn only_events() -> (TcpListener, TempDir, SocketAddr) {
    let posthog = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let address = unused_address();
    let yaml = &blocks("Only events", "yaml")[0];
    let yaml = yaml.replace("0.0.0.0:8080", &address.to_string());
    let host = format!("host: http://{}", posthog.local_addr().unwrap());
    let yaml = yaml.replace("host: us", &host);
    std::fs::write(folder.path().join("hedgerow.yaml"), yaml).unwrap();
    (posthog, folder, address)
}

#[test]
fn the_plug_in_of_the_readme_is_the_example_and_its_dependencies_are_ours() {
    const HEADING: &str = "In your own Pingora proxy";
    assert_eq!(
        blocks(HEADING, "rust,no_run"),
        [file("examples/plugin.rs")],
        "README.md and examples/plugin.rs"
    );
    let said = blocks(HEADING, "toml").concat();
    let ours = file("Cargo.toml");
    let version = |text: &str, name: &str| {
        let start = format!("{name} = ");
        let line = text.lines().find(|line| line.starts_with(&start))?;
        line.split('"').nth(1).map(str::to_owned)
    };
    for name in ["pingora", "async-trait"] {
        assert!(version(&ours, name).is_some(), "{name}");
        assert_eq!(version(&said, name), version(&ours, name), "{name}");
    }
    assert!(said.contains("hedgerow = {"), "{said}");
}

/// The process that the next test starts: the plug-in of the README.
#[test]
#[ignore = "runs until it is ended"]
fn the_plug_in_itself() {
    plugin::main().unwrap();
}

#[test]
fn the_plug_in_of_the_readme_takes_a_call_to_posthog() {
    // The binary's configuration also works for the plug-in.
    let (posthog, folder, address) = only_events();
    let (came, arrived) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = posthog.accept().unwrap();
        came.send(answered(&mut stream)).unwrap();
    });
    let mut process = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "quick_start::the_plug_in_itself"])
        .current_dir(folder.path())
        .env("POSTHOG_API_KEY", "phc_from_the_environment")
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let answer = call(
        address,
        "/hr/v1/track",
        r#"{"userId":"u-1","event":"Hello"}"#,
    );
    let arrived = arrived.recv_timeout(LONGEST);
    process.kill().unwrap();
    process.wait().unwrap();
    let answer = answer.expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.ends_with(r#"{"success":true}"#), "{answer}");
    let arrived = arrived.unwrap();
    for part in ["phc_from_the_environment", "\"Hello\"", "\"u-1\""] {
        assert!(arrived.contains(part), "{part} is not in {arrived}");
    }
}

/// Reads one request with a `Content-Length` and answers 200.
fn answered(stream: &mut TcpStream) -> String {
    let mut request = String::new();
    let mut piece = [0; 4096];
    loop {
        let read = stream.read(&mut piece).unwrap();
        request.push_str(std::str::from_utf8(&piece[..read]).unwrap());
        let Some((head, body)) = request.split_once("\r\n\r\n") else {
            continue;
        };
        let head = head.to_lowercase();
        let length = head.split("content-length: ").nth(1).unwrap();
        let length: usize = length.lines().next().unwrap().trim().parse().unwrap();
        if body.len() >= length || read == 0 {
            break;
        }
    }
    let yes = "{\"status\":\"Ok\"}";
    let length = yes.len();
    write!(
        stream,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{yes}"
    )
    .unwrap();
    request
}

/// Sends a call as soon as the server listens, and returns the answer.
fn call(address: SocketAddr, path: &str, body: &str) -> Option<String> {
    let deadline = Instant::now() + LONGEST;
    let mut stream = loop {
        match TcpStream::connect(address) {
            Ok(stream) => break stream,
            Err(_) if Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(_) => return None,
        }
    };
    stream.set_read_timeout(Some(LONGEST)).unwrap();
    write!(
        stream,
        "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}

/// Runs the commands of the quick start exactly as written, up to the one that serves.
#[test]
fn the_quick_start_can_be_pasted() {
    let block = &blocks("Quick start", "sh")[0];
    let folder = tempfile::tempdir().unwrap();
    let binary = Path::new(env!("CARGO_BIN_EXE_hedgerow")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let (mut ran, mut last) = (Vec::new(), "");
    for line in block.lines() {
        let command = line.split('#').next().unwrap().trim();
        last = command;
        // These commands need the network, and the last one does not end by itself.
        let elsewhere = ["cargo install", "npm install", "hedgerow run"];
        if elsewhere.iter().any(|start| command.starts_with(start)) {
            continue;
        }
        ran.push(command.replace("phc_…", "phc_pasted"));
    }
    assert_eq!(last, "hedgerow run", "nothing can stand behind it");
    let output = Command::new("sh")
        .args(["-e", "-c", &ran.join("\n")])
        .current_dir(folder.path())
        .env("PATH", path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{ran:?}\n{said}");
    let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let yaml = read("hedgerow.yaml");
    let prefix = yaml.split("path: ").nth(1).unwrap();
    let prefix = prefix.split('/').nth(1).unwrap();
    let snippet = read("snippet.html");
    assert!(snippet.contains(prefix), "{snippet}");
    assert!(
        said.contains(&format!("location ^~ /{prefix}/ {{")),
        "{said}"
    );
}

/// Runs a reader's first command with the binary, exactly as written.
#[test]
fn the_binary_of_the_readme_shows_what_a_message_becomes() {
    let blocks = blocks("Try it", "sh");
    let line = blocks
        .iter()
        .find(|block| block.contains("hedgerow convert"));
    let binary = Path::new(env!("CARGO_BIN_EXE_hedgerow")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .args(["-e", "-c", line.unwrap()])
        .env("PATH", path)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let event: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(event["event"], "Order Completed");
    assert_eq!(event["explain"]["revenue"], "properties.revenue");
}

/// The README's cost figures are those that `make compare` printed.
#[test]
fn the_figures_of_the_readme_are_those_of_the_comparison() {
    let (readme, printed) = (file("README.md"), file("docs/performance.md"));
    let cells = |table: &str, name: &str| {
        let section = printed.split(table).nth(1).unwrap();
        let start = format!("\n| {name} | ");
        let row = section.split(&start).nth(1).unwrap();
        row.split(" | ").next().unwrap().to_owned()
    };
    let first = |cell: String| cell.split(' ').next().unwrap().to_owned();
    const OURS: &str = "Hedgerow, enriched, spool on";
    let cpu = "CPU time of the proxy for a request";
    let ours = first(cells(cpu, OURS));
    let plain = first(cells(cpu, "Pingora, only forwarding"));
    let took = cells("in ms: the median, then the 99th percentile", OURS);
    let (median, most) = took.split_once(", ").unwrap();
    for said in [
        format!("| {ours} µs; a plain Pingora that only forwards the bytes takes {plain} |"),
        format!("median {median} ms, 99th percentile {most} ms"),
    ] {
        assert!(readme.contains(&said), "{said}");
    }
}

/// The summary above the tables claims what they show. Whoever writes new tables adapts it.
#[test]
fn the_summary_of_the_comparison_is_that_of_its_tables() {
    const HEDGEROW: [&str; 3] = [
        "Hedgerow, `mode: reference`, no spool",
        "Hedgerow, enriched, spool on",
        "Hedgerow, the same with `mode: group`",
    ];
    let printed = file("docs/performance.md");
    let (text, tables) = printed.split_once("<!-- make compare: begin -->").unwrap();
    let cell = |table: &str, name: &str, column: usize| {
        let section = tables.split_once(table).unwrap().1;
        let row = section.split_once(&format!("\n| {name} |")).unwrap().1;
        row.split('|').nth(column).unwrap().trim().to_owned()
    };
    // The smallest and the largest multiple of Pingora's time.
    let multiples = |table: &str, column: usize| {
        let multiples = HEDGEROW.map(|name| {
            let cell = cell(table, name, column);
            let multiple = cell.split(['(', ')']).nth(1).unwrap();
            multiple.parse::<f64>().unwrap()
        });
        let least = multiples.into_iter().fold(f64::MAX, f64::min);
        let most = multiples.into_iter().fold(f64::MIN, f64::max);
        format!("{least:.1} to {most:.1}")
    };
    let cpu = "CPU time of the proxy for a request";
    let group = "64 clients send one request after the other";
    let [ours, nginx] = [HEDGEROW[2], "nginx, only forwarding"]
        .map(|name| cell(group, name, 0).parse::<f64>().unwrap());
    let mut claims = vec![
        format!(
            "{} of the CPU time of the smallest proxy",
            multiples(cpu, 0)
        ),
        format!("{} times as much, because", multiples(cpu, 2)),
        format!("{:.1} of the CPU time that nginx needs", ours / nginx),
    ];
    let other_pages = "Every event from another page:";
    if tables.contains(other_pages) {
        claims.push(format!("({} times for 300)", multiples(other_pages, 2)));
    }
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for claim in claims {
        assert!(text.contains(&claim), "{claim}");
    }
}

/// Follows "Only events" exactly as written: the file, the two commands, and the first event by
/// curl.
#[test]
fn the_only_events_section_of_the_readme_works() {
    let (posthog, folder, address) = only_events();
    let shell = blocks("Only events", "sh");
    let plain = |line: &str| line.split(" #").next().unwrap().trim().to_owned();
    let [check, run] = shell[0]
        .lines()
        .map(plain)
        .collect::<Vec<_>>()
        .try_into()
        .unwrap();
    let key = "phc_from_the_readme";
    let sh = |line: &str| {
        let binary = Path::new(env!("CARGO_BIN_EXE_hedgerow")).parent().unwrap();
        let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
        let mut command = Command::new("sh");
        // With `exec`, killing the shell ends the command.
        let line = line.replace("phc_…", key);
        let line = match line.split_once("hedgerow run") {
            Some((variables, rest)) => format!("export {variables}; exec hedgerow run{rest}"),
            None => line,
        };
        command.args(["-e", "-c", &line]).env("PATH", path);
        command
            .current_dir(folder.path())
            .env("POSTHOG_API_KEY", key);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    };
    assert!(sh(&check).status().unwrap().success(), "{check}");
    let (came, arrived) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = posthog.accept().unwrap();
        came.send(answered(&mut stream)).unwrap();
    });
    let mut process = sh(&run).spawn().unwrap();
    let curl = shell[1].trim();
    let rest = curl.strip_prefix("curl http://localhost:8080").unwrap();
    let (path, body) = rest.split_once(" -d ").unwrap();
    let answer = call(address, path, body.trim_matches('\''));
    let arrived = arrived.recv_timeout(LONGEST);
    process.kill().unwrap();
    process.wait().unwrap();
    let answer = answer.expect("an answer");
    assert!(answer.ends_with(r#"{"success":true}"#), "{answer}");
    let arrived = arrived.unwrap();
    assert!(
        arrived.contains(key) && arrived.contains("\"Hello\""),
        "{arrived}"
    );
}
