//! An installation whose consent manager blocks every event gets a clear message.

use super::support::client::{post, Client};
use super::support::log;
use super::support::proxy::{yaml, PostHog, Proxy};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_integrations_exclude_are_logged_once_and_counted() {
    log::keep();
    let posthog = PostHog::start().await;
    let respected = yaml(&posthog.url()).replace("shop", "consent");
    let ignored = format!("{respected}mapping: {{integrations: ignore}}\n");
    let mut sent = 0;
    for (yaml, arrives) in [(&respected, false), (&ignored, true)] {
        let proxy = Proxy::start(&format!("{yaml}admin: 127.0.0.1:0\n")).await;
        let mut client = Client::connect(proxy.address).await;
        for integrations in [
            r#"{"All":false,"Segment.io":true}"#,
            r#"{"all":false,"Segment.io":true}"#,
            r#"{"ALL":false}"#,
            r#"{"PostHog":false}"#,
        ] {
            sent += 1;
            let message = format!(
                r#"{{"event":"A","userId":"u","messageId":"m-{sent}","integrations":{integrations}}}"#
            );
            let answer = client
                .exchange(&post("/hr/t", "", message.as_bytes()))
                .await;
            assert_eq!(answer.status, 200, "{integrations}: {answer:?}");
        }
        let counts = proxy.hedgerow.counts();
        let admin = proxy.hedgerow.admin().expect("it is on");
        let metrics = super::refused_events::asked(&admin, "/metrics");
        let live = super::refused_events::asked(&admin, "/live/message?number=1");
        if arrives {
            assert_eq!((counts.events, counts.left_out), (4, 0));
            continue;
        }
        assert_eq!((counts.events, counts.left_out), (0, 4));
        assert_eq!(counts.left_out_for.get("integrations"), Some(&4));
        let line = "hedgerow_messages_total{outcome=\"dropped\",reason=\"integrations\"} 4\n";
        assert!(metrics.contains(line), "{metrics}");
        assert!(live.contains("mapping.integrations: ignore"), "{live}");
    }
    assert_eq!(posthog.events(4).await.len(), 4);
    let said = log::lines("project consent: `integrations` of messages");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].starts_with("WARN") && said[0].contains("mapping.integrations: ignore"),
        "{said:?}"
    );
}
