//! What a file would change in a running process.

use std::fs;
use std::process::Command;

use super::running::Running;
use super::support::address::{dead_url, unused_address};
use super::support::client::Client;
use super::support::proxy::{yaml, PostHog};

/// `hedgerow check --against` this address, with these arguments: exit code, standard output,
/// standard error.
fn check_against(other: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(["check", "--against", other])
        .args(arguments)
        .env("RUNNING_TOKEN", "0123456789abcdef")
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.code(),
        text(&output.stdout),
        text(&output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_prints_what_a_file_would_change_in_the_running_process() {
    let posthog = PostHog::start().await;
    let file = yaml(&posthog.url()).replace("write_keys: any", "write_keys: [wk_private_one]");
    let running = Running::start(&file).await;
    let path = running.process.file.display().to_string();
    let url = running.admin_url();
    assert_eq!(
        check_against(&url, &[&path]),
        (Some(0), "nothing is different\n".to_owned(), String::new())
    );
    // A file with a mistake is not active: it differs, and the process names the reason for its
    // refusal.
    let good = fs::read_to_string(&path).unwrap();
    running.replace_all(&good.replace("project: shop", "project: gone"));
    running.refused_after(0).await;
    // Another file than that of the process, with a change of each kind.
    let other = running.folder.path().join("other.yaml");
    let changed = good
        .replace("wk_private_one", "wk_private_two")
        .replace("timeout: 5s", "timeout: 6s")
        .replace("server: {", "server: {threads: 1, ");
    fs::write(&other, format!("{changed}limits: {{body: 7MiB}}\n")).unwrap();
    let other = other.display().to_string();
    let (code, found, complaints) = check_against(&format!("{url}/"), &[&other]);
    assert_eq!(code, Some(0), "{complaints}");
    assert_eq!(
        found,
        "~ delivery.timeout: 5s -> 6s\n\
         + limits.body: 7MiB\n\
         ~ routes[/hr/].segment.write_keys[0]: (hidden) -> (hidden)\n\
         + server.threads: 1  (takes a new process)\n"
    );
    assert!(
        complaints.contains("the process uses generation 1 of its configuration. At ")
            && complaints.contains("no project of this name"),
        "{complaints}"
    );
    // Settings that need a new process still differ.
    running.replace_all(&fs::read_to_string(&other).unwrap());
    let (code, said) = running.reload();
    assert_eq!(code, Some(0), "{said}");
    let (_, found, complaints) = check_against(&url, &[&path]);
    assert_eq!(
        (found.as_str(), complaints.as_str()),
        ("+ server.threads: 1  (takes a new process)\n", "")
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_with_a_token_shows_its_configuration_only_with_it() {
    let posthog = PostHog::start().await;
    let running = Running::start(&yaml(&posthog.url())).await;
    let path = running.process.file.display().to_string();
    let url = running.admin_url();
    let good = fs::read_to_string(&path).unwrap();
    let address = url.trim_start_matches("http://");
    let admin = |more: &str| {
        let plain = format!("admin: \"{address}\"");
        assert!(good.contains(&plain), "{good}");
        good.replace(
            &plain,
            &format!("admin: {{address: \"{address}\", {more}}}"),
        )
    };
    let guarded = admin("token: 0123456789abcdef");
    running.replace_all(&guarded);
    assert_eq!(running.reload().0, Some(0));
    // The token in the file is that of the process; another file has none.
    let plain = running.folder.path().join("plain.yaml");
    fs::write(&plain, &good).unwrap();
    let plain = plain.display().to_string();
    assert_eq!(check_against(&url, &[&path]).1, "nothing is different\n");
    let (code, found, complaints) = check_against(&url, &[&plain]);
    assert_eq!((code, found.as_str()), (Some(2), ""));
    assert!(
        complaints.contains("the running process needs the token of its `admin`"),
        "{complaints}"
    );
    let (code, found, complaints) = check_against(&url, &[&plain, "--token", "env:RUNNING_TOKEN"]);
    assert_eq!(code, Some(0), "{complaints}");
    assert!(found.contains("- admin.token: (hidden)\n"), "{found}");
    for (other, words) in [
        (
            format!("http://{}", posthog.address),
            "is not that of this version of Hedgerow",
        ),
        (dead_url(), "no answer (connect)"),
        ("ftp://127.0.0.1".to_owned(), "expected"),
    ] {
        let (code, found, complaints) = check_against(&other, &[&path]);
        assert_eq!((code, found.as_str()), (Some(2), ""), "{other}");
        assert!(
            complaints.contains(words) || complaints.contains("it answers 4"),
            "{other}: {complaints}"
        );
    }
    // If the live view is off, so is this.
    running.replace_all(&admin("live: off"));
    assert_eq!(running.reload().0, Some(0));
    let (code, _, complaints) = check_against(&url, &[&path]);
    assert_eq!(code, Some(2));
    assert!(complaints.contains("The live view is off"), "{complaints}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn admin_and_health_addresses_that_a_reload_brings_are_served() {
    let posthog = PostHog::start().await;
    let running = Running::start(&yaml(&posthog.url())).await;
    let good = fs::read_to_string(&running.process.file).unwrap();
    let health = unused_address();
    running.replace_all(&format!("{good}health: \"{health}\"\n"));
    let (code, said) = running.reload();
    assert_eq!(code, Some(0), "{said}");
    let mut client = Client::connect(health).await;
    let answer = client
        .exchange(b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n")
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
}
