use super::*;
use crate::admin::live::{MessageOrigin, Recording, Visibility};
use crate::demo::capture::StoreCapacity;
use crate::rewrite::MessageOutcome;
use chrono::Utc;
use serde_json::Value;
use std::path::Path;

fn live() -> Arc<Live> {
    Arc::new(Live::new(
        Arc::new(Utc::now),
        Visibility::Shown,
        Recording::Always,
    ))
}

fn shop_with(live: Arc<Live>, folder: Option<&Path>, prefix: &str, write_key: &str) -> Shop {
    let options = DemoOptions {
        analytics_js: folder.map(Path::to_owned),
        prefix: prefix.to_owned(),
        write_key: write_key.to_owned(),
        live_view: Some("127.0.0.1:9090".parse().unwrap()),
    };
    let capture = Capture::new(Arc::new(Utc::now), StoreCapacity::default());
    Shop::new(live, Arc::new(capture), &options)
}

fn shop(folder: Option<&Path>) -> Shop {
    shop_with(live(), folder, "/hr/", "shop-key")
}

fn package() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let umd = folder.path().join("dist/umd");
    std::fs::create_dir_all(&umd).unwrap();
    std::fs::write(umd.join("standalone.js"), "main()").unwrap();
    std::fs::write(umd.join("407.bundle.61ef.js"), "chunk()").unwrap();
    std::fs::write(umd.join("standalone.js.map"), "{}").unwrap();
    std::fs::write(folder.path().join("secret.js"), "secret").unwrap();
    folder
}

fn get(shop: &Shop, target: &str, headers: &[(&'static str, &str)]) -> Response {
    let mut request = Request::new(Method::GET, target);
    for (name, value) in headers {
        request.headers.insert(*name, value.parse().unwrap());
    }
    shop.handle(&request)
}

fn body(answer: &Response) -> String {
    String::from_utf8(answer.body.to_vec()).unwrap()
}

#[test]
fn settings_point_analytics_js_at_the_prefix_on_the_requests_own_host() {
    let shop = shop(None);
    for (headers, api_host, protocol) in [
        (
            &[("host", "127.0.0.1:8080")][..],
            "127.0.0.1:8080/hr/v1",
            "http",
        ),
        (&[("host", "localhost:81")], "localhost:81/hr/v1", "http"),
        (&[("host", "[::1]:81")], "[::1]:81/hr/v1", "http"),
        (
            &[("host", "shop.example.com")],
            "shop.example.com/hr/v1",
            "https",
        ),
        (
            &[
                ("host", "10.0.0.5:8080"),
                ("referer", "http://10.0.0.5:8080/"),
            ],
            "10.0.0.5:8080/hr/v1",
            "http",
        ),
        (
            &[("host", "127.0.0.1"), ("x-forwarded-proto", "https")],
            "127.0.0.1/hr/v1",
            "https",
        ),
        (&[("host", "evil/path?")], "localhost/hr/v1", "http"),
    ] {
        let answer = get(&shop, "/v1/projects/key-1/settings", headers);
        assert_eq!(answer.status, 200);
        let settings: Value = serde_json::from_slice(&answer.body).unwrap();
        let expected = json!({
            "integrations": {"Segment.io": {
                "apiKey": "key-1", "apiHost": api_host, "protocol": protocol,
            }},
            "metrics": {"sampleRate": 0},
        });
        assert_eq!(settings, expected, "{headers:?}");
    }
}

#[test]
fn the_scripts_of_the_package_are_served_under_the_librarys_own_paths() {
    let package = package();
    for folder in [package.path().to_owned(), package.path().join("dist/umd")] {
        let shop = shop(Some(&folder));
        for (path, expected) in [
            ("/analytics.js/v1/shop-key/analytics.min.js", "main()"),
            ("/analytics-next/bundles/407.bundle.61ef.js", "chunk()"),
        ] {
            let answer = get(&shop, path, &[]);
            assert_eq!(answer.status, 200, "{path}");
            assert_eq!(body(&answer), expected, "{path}");
            assert_eq!(answer.headers["content-type"], JAVASCRIPT);
        }
        assert!(body(&get(&shop, "/", &[])).contains("data-library=\"analytics.js\""));
    }
}

#[test]
fn no_path_leads_out_of_the_folder() {
    let package = package();
    #[cfg(unix)]
    std::os::unix::fs::symlink(
        package.path().join("secret.js"),
        package.path().join("dist/umd/link.js"),
    )
    .unwrap();
    let shop = shop(Some(package.path()));
    for name in [
        "../../secret.js",
        "..%2f..%2fsecret.js",
        "%2e%2e/%2e%2e/secret.js",
        "..\\..\\secret.js",
        "./standalone.js",
        "//etc/passwd",
        "link.js",
        "standalone.js.map",
        "standalone.js%00.js",
        "",
        ".",
        "..",
    ] {
        for path in [
            format!("/analytics-next/bundles/{name}"),
            format!("/analytics.js/v1/key/{name}"),
        ] {
            let answer = get(&shop, &path, &[]);
            assert_eq!(answer.status, 404, "{path}");
            assert!(answer.body.is_empty(), "{path}");
        }
    }
    let absolute = package.path().join("secret.js");
    let path = format!("/analytics-next/bundles/{}", absolute.display());
    assert_eq!(get(&shop, &path, &[]).status, 404);
}

#[test]
fn without_the_package_the_page_falls_back_and_says_so() {
    let empty = tempfile::tempdir().unwrap();
    let missing = empty.path().join("nowhere");
    for (folder, reason) in [
        (None, "no folder with analytics.js was given"),
        (Some(empty.path()), "the folder holds no standalone.js"),
        (Some(missing.as_path()), "the folder holds no standalone.js"),
    ] {
        let shop = shop(folder);
        assert!(matches!(shop.library(), ShopLibrary::Absent(_)));
        let page = body(&get(&shop, "/", &[]));
        assert!(page.contains("data-library=\"fetch\""), "{folder:?}");
        assert!(page.contains(reason), "{folder:?}");
        let path = "/analytics.js/v1/shop-key/analytics.min.js";
        assert_eq!(get(&shop, path, &[]).status, 404);
    }
}

#[test]
fn the_page_is_whole_and_carries_its_settings() {
    let shop = shop_with(live(), None, "hr", "a\"<key>");
    let answer = get(&shop, "/", &[]);
    let page = body(&answer);
    assert!(!page.contains("{{"), "a placeholder was left over");
    assert!(page.contains("data-prefix=\"/hr/\""));
    assert!(page.contains("data-write-key=\"a&quot;&lt;key&gt;\""));
    // The page's policy forbids inline code, so the page must not contain any.
    assert!(!page.contains("<script>") && !page.contains("style=\"") && !page.contains("onclick"));
    for path in [
        "/shop.css",
        "/shelf.css",
        "/sides.css",
        "/shop.js",
        "/icon.svg",
    ] {
        assert!(page.contains(path), "{path}");
        assert_eq!(get(&shop, path, &[]).status, 200, "{path}");
    }
    for call in [
        "track", "identify", "page", "group", "alias", "screen", "reset",
    ] {
        assert!(page.contains(&format!("data-call=\"{call}\"")), "{call}");
    }
}

#[test]
fn the_page_is_fed_from_the_live_ring() {
    let live = live();
    let shop = shop_with(live.clone(), None, "/hr/", "key");
    for event in [&b"{\"event\":\"a\"}"[..], b"{\"event\":\"b\"}"] {
        live.message(
            MessageOrigin::default(),
            b"{}",
            MessageOutcome::Event(event),
            None,
        );
    }
    for (target, expected) in [
        ("/live", &[1, 2][..]),
        ("/live?after=1", &[2]),
        ("/live?after=2", &[]),
        ("/live?after=x", &[1, 2]),
    ] {
        let answer = get(&shop, target, &[]);
        let answer: Value = serde_json::from_slice(&answer.body).unwrap();
        let numbers: Vec<_> = answer["entries"]
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| &entry["number"])
            .collect();
        assert_eq!(numbers, expected, "{target}");
        assert_eq!(answer["latest"], 2);
    }
}

#[test]
fn only_reading_is_allowed() {
    let shop = shop(None);
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        assert_eq!(shop.handle(&Request::new(method, "/")).status, 405);
    }
    assert_eq!(shop.handle(&Request::new(Method::HEAD, "/")).status, 200);
}

#[test]
fn the_switch_takes_posthog_away_and_brings_it_back() {
    let shop = shop(None);
    let turn = |word: &'static str| {
        let mut request = Request::new(Method::POST, "/demo/posthog");
        request.body = bytes::Bytes::from_static(word.as_bytes());
        let answer = shop.handle(&request);
        let away: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        (answer.status.as_u16(), away["away"].as_bool())
    };
    assert_eq!(turn("away"), (200, Some(true)));
    let away = InjectedFault::Status(StatusCode::SERVICE_UNAVAILABLE, None);
    assert_eq!(shop.capture.fault(), away);
    assert_eq!(turn("else"), (400, None));
    assert_eq!(turn("back"), (200, Some(false)));
    let answer: Value = serde_json::from_slice(&get(&shop, "/demo/posthog", &[]).body).unwrap();
    assert_eq!(answer, json!({"has": 0, "away": false}));
}
