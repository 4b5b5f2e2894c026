//! The shipped rules are valid, each has a test, and they name only existing metrics and labels.

use std::collections::BTreeSet;

use hedgerow::admin::metrics::{metrics, Metric};
use hedgerow::demo::http::{Handler, Request};
use http::Method;

use super::support::client::{post, Client};
use super::support::proxy::{yaml, PostHog, Proxy};
use super::support::track;
use super::{file, promtool};

const ALERTS: &str = "conf/prometheus/alerts.yml";
const TESTS: &str = "tests/data/prometheus/alerts.test.yml";

/// The metrics and labels in an expression that do not exist.
pub fn unknown(expression: &str) -> Vec<String> {
    let is_word = |sign: char| sign.is_ascii_alphanumeric() || sign == '_';
    let mut wrong = Vec::new();
    let mut labels: BTreeSet<&str> = ["instance", "job", "le"].into();
    for (start, _) in expression.match_indices(|sign: char| sign.is_ascii_alphabetic()) {
        let before = expression[..start].chars().next_back();
        let rest = &expression[start..];
        let end = rest.find(|sign| !is_word(sign)).unwrap_or(rest.len());
        let word = &rest[..end];
        let is_metric = word.starts_with("hedgerow_") || word.starts_with("process_");
        if before.is_some_and(is_word) || !is_metric {
            continue;
        }
        let Some(metric) = metric(word) else {
            wrong.push(word.to_owned());
            continue;
        };
        labels.extend(metric.labels);
        let selector = rest[end..].strip_prefix('{');
        let selector = selector.and_then(|rest| rest.split_once('}'));
        for pair in selector.map_or("", |(inside, _)| inside).split("\",") {
            let label = pair.trim().split(['=', '!']).next().unwrap_or_default();
            let known = [&["instance", "job", "le"], metric.labels].concat();
            if !label.is_empty() && !known.contains(&label) {
                wrong.push(format!("{word}: label {label}"));
            }
        }
    }
    for grouping in expression.split("by (").skip(1) {
        let inside = grouping.split(')').next().unwrap_or_default();
        for label in inside.split(',').map(str::trim) {
            if !labels.contains(label) {
                wrong.push(format!("by ({label})"));
            }
        }
    }
    wrong
}

fn metric(name: &str) -> Option<&'static Metric> {
    let of = |name: &str| metrics().find(|metric| metric.name == name);
    let base = ["_bucket", "_sum", "_count"];
    let base = base.iter().find_map(|end| name.strip_suffix(end));
    let histogram = base
        .and_then(of)
        .filter(|metric| metric.kind.word() == "histogram");
    of(name).or(histogram)
}

#[test]
fn an_unknown_metric_in_an_expression_is_found() {
    for (expression, wrong) in [
        ("rate(hedgerow_requests_total{code=\"x\",job=\"y\"}[5m])", 0),
        ("histogram_quantile(0.5, sum by (le) (rate(hedgerow_rewrite_duration_seconds_bucket[5m])))", 0),
        ("hedgerow_nothing > 0", 1),
        ("hedgerow_posthog_up_sum", 1),
        ("hedgerow_posthog_up{route=\"x\"}", 1),
        ("sum by (colour) (hedgerow_posthog_up)", 1),
    ] {
        assert_eq!(unknown(expression).len(), wrong, "{expression}: {:?}", unknown(expression));
    }
}

/// The rules as pairs of name and text.
fn rules(text: &str) -> Vec<(String, String)> {
    let pieces = text.split("- alert: ").skip(1);
    let named = pieces.map(|piece| {
        let (name, rest) = piece.split_once('\n').expect("a rule");
        (name.trim().to_owned(), rest.to_owned())
    });
    named.collect()
}

#[test]
fn the_rules_are_valid_and_each_fires_and_resolves_in_its_test() {
    let rules = rules(&file(ALERTS));
    assert!(rules.len() >= 10, "{rules:?}");
    let tests = file(TESTS);
    let mut wrong = Vec::new();
    for (name, text) in &rules {
        let (expression, _) = text.split_once("labels:").expect("a rule");
        wrong.extend(
            unknown(expression)
                .into_iter()
                .map(|what| format!("{name}: {what}")),
        );
        if !tests.contains(&format!("  - name: {name}\n")) {
            wrong.push(format!("{name} has no test"));
        }
        if !text.contains("summary:")
            || !text.contains("description:")
            || !text.contains("severity:")
        {
            wrong.push(format!("{name} does not say what it means"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    promtool(&["check", "rules", ALERTS], "");
    promtool(&["check", "config", "conf/prometheus/prometheus.yml"], "");
    promtool(&["test", "rules", TESTS], "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn promtool_has_no_complaint_about_the_metrics_and_each_of_the_table_can_be_seen() {
    let folder = tempfile::tempdir().unwrap();
    let certificates = super::support::tls::Certificates::new(&["localhost"]);
    let posthog = PostHog::start().await;
    let host = posthog.url().replace("127.0.0.1", "localhost");
    let tls = format!(
        "listen: [{{address: \"127.0.0.1:0\", tls: {{certificate: {:?}, key: {:?}}}}}]\n",
        certificates.file("certificate.pem"),
        certificates.file("key.pem")
    );
    let spool = format!("{{path: {:?}}}", folder.path().join("spool"));
    let yaml = yaml(&host).replace("\"off\"", &spool);
    let proxy = Proxy::start(&format!("admin: 127.0.0.1:0\n{tls}{yaml}")).await;
    let mut client = Client::connect(proxy.address).await;
    for body in [
        track("1", 300),
        track("2", 300),
        "{\"event\":\"E\"}".to_owned(),
    ] {
        let sent = post("/hr/v1/t", "", body.as_bytes());
        assert_eq!(client.exchange(&sent).await.status, 200);
    }
    let unreadable = r#"{"event":"E","userId":"u","timestamp":"soon"}"#;
    let sent = post("/hr/v1/t", "", unreadable.as_bytes());
    assert_eq!(client.exchange(&sent).await.status, 200);
    posthog.events(3).await;
    let admin = proxy.hedgerow.admin().unwrap();
    let text = super::support::eventually("all metrics have values", || {
        let answer = admin.handle(&Request::new(Method::GET, "/metrics"));
        let text = String::from_utf8(answer.body.to_vec()).unwrap();
        metrics()
            .all(|metric| {
                text.contains(&format!(
                    "\n# TYPE {} {}\n",
                    metric.name,
                    metric.kind.word()
                ))
            })
            .then_some(text)
    })
    .await;
    promtool(&["check", "metrics"], &text);
    let value = |name: &str| -> f64 {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        let line = line.unwrap_or_else(|| panic!("no {name} in\n{text}"));
        line.trim().parse().unwrap()
    };
    let mut wrong = Vec::new();
    for (name, expected) in [
        ("hedgerow_requests_total{route=\"/hr/\",call=\"track\",status=\"200\",code=\"ok\"}", 4.0),
        ("hedgerow_requests_total{route=\"/hr/\",call=\"batch\",status=\"401\",code=\"unknown_write_key\"}", 0.0),
        ("hedgerow_request_duration_seconds_count{route=\"/hr/\"}", 4.0),
        ("hedgerow_rewrite_duration_seconds_count", 4.0),
        ("hedgerow_upstream_duration_seconds_count{project=\"shop\"}", 3.0),
        ("hedgerow_received_bytes_total{route=\"/hr/\"}", {
            let bodies = [track("1", 300), track("2", 300), "{\"event\":\"E\"}".to_owned()];
            (bodies.iter().map(String::len).sum::<usize>() + unreadable.len()) as f64
        }),
        ("hedgerow_upstream_connections_opened_total{project=\"shop\"}", 1.0),
        ("hedgerow_upstream_connections_reused_total{project=\"shop\"}", 2.0),
        ("hedgerow_dns_lookups_total{project=\"shop\",outcome=\"resolved\"}", 1.0),
        ("hedgerow_messages_total{outcome=\"converted\",reason=\"ok\"}", 3.0),
        ("hedgerow_messages_total{outcome=\"refused\",reason=\"missing_distinct_id\"}", 1.0),
        ("hedgerow_notices_total{code=\"unreadable_time\"}", 1.0),
        ("hedgerow_posthog_up{project=\"shop\"}", 1.0),
        ("hedgerow_spool_writable", 1.0),
        ("hedgerow_spool_size_limit_bytes", (1u64 << 30) as f64),
        ("hedgerow_request_memory_limit_bytes", (256u64 << 20) as f64),
    ] {
        if value(name) != expected {
            wrong.push(format!("{name}: {}, not {expected}", value(name)));
        }
    }
    for name in [
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_max_fds",
        "hedgerow_spool_disk_free_bytes",
        "hedgerow_spool_size_bytes",
        "hedgerow_sent_bytes_total{project=\"shop\"}",
        "hedgerow_request_duration_seconds_sum{route=\"/hr/\"}",
    ] {
        if value(name) <= 0.0 {
            wrong.push(format!("{name}: {}", value(name)));
        }
    }
    let now = chrono::Utc::now().timestamp() as f64;
    let started = value("process_start_time_seconds");
    if (now - started).abs() > 24.0 * 3600.0 {
        wrong.push(format!("it began at {started}, and it is {now}"));
    }
    assert!(wrong.is_empty(), "{wrong:#?}\n{text}");
}
