//! What a visitor can learn from an answer, and what posthog-js gets while PostHog fails.

use std::sync::Arc;

use hedgerow::demo::http::{Handler, Request, Response};
use hedgerow::proxy::HandlerApp;

use super::support::address::dead_url;
use super::support::client::{post, Client};
use super::support::proxy::Proxy;
use super::support::recorder::{response, Act, Recorder};
use super::support::tls::{AlpnOffer, Certificates, Secure};
use super::support::{h2, track};
use super::{get, site};

/// A route of each kind.
fn yaml(posthog: &str, site: &str) -> String {
    format!(
        "projects:\n  shop: {{host: \"{posthog}\", api_key: phc_test}}\nroutes:\n  \
         - {{path: /ph/, posthog: shop}}\n  \
         - {{path: /hr/, segment: {{project: shop, write_keys: [known]}}}}\n  \
         - {{path: /site/, origin: \"{site}\"}}\n\
         delivery: {{connect_timeout: 2s, timeout: 3s, spool: \"off\"}}\nlimits: {{body: 1000}}\n"
    )
}

/// Names and patterns that would identify the product.
fn assert_unmarked(head: &str, body: &[u8], what: &str) {
    let lines: Vec<String> = head.lines().skip(1).map(str::to_ascii_lowercase).collect();
    for line in &lines {
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        for word in ["segment", "posthog", "pingora", "hedgerow", "envoy"] {
            assert!(!line.contains(word), "{what}: {line}");
        }
        let told = [
            "server",
            "via",
            "x-powered-by",
            "x-served-by",
            "x-cache",
            "server-timing",
        ];
        assert!(!told.contains(&name), "{what}: {line}");
        // Many servers send both; analytics.js reads the second one.
        let common = ["x-content-type-options", "x-ratelimit-reset"];
        let told = name.starts_with("x-") && !common.contains(&name);
        assert!(!told, "{what}: {name}: {value}");
    }
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    for word in ["pingora", "hedgerow", "posthog", "segment"] {
        assert!(!text.contains(word), "{what}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_answer_names_the_server() {
    let posthog = Recorder::that(|request| {
        let headers = "Server: PostHog\r\nVia: 1.1 envoy\r\nX-Envoy-Upstream-Service-Time: 3\r\n\
            X-PostHog-Version: 1\r\nSet-Cookie: ph=1\r\nX-Served-By: a\r\nX-Cache: HIT\r\n\
            Server-Timing: a\r\nStrict-Transport-Security: max-age=1\r\nContent-Type: text/plain\r\n";
        let status = match request.head.contains("/broken") {
            true => "503 Service Unavailable",
            false => "200 OK",
        };
        Act::Answer(response(status, headers, "{}"))
    })
    .await;
    let plain = Recorder::that(|_| Act::Answer(response("200 OK", "", "a page"))).await;
    let dead = dead_url();
    let silent = Recorder::early(|_| Some(Act::Silence)).await;
    let key = "Authorization: Basic a25vd246\r\n";
    let event = track("1", 200);
    let large = vec![b' '; 2000];
    let huge = "Content-Length: 99999999\r\n";
    let options = "OPTIONS /hr/v1/t HTTP/1.1\r\nHost: a\r\nOrigin: https://a.test\r\n\
        Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: x\r\n\r\n";
    let delete = "DELETE /hr/v1/t HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    let trace = "TRACE /ph/e/ HTTP/1.1\r\nHost: a\r\n\r\n";
    let rows: Vec<(&str, &str, &str, Vec<u8>, u16)> = vec![
        (
            "taken",
            "up",
            "up",
            post("/hr/v1/t", key, event.as_bytes()),
            200,
        ),
        ("preflight", "up", "up", options.into(), 204),
        ("unknown path", "up", "up", get("/hr/nothing/here", ""), 404),
        ("method", "up", "up", delete.into(), 405),
        (
            "unknown key",
            "up",
            "up",
            post("/hr/v1/t", "", event.as_bytes()),
            401,
        ),
        ("broken", "up", "up", post("/hr/v1/t", key, b"{broken"), 400),
        ("too large", "up", "up", post("/hr/v1/t", key, &large), 413),
        (
            "away",
            "dead",
            "up",
            post("/hr/v1/t", key, event.as_bytes()),
            503,
        ),
        (
            "settings",
            "up",
            "up",
            get("/hr/v1/projects/known/settings", ""),
            200,
        ),
        (
            "no settings",
            "up",
            "up",
            get("/hr/v1/projects/other/settings", ""),
            404,
        ),
        ("passed", "up", "up", post("/ph/e/", "", b"{}"), 200),
        ("script", "up", "up", get("/ph/static/array.js", ""), 200),
        (
            "its own trouble",
            "up",
            "up",
            post("/ph/broken", "", b"{}"),
            503,
        ),
        (
            "script in trouble",
            "up",
            "up",
            get("/ph/static/broken.js", ""),
            503,
        ),
        ("method to it", "up", "up", trace.into(), 405),
        (
            "too large for it",
            "up",
            "up",
            {
                let request = format!("POST /ph/s/ HTTP/1.1\r\nHost: a\r\n{huge}\r\n");
                request.into_bytes()
            },
            413,
        ),
        (
            "no connection",
            "dead",
            "up",
            post("/ph/e/", "", b"{}"),
            502,
        ),
        (
            "no script",
            "dead",
            "up",
            get("/ph/static/array.js", ""),
            502,
        ),
        (
            "late script",
            "silent",
            "up",
            get("/ph/static/array.js", ""),
            503,
        ),
        ("page", "up", "up", get("/site/", ""), 200),
        ("no site", "up", "dead", get("/site/", ""), 502),
        ("no route", "up", "up", get("/other", ""), 404),
    ];
    let address = |which: &str, up: &Recorder| match which {
        "up" => up.url(),
        "dead" => dead.clone(),
        _ => silent.url(),
    };
    let mut wrong = Vec::new();
    for (what, behind, origin, request, status) in rows {
        let yaml = yaml(&address(behind, &posthog), &address(origin, &plain));
        let proxy = Proxy::start(&yaml).await;
        let mut client = Client::connect(proxy.address).await;
        let answer = client.exchange(&request).await;
        if answer.status != status {
            wrong.push(format!("{what}: {} instead of {status}", answer.status));
        }
        // The contents of a library or a page are not checked.
        let body = if answer.status < 400 {
            &[][..]
        } else {
            &answer.body
        };
        assert_unmarked(&answer.head, body, what);
        assert!(!answer.header("set-cookie").contains("ph="), "{what}");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let proxy = Proxy::start_h2c(&yaml(&posthog.url(), &plain.url())).await;
    let mut h2 = h2::Client::connect(proxy.address).await;
    let (answer, _) = h2.get("/other", &[]).await;
    let lines = answer.headers.iter();
    let lines = lines.map(|(name, value)| format!("\r\n{name}: {}", value.to_str().unwrap()));
    assert_unmarked(&lines.collect::<String>(), &answer.body, "over HTTP/2");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sites_own_headers_stay_its_own() {
    let site = site("a page").await;
    let proxy = Proxy::start(&yaml("http://127.0.0.1:9", &site.url())).await;
    let mut client = Client::connect(proxy.address).await;
    let answer = client.exchange(&get("/site/", "")).await;
    assert_eq!(answer.header("server"), "Shop/1");
    assert_eq!(answer.header("via"), "");
}

/// A site that answers with the requested path.
struct Echo;

impl Handler for Echo {
    fn handle(&self, request: &Request) -> Response {
        let mut response = Response::empty(http::StatusCode::OK);
        response.body = bytes::Bytes::from(request.path.clone());
        response
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn posthogs_certificate_is_verified_for_posthog_js_too() {
    let good = Certificates::new(&["localhost", "127.0.0.1"]);
    let other_name = Certificates::new(&["posthog.example.com"]);
    let unknown = Certificates::new(&["localhost"]);
    let ca = good.file("ca.pem");
    let wrong_name_ca = other_name.file("ca.pem");
    for (what, certificates, ca, host, status) in [
        ("trusted", &good, &ca, "localhost", 200),
        ("an address", &good, &ca, "127.0.0.1", 200),
        (
            "another name",
            &other_name,
            &wrong_name_ca,
            "localhost",
            502,
        ),
        ("an unknown authority", &unknown, &ca, "localhost", 502),
    ] {
        for http in ["auto", "2"] {
            let app = HandlerApp::new(Arc::new(Echo));
            let secure = Secure::start(app, certificates, AlpnOffer::Both).await;
            let url = format!("https://{host}:{}", secure.address.port());
            let yaml = yaml(&url, "http://127.0.0.1:9").replace(
                "api_key: phc_test",
                &format!("api_key: phc_test, http: {http}, ca_file: {}", ca.display()),
            );
            let proxy = Proxy::start(&yaml).await;
            for _ in 0..2 {
                let mut client = Client::connect(proxy.address).await;
                for request in [post("/ph/e/", "", b"{}"), get("/ph/static/array.js", "")] {
                    let answer = client.exchange(&request).await;
                    assert_eq!(answer.status, status, "{what} {http}: {answer:?}");
                    if status != 200 {
                        client = Client::connect(proxy.address).await;
                    }
                }
            }
        }
    }
}
