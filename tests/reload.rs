//! Reloads while clients send: a configuration becomes active as a whole or not at all, and no
//! request fails. Real processes, real files, real signals.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

#[path = "reload/against.rs"]
mod against;
#[path = "shutdown/load.rs"]
#[allow(dead_code)]
mod load;
#[allow(dead_code)]
#[path = "shutdown/process.rs"]
mod process;
#[path = "reload/running.rs"]
mod running;
mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use load::Load;
use running::Running;
use support::address::unused_address;
use support::client::{post, Client};
use support::proxy::{yaml, PostHog};
use support::recorder::{response, Act, Recorder};
use support::{say, track};

/// Reloads and requests of the test under load; `HEDGEROW_RELOADS=100,20000` sets more.
fn load_of_the_test() -> (usize, usize) {
    let said = std::env::var("HEDGEROW_RELOADS").unwrap_or_else(|_| "20,4000".to_owned());
    let (reloads, requests) = said.split_once(',').expect("two numbers");
    let number = |text: &str| text.parse().expect("a number");
    (number(reloads), number(requests))
}

/// A configuration with a change in every section that a reload takes over.
fn variant(posthog: &str, round: usize) -> String {
    let project = format!("  shop: {{host: \"{posthog}\", api_key: phc_test");
    let changed = yaml(posthog)
        .replace(
            &project,
            &format!("  p{round}: {{host: \"{posthog}\", api_key: phc_{round}}}\n{project}"),
        )
        .replace(
            "routes:\n",
            &format!("routes:\n  - path: /r{round}/\n    segment: {{project: p{round}}}\n"),
        );
    let mode = match round % 2 {
        0 => "stream",
        _ => "group",
    };
    format!(
        "{}limits: {{body: {}MiB}}\ntrusted_proxies: [10.0.{}.0/24]\n",
        changed.replace("delivery: {", &format!("delivery: {{mode: {mode}, ")),
        5 + round % 5,
        round % 250,
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reloads_under_load_fail_no_request() {
    let (reloads, requests) = load_of_the_test();
    let posthog = PostHog::start().await;
    let mut running = Running::start(&yaml(&posthog.url())).await;
    let load = Load::start(running.process.address);
    let mut memory = Vec::new();
    for round in 1..=reloads {
        load.reaches(round * requests / (reloads + 1)).await;
        let text = variant(&posthog.url(), round);
        match round % 3 {
            // Swaps a link to the file, or writes the file in place. Hedgerow notices both without
            // a signal.
            0 => running.replace(&text),
            1 => {
                running.replace(&text);
                running.process.signal("-HUP");
            }
            _ => {
                running.replace(&text);
                let (code, said) = running.reload();
                assert_eq!(code, Some(0), "{said}");
            }
        }
        running.generation_of(&format!("/r{round}/")).await;
        memory.push(running.memory());
    }
    load.reaches(requests).await;
    let tally = Arc::clone(&load.tally);
    let acknowledged = load.end().await;
    let answered = tally.answered.load(std::sync::atomic::Ordering::SeqCst);
    let failures = tally.failures();
    let applied = running
        .metric("hedgerow_config_reloads_total{result=\"applied\"}")
        .await;
    say(format_args!(
        "{applied} reloads: {answered} answered, {} failed; memory in kB after a quarter {}, at the \
         end {}",
        failures.len(),
        memory[memory.len() / 4],
        memory[memory.len() - 1],
    ));
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(applied >= reloads as u64);
    assert_eq!(
        running
            .metric("hedgerow_config_reloads_total{result=\"refused\"}")
            .await,
        0
    );
    assert_eq!(load::ids(&acknowledged).len(), answered);
    let (then, now) = (memory[memory.len() / 4], memory[memory.len() - 1]);
    assert!(now < then + (32 << 10), "memory grows: {memory:?}");
}

/// Mistakes of every kind.
fn spoiled(good: &str, number: usize, folder: &Path) -> String {
    let taken = "listen: [\"192.0.2.1:80\"]\n";
    let listen = good.lines().next().unwrap_or_default();
    match number % 12 {
        0 => String::new(),
        1 => good.replace("projects:", "projects: ["),
        2 => format!("{good}unknown: {number}\n"),
        3 => good.replace("project: shop", "project: gone"),
        4 => good.replace("phc_test", "file:/nowhere/key"),
        5 => good.replace("phc_test", "env:HEDGEROW_TEST_UNSET"),
        6 => good.replace(&format!("{listen}\n"), taken),
        7 => {
            let (certificate, key) = (folder.join("c.pem"), folder.join("k.pem"));
            fs::write(&certificate, "-----BEGIN CERTIFICATE-----\nAA==\n").unwrap();
            fs::write(&key, "-----BEGIN PRIVATE KEY-----\nAA==\n").unwrap();
            let tls = format!(
                "listen: [{{address: \"127.0.0.1:0\", tls: {{certificate: {}, key: {}}}}}]\n",
                certificate.display(),
                key.display()
            );
            good.replace(&format!("{listen}\n"), &tls)
        }
        8 => format!("{good}\u{0}"),
        9 => good.replace("path: /hr/", "path: /hr/\n    path: /hr/"),
        10 => format!("{good}limits: {{body: {number} pounds}}\n"),
        _ => {
            let library =
                "library: {folder: /nowhere, script: a.js, settings: s, chunks: c, calls: d}";
            good.replace("write_keys: any", &format!("write_keys: any, {library}"))
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bad_files_are_refused_as_a_whole_with_a_reason() {
    let files = match load_of_the_test() {
        (reloads, _) if reloads >= 100 => 100,
        _ => 12,
    };
    let posthog = PostHog::start().await;
    let mut running = Running::start(&yaml(&posthog.url())).await;
    let good = fs::read_to_string(&running.process.file).unwrap();
    let mut wrong = Vec::new();
    for number in 0..files {
        let bad = spoiled(&good, number, running.folder.path());
        // With a route that would exist if a part of the file became active.
        let bad = bad.replace(
            "routes:\n",
            "routes:\n  - {path: /bad/, segment: {project: shop}}\n",
        );
        running.replace_all(&bad);
        running.process.signal("-HUP");
        let before = number as u64;
        let refused = running.refused_after(before).await;
        if refused.is_empty() {
            wrong.push(format!("file {number}: no reason"));
        }
        let address = running.process.address;
        let mut client = Client::connect(address).await;
        for (path, expected) in [("/hr/v1/t", 200), ("/bad/v1/t", 404)] {
            let request = post(path, "", track("still", 200).as_bytes());
            let status = client.exchange(&request).await.status;
            if status != expected {
                wrong.push(format!("file {number}: {path} gets {status}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(running.metric("hedgerow_config_generation").await, 1);
    running.replace_all(&good);
    let (code, said) = running.reload();
    assert_eq!(code, Some(0), "{said}");
    assert!(running.last_refusal().await.is_empty(), "it is well again");
    assert!(running.process.runs());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn listeners_open_and_close_while_the_others_serve() {
    let posthog = PostHog::start().await;
    let mut running = Running::start(&yaml(&posthog.url())).await;
    let (first, second) = (running.process.address, unused_address());
    let request = |id: &str| post("/hr/v1/t", "", track(id, 200).as_bytes());
    let mut idle = Client::connect(first).await;
    assert_eq!(idle.exchange(&request("idle")).await.status, 200);
    let mut half = Client::connect(first).await;
    let whole = request("half");
    half.send(&whole[..whole.len() - 20]).await;

    running.listen(&[first, second]);
    assert_eq!(running.reload().0, Some(0));
    let mut new = Client::connect(second).await;
    assert_eq!(new.exchange(&request("second")).await.status, 200);

    running.listen(&[second]);
    assert_eq!(running.reload().0, Some(0));
    support::eventually("nothing listens there", || {
        std::net::TcpStream::connect(first).is_err().then_some(())
    })
    .await;
    half.send(&whole[whole.len() - 20..]).await;
    assert_eq!(half.answer().await.status, 200);
    assert!(half.ends().await && idle.ends().await);
    assert_eq!(new.exchange(&request("still")).await.status, 200);
    // The same address again at once.
    running.listen(&[first, second]);
    assert_eq!(running.reload().0, Some(0));
    let mut again = Client::connect(first).await;
    assert_eq!(again.exchange(&request("again")).await.status, 200);
    running.process.signal("-TERM");
    assert_eq!(running.process.end().await, Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_ends_with_the_configuration_that_it_began_with() {
    let posthog = PostHog::start().await;
    let site = Recorder::that(|_| Act::Answer(response("200 OK", "", "old site"))).await;
    let text = yaml(&posthog.url()).replace(
        "delivery:",
        &format!("  - {{path: /, origin: \"{}\"}}\ndelivery:", site.url()),
    );
    let mut running = Running::start(&text).await;
    let address = running.process.address;
    let body = track("old", 300);
    let whole = post("/hr/v1/t", "Expect: 100-continue\r\n", body.as_bytes());
    let mut call = Client::connect(address).await;
    call.send(&whole[..whole.len() - 100]).await;
    assert_eq!(call.next().await.map(|answer| answer.status), Some(100));
    let upload = post("/upload", "", &[b'x'; 1000]);
    let mut page = Client::connect(address).await;
    page.send(&upload[..upload.len() - 100]).await;
    // The request is on its way to the site's server.
    support::eventually("a connection to the site", || {
        let begun = site.connections.load(std::sync::atomic::Ordering::SeqCst);
        (begun > 0).then_some(())
    })
    .await;

    // Without a route for either, and with another project.
    let next = yaml(&posthog.url())
        .replace("shop", "other")
        .replace("/hr/", "/new/");
    running.replace(&next);
    assert_eq!(running.reload().0, Some(0));
    call.send(&whole[whole.len() - 100..]).await;
    assert_eq!(call.answer().await.status, 200);
    page.send(&upload[upload.len() - 100..]).await;
    let answer = page.answer().await;
    assert_eq!((answer.status, &answer.body[..]), (200, &b"old site"[..]));
    posthog.events(1).await;
    for (path, expected) in [("/hr/v1/t", 404), ("/upload", 404), ("/new/v1/t", 200)] {
        let mut client = Client::connect(address).await;
        let again = client.exchange(&post(path, "", body.as_bytes())).await;
        assert_eq!(again.status, expected, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_get_the_snippet_of_the_configuration_of_the_moment() {
    let posthog = PostHog::start().await;
    let page = "<!doctype html><html><head></head><body>page</body></html>";
    let site = Recorder::that(move |_| {
        let html = "Content-Type: text/html\r\n";
        Act::Answer(response("200 OK", html, page))
    })
    .await;
    let text = yaml(&posthog.url()).replace(
        "delivery:",
        &format!(
            "  - {{path: /ph/, posthog: shop}}\n  \
             - {{path: /, origin: {{servers: \"{}\", inject: /ph/}}}}\ndelivery:",
            site.url()
        ),
    );
    let mut running = Running::start(&text).await;
    for key in ["phc_test", "phc_second", "phc_third"] {
        if key != "phc_test" {
            running.replace(&text.replace("phc_test", key));
            let (code, said) = running.reload();
            assert_eq!(code, Some(0), "{said}");
        }
        let mut client = Client::connect(running.process.address).await;
        let asked = "GET / HTTP/1.1\r\nHost: shop.example\r\nAccept: text/html\r\n\
                     Sec-Fetch-Dest: document\r\n\r\n";
        let answer = client.exchange(asked.as_bytes()).await;
        let body = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(body.contains(key) && body.contains("page"), "{key}: {body}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_need_a_new_process_are_named_and_stay() {
    let posthog = PostHog::start().await;
    let mut running = Running::start(&yaml(&posthog.url())).await;
    let text = yaml(&posthog.url()).replace("spool: \"off\"", "spool: {path: later}");
    let text = text.replace("/hr/", "/next/");
    running.replace(&text);
    let file = fs::read_to_string(&running.process.file).unwrap();
    running.replace_all(&file.replace("server: {", "server: {threads: 3, "));
    let (code, said) = running.reload();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("server.threads, delivery.spool changed"),
        "{said}"
    );
    assert!(!running.folder.path().join("later").exists());
    let mut client = Client::connect(running.process.address).await;
    let request = post("/next/v1/t", "", track("next", 200).as_bytes());
    assert_eq!(client.exchange(&request).await.status, 200);
    for unmeant in ["-USR1", "-USR2", "-HUP", "-ALRM", "-IO", "-VTALRM", "-PROF"] {
        running.process.signal(unmeant);
    }
    assert_eq!(client.exchange(&request).await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_swapped_link_a_written_file_and_a_secret_file_are_seen() {
    let posthog = PostHog::start().await;
    let text = yaml(&posthog.url()).replace("phc_test", "file:secret/key");
    let running = Running::start_with(&text, |folder| {
        fs::create_dir(folder.join("secret")).unwrap();
        fs::write(folder.join("secret/key"), "phc_first").unwrap();
    })
    .await;
    let folder = running.folder.path();
    let applied = || async {
        running
            .metric("hedgerow_config_reloads_total{result=\"applied\"}")
            .await
    };
    // As Kubernetes does it: the file is a link into a folder, which is itself a link.
    let file = fs::read_to_string(&running.process.file).unwrap();
    for version in ["v1", "v2"] {
        fs::create_dir(folder.join(version)).unwrap();
        fs::write(folder.join(version).join("hedgerow.yaml"), &file).unwrap();
    }
    std::os::unix::fs::symlink("v1", folder.join("..data")).unwrap();
    std::os::unix::fs::symlink("..data/hedgerow.yaml", folder.join("link")).unwrap();
    fs::rename(folder.join("link"), &running.process.file).unwrap();
    running.applied(1).await;
    std::os::unix::fs::symlink("v2", folder.join("..new")).unwrap();
    fs::rename(folder.join("..new"), folder.join("..data")).unwrap();
    running.applied(2).await;
    fs::write(folder.join("v2/hedgerow.yaml"), format!("{file}# more\n")).unwrap();
    running.applied(3).await;
    fs::write(folder.join("secret/key"), "phc_second").unwrap();
    running.applied(4).await;
    fs::write(
        folder.join("v2/hedgerow.yaml"),
        file.replace("server: {", "server: {watch: off, "),
    )
    .unwrap();
    running.applied(5).await;
    // Hedgerow no longer watches the file, so only a command reloads it: five and one.
    fs::write(folder.join("secret/key"), "phc_third").unwrap();
    assert_eq!(running.reload().0, Some(0));
    assert_eq!(applied().await, 6);
    let other = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["check", "--against"])
        .arg(folder.join("v1/hedgerow.yaml"))
        .arg(&running.process.file)
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&other.stdout),
        "+ server.watch: off\n"
    );
}
