//! Checks the path from outside, which a page's requests take.

use base64::engine::general_purpose::STANDARD as BASE64;
use base64::Engine as _;
use bytes::Bytes;
use serde_json::{json, Value};

use crate::admin::LiveView;
use crate::config::{Action, Config, Libraries, PageHost, SiteHost};
use crate::doctor::{self, Finding, OutsideAnswer};
use crate::posthog::{Host, Scheme};
use crate::segment::WriteKeys;
use crate::site::Layout;

use super::probe::{timeouts, Probe, ProbeAnswer};
use super::test_event::{uuid, TEST_EVENT};
use crate::proxy::outbound::pools::ConnectionPools;

/// The content type of a page's calls, which send their JSON as plain text.
const JSON: (&str, &str) = ("content-type", "text/plain");

/// Sends calls to the Segment route that visitors of `url` use, and evaluates the answers.
pub(super) async fn examine(config: &Config, url: &Host) -> Vec<Finding> {
    const ABOUT: &str = "from outside";
    let Some((layout, key)) = installation(config, url) else {
        let observation = format!("no `segment` route is for {}", url.name());
        let advice = "give the URL that visitors use, or name its host in a route";
        return vec![Finding::bad(ABOUT, observation, advice)];
    };
    let connections = match ConnectionPools::default().of(url, None) {
        Ok(connections) => connections,
        Err(error) => {
            let advice = "install ca-certificates";
            return vec![Finding::bad(ABOUT, error.to_string(), advice)];
        }
    };
    let probe = Probe::new(url, connections, timeouts(config));
    let track = format!("{}/t", layout.calls_path());
    let address = format!("{url}{track}");
    // The body is not a message: only Hedgerow answers it in this way, and nothing is delivered.
    let login = key
        .as_deref()
        .map(|key| format!("Basic {}", BASE64.encode(format!("{key}:"))));
    let mut fields = vec![JSON];
    fields.extend(login.as_deref().map(|login| ("authorization", login)));
    let mut answers = Vec::new();
    for _ in 0..2 {
        match probe
            .ask("POST", &track, &fields, Bytes::from_static(b"doctor"))
            .await
        {
            Ok(answer) => answers.push(answer),
            Err(reason) => {
                let (kind, advice) = reason.advice();
                let observation = format!("{address}: no answer ({kind})");
                return vec![Finding::bad(ABOUT, observation, advice)];
            }
        }
    }
    let seen: Vec<OutsideAnswer<'_>> = answers.iter().map(seen).collect();
    let mut findings: Vec<_> = seen
        .first()
        .map(|seen| doctor::path(&address, seen))
        .into_iter()
        .collect();
    if findings
        .iter()
        .any(|found| found.status == doctor::CheckStatus::Failed)
    {
        return findings;
    }
    findings.push(doctor::cache(&seen));
    let preflight_fields = [
        ("origin", "https://hedgerow-doctor.example"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", "content-type"),
    ];
    match probe
        .ask("OPTIONS", &track, &preflight_fields, Bytes::new())
        .await
    {
        Ok(answer) => findings.push(doctor::preflight(&address, &self::seen(&answer))),
        Err(reason) => {
            let (kind, advice) = reason.advice();
            let observation = format!("no answer to OPTIONS ({kind})");
            findings.push(Finding::bad("from outside, OPTIONS", observation, advice));
        }
    }
    let client_address = client_address_seen(config, &probe, &track, key.as_deref()).await;
    findings.push(doctor::address(client_address.as_deref()));
    findings
}

fn seen(answer: &ProbeAnswer) -> OutsideAnswer<'_> {
    OutsideAnswer {
        status: answer.head.status.as_u16(),
        location: answer.field("location"),
        cached: doctor::cached(|name| answer.field(name).map(str::to_owned)),
        body: &answer.body,
        allows: answer.field("access-control-allow-origin"),
    }
}

/// Returns the layout of the route that visitors of this host use, and the write key that they send.
fn installation(config: &Config, url: &Host) -> Option<(Layout, Option<String>)> {
    let host: Option<SiteHost> = url.name().parse().ok();
    let named = host.as_ref().map_or(PageHost::Every, PageHost::Named);
    let page = config.page(None, named, Libraries::Analytics, None, None);
    if let Some(part) = page.ok().and_then(|page| page.analytics) {
        return Some((part.layout, Some(part.write_key)));
    }
    let mut routes = config.routes.iter();
    routes.find_map(|route| match &route.action {
        Action::Segment { files, write_keys } => {
            let ours = route.host.is_none() || route.host == host;
            let listed = files.page_key.as_ref();
            let key = match write_keys {
                WriteKeys::Any(_) => None,
                WriteKeys::Listed(keys) => listed
                    .or_else(|| keys.keys().next())
                    .map(|key| key.expose().to_owned()),
            };
            ours.then(|| (files.layout.clone(), key))
        }
        _ => None,
    })
}

/// Returns the client address that Hedgerow saw, which it reads from the live view. Sends one event to
/// PostHog.
async fn client_address_seen(
    config: &Config,
    outside: &Probe,
    track: &str,
    key: Option<&str>,
) -> Option<String> {
    let mut admin = config.admin?;
    if admin.ip().is_unspecified() {
        admin.set_ip(match admin.is_ipv4() {
            true => std::net::Ipv4Addr::LOCALHOST.into(),
            false => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    let host = Host::at(Scheme::Http, admin);
    let connections = ConnectionPools::default().of(&host, None).ok()?;
    let live = Probe::new(&host, connections, timeouts(config));
    let bearer = match &config.live {
        LiveView::Off => return None,
        LiveView::Open => None,
        LiveView::Token(token) => Some(token.bearer()),
    };
    let fields: Vec<_> = bearer
        .iter()
        .map(|bearer| ("authorization", bearer.as_str()))
        .collect();
    let fetch_json = async |path: &str| -> Option<Value> {
        let answer = live.ask("GET", path, &fields, Bytes::new()).await.ok()?;
        serde_json::from_str(&answer.body).ok()
    };
    // From now on the live view records.
    let latest = fetch_json("/live").await?.get("latest")?.as_u64()?;
    let id = uuid();
    let mut message = json!({
        "type": "track",
        "event": TEST_EVENT,
        "anonymousId": id,
        "messageId": id,
        "context": {"library": {"name": "analytics.js"}},
    });
    if let (Some(key), Value::Object(message)) = (key, &mut message) {
        message.insert("writeKey".to_owned(), key.into());
    }
    let body = Bytes::from(message.to_string());
    outside.ask("POST", track, &[JSON], body).await.ok()?;
    let news = fetch_json(&format!("/live?after={latest}")).await?;
    for entry in news.get("entries")?.as_array()? {
        let number = entry.get("number")?.as_u64()?;
        let Some(detail) = fetch_json(&format!("/live/message?number={number}")).await else {
            continue;
        };
        let left = detail.get("left").and_then(Value::as_str);
        let event = left.and_then(|left| serde_json::from_str::<Value>(left).ok());
        let Some(properties) = event.as_ref().and_then(|event| event.get("properties")) else {
            continue;
        };
        let text = |name| properties.get(name).and_then(Value::as_str);
        if text("distinct_id") == Some(id.as_str()) {
            return text("$ip").map(str::to_owned);
        }
    }
    None
}
