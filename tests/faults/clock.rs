//! A clock that shows a time before 1970, for which HTTP has no dates.

use std::path::Path;
use std::process::Command;

use super::support::address::unused_address;
use super::support::client::Client;
use super::support::recorder::{response, Act, Recorder};
use super::support::running::{get, until, Running};
use super::support::{faketime, h2, within};

/// A shift of the right time to one before 1970.
const BEFORE: &str = "-2000000000";
/// And to one after 1970, but before this program was written.
const OLD: &str = "-200000000";

fn set(file: &Path, shift: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, shift).expect("the folder is ours");
    std::fs::rename(new, file).expect("the folder is ours");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_before_1970_is_named_and_no_request_ends_in_a_panic() {
    let Some(library) = faketime::library() else {
        println!("SKIPPED: faketime is not installed");
        return;
    };
    let site = Recorder::that(|_| Act::Answer(response("200 OK", "", "page"))).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (plain, h2c, admin) = (unused_address(), unused_address(), unused_address());
    let yaml = format!(
        "listen: [\"{plain}\", {{address: \"{h2c}\", h2c: on}}]\nadmin: \"{admin}\"\n\
         projects:\n  shop: {{host: \"http://127.0.0.1:9\", api_key: phc_test}}\n\
         routes:\n  - path: /hr/\n    segment: {{project: shop, write_keys: any}}\n  \
         - {{path: /, origin: \"{}\"}}\ndelivery: {{spool: {{path: \"{}\"}}}}\n",
        site.url(),
        folder.path().join("spool").display(),
    );
    let time = folder.path().join("time");
    let variables = [
        ("LD_PRELOAD", library.display().to_string()),
        ("FAKETIME_TIMESTAMP_FILE", time.display().to_string()),
        ("FAKETIME_NO_CACHE", "1".to_owned()),
        ("DONT_FAKE_MONOTONIC", "1".to_owned()),
    ];
    // At the start: no request could be answered.
    set(&time, BEFORE);
    let file = folder.path().join("start.yaml");
    std::fs::write(&file, &yaml).expect("the folder is ours");
    let ended = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["run", "-c"])
        .arg(&file)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert_eq!(ended.status.code(), Some(2), "{said}");
    assert!(said.contains("the clock is wrong: it shows 19"), "{said}");
    // While it runs.
    set(&time, "+0");
    let running = Running::start_with(folder.path(), &yaml, &[], &variables, plain).await;
    let status = |address, path| async move { get(address, path).await.status };
    assert_eq!(status(plain, "/page").await, 200);
    assert_eq!(status(admin, "/readyz").await, 200);
    let mut shared = h2::Client::connect(h2c).await;
    assert_eq!(shared.get("/page", &[]).await.0.status, 200);
    set(&time, BEFORE);
    until("every listener says so", || async {
        match (status(plain, "/page").await, status(admin, "/health").await) {
            (503, 503) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    })
    .await;
    // Over HTTP/2 the stream ends.
    let (answer, mut body) = shared.post("/page", &[]).await;
    h2::send(&mut body, b"x", true).await;
    assert!(within("its end", answer).await.is_err());
    let mut client = Client::connect(plain).await;
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(client.answer().await.header("retry-after"), "60");
    // A wrong time that HTTP can name.
    set(&time, OLD);
    until("it is not ready", || async {
        let answer = get(admin, "/readyz").await;
        let text = String::from_utf8_lossy(&answer.body).into_owned();
        let says = answer.status == 503 && text.contains("\"clock\"");
        says.then_some(()).ok_or(format!("{answer:?}"))
    })
    .await;
    assert_eq!(get(admin, "/health").await.json()["status"], "clock");
    assert_eq!(status(plain, "/page").await, 200);
    set(&time, "+0");
    until("it is ready", || async {
        let status = status(admin, "/readyz").await;
        (status == 200).then_some(()).ok_or(status.to_string())
    })
    .await;
    let log = running.log();
    let lines = log.matches("the clock is wrong").count();
    assert!((1..=3).contains(&lines), "{log}");
    assert!(!log.contains("panicked"), "{log}");
}
