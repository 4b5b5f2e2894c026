//! Liveness and readiness have separate answers, on addresses that do not serve visitors' data.

use hedgerow::demo::capture::InjectedFault;
use http::StatusCode;

use super::binary::Binary;
use super::get;
use super::support::address::unused_address;
use super::support::client::{post, Client};
use super::support::proxy::{yaml, PostHog, Proxy};
use super::support::{eventually, track, DEADLINE};

/// Waits until the path has this status, and returns the answer.
async fn until(address: std::net::SocketAddr, path: &str, status: u16) -> serde_json::Value {
    let start = std::time::Instant::now();
    loop {
        let answer = get(address, path).await;
        if answer.status == status {
            return answer.json();
        }
        assert!(start.elapsed() < DEADLINE, "{path}: {answer:?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listener_answers_health_checks_on_its_own_path() {
    let posthog = PostHog::start().await;
    let listen = "listen: [{address: \"127.0.0.1:0\", health: /up}]\n";
    let proxy = Proxy::start(&format!("{listen}{}", yaml(&posthog.url()))).await;
    for (path, status, word) in [
        ("/up", 200, "ready"),
        ("/up/", 200, "ready"),
        ("/up/ready", 200, "ready"),
        ("/up/live", 200, "live"),
    ] {
        let answer = get(proxy.address, path).await;
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.json()["status"], word, "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
    }
    for path in ["/upper", "/up/other", "/readyz", "/metrics", "/live"] {
        assert_eq!(get(proxy.address, path).await.status, 404, "{path}");
    }
    // A listener without `health` does not answer these paths.
    let proxy = Proxy::start(&yaml(&posthog.url())).await;
    assert_eq!(get(proxy.address, "/up").await.status, 404);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_without_a_spool_is_not_ready_while_posthog_takes_nothing() {
    let posthog = PostHog::start().await;
    let listen = "listen: [{address: \"127.0.0.1:0\", health: /up}]\n";
    let proxy = Proxy::start(&format!("{listen}{}", yaml(&posthog.url()))).await;
    let away = InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, None);
    posthog.capture.set_fault(away);
    let mut client = Client::connect(proxy.address).await;
    for id in ["1", "2", "3"] {
        assert_eq!(get(proxy.address, "/up").await.status, 200, "before {id}");
        let sent = post("/hr/v1/t", "", track(id, 300).as_bytes());
        assert_eq!(client.exchange(&sent).await.status, 503);
    }
    let answer = get(proxy.address, "/up").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert_eq!(answer.json()["reasons"][0], "no_way_to_keep_or_deliver");
    assert_eq!(get(proxy.address, "/up/live").await.status, 200);
    posthog.capture.set_fault(InjectedFault::None);
    let sent = post("/hr/v1/t", "", track("4", 300).as_bytes());
    assert_eq!(client.exchange(&sent).await.status, 200);
    assert_eq!(get(proxy.address, "/up").await.status, 200);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_spool_that_takes_nothing_makes_a_process_unready_and_posthogs_absence_does_not() {
    let folder = tempfile::tempdir().expect("a folder");
    let posthog = PostHog::start().await;
    let (health, admin) = (unused_address(), unused_address());
    let place = folder.path().join("there");
    let text = yaml(&posthog.url()).replace("\"off\"", &format!("{{path: {:?}}}", place.join("s")));
    // A file is in the place of the folder.
    std::fs::write(&place, "in the way").expect("ours");
    let text = format!("health: \"{health}\"\nadmin: \"{admin}\"\n{text}");
    let mut binary = Binary::new(folder.path(), &text, "").await;
    for address in [health, admin] {
        let said = until(address, "/readyz", 503).await;
        assert_eq!(said["reasons"][0], "spool_not_writable", "{said}");
        assert_eq!(get(address, "/healthz").await.status, 200);
    }
    std::fs::remove_file(&place).expect("ours");
    until(health, "/readyz", 200).await;
    posthog
        .capture
        .set_fault(InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, None));
    let mut client = Client::connect(binary.address).await;
    for id in 0..6 {
        let sent = post("/hr/v1/t", "", track(&id.to_string(), 300).as_bytes());
        assert_eq!(client.exchange(&sent).await.status, 200);
    }
    assert_eq!(until(health, "/readyz", 200).await["status"], "ready");
    // The address serves nothing else.
    for path in ["/", "/live", "/metrics", "/health"] {
        assert_eq!(get(health, path).await.status, 404, "{path}");
    }
    posthog.capture.set_fault(InjectedFault::None);
    eventually("all arrive", || {
        (posthog.capture.stored() >= 6).then_some(())
    })
    .await;
    assert_eq!(binary.terminate().await, Some(0));
}
