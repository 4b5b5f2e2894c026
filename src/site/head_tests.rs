use super::*;
use http::HeaderValue;

#[test]
fn a_path_that_the_server_behind_would_resolve_is_found_however_it_is_written() {
    let found = [
        "/..",
        "/.",
        "/a/..",
        "/a/../b",
        "/../a",
        "/a/./b",
        "/a/.",
        "/%2e%2e/a",
        "/.%2e/a",
        "/%2E./a",
        "/a/..%2fb",
        "/a/..%2Fb",
        "/a%2f..%2fb",
        "/a/..\\b",
        "/a\\..\\b",
        "/a/%2e%2e%5cb",
        "/..;/a",
        "/..;x=1/a",
        "/.;/a",
        "/a/%2e",
        "/a/%2e/b",
        "//../a",
        "/a/..%5C",
        "/a/..%00",
        "/a%00.html",
        "/a/%u002e%u002e/b",
        "/a/..%u002fb",
        "/a/%c0%ae%c0%ae/b",
        "/a/..%c0%afb",
        "/a/..%C1%9Cb",
        "/a/%e0%80%ae%e0%80%ae/b",
        "/a/%f0%80%80%ae%f0%80%80%ae/b",
        "/a/..%e0%80%af..",
        "/a/%c0%2e%c0%2e/b",
        // A server that reads only valid UTF-8 reads the bytes after `%c1` and `%c0` separately.
        "/a/%c1/../b",
        "/a/%c0/%2e%2e/b",
        "/a%c1%2f..%2fb",
        "/a/%uff0e%uff0e/b",
        "/a/%ef%bc%8e%ef%bc%8e/b",
        "/a/..%ef%bc%8fb",
        "/a/..%u2215b",
        "/a/..%20/b",
        "/a/..%0a/b",
        "/a/..%0d%0a/b",
        "/a/..%09",
        "/a/.%20/b",
        "/a/..%7f;x/b",
        "/a%c0%80",
    ];
    let innocent = [
        "/",
        "/a",
        "/a/",
        "/...",
        "/a...",
        "/..a",
        "/a..",
        "/.well-known/x",
        "/a/.b/c",
        "/a.b/c.d",
        "/%252e%252e/",
        "/a/..b",
        "/a/...../b",
        "/a;b/c",
        "/%2ehtaccess",
        "/a%",
        "/a%2",
        "//",
        "/a//b",
        "/.%20x/",
        "/..%20.",
        "/%e2%80%a6/%ef%bc%81",
        "/\u{c0}/\u{ff0e}a",
        "/%c0/%C3%80/%u00e9/%u/%u00",
        "/%+1%2",
    ];
    let mut wrong = Vec::new();
    for path in found {
        if !has_dot_segment(path.as_bytes()) {
            wrong.push(format!("{path} was not found"));
        }
    }
    for path in innocent {
        if has_dot_segment(path.as_bytes()) {
            wrong.push(format!("{path} was refused"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// An earlier version read the whole rest of the path at each escape, which is hundreds of billions of bytes
/// here. `scripts/costs` shows the cost of such a request.
#[test]
fn a_path_of_escapes_is_read_once() {
    let path = "/%61é".repeat(150_000);
    let expected = "/aé".repeat(150_000);
    assert_eq!(normal(&path), Some(expected));
    assert!(!has_dot_segment(path.as_bytes()));
    assert_eq!(normal(&"/".repeat(1_000_000)), Some("/".to_owned()));
}

#[test]
fn a_path_has_one_normal_form() {
    for (path, expected) in [
        ("/a/b", None),
        ("/a%20b", None),
        ("/caf%C3%A9/%2", None),
        ("/%61dmin", Some("/admin")),
        ("/%2e%7E%5F%2d", Some("/.~_-")),
        ("//a///b", Some("/a/b")),
        ("/a%2F/b", Some("/a/b")),
        ("/%2561", None),
        ("/\u{e9}//x", Some("/\u{e9}/x")),
    ] {
        assert_eq!(normal(path).as_deref(), expected, "{path}");
    }
}

fn check(method: &str, target: &str, version: Version, fields: &[(&str, &str)]) -> u16 {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        let name: http::HeaderName = name.parse().unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    let head = RequestHead {
        method: &method.parse().unwrap(),
        target: target.as_bytes(),
        authority: None,
        version,
        headers: &headers,
    };
    head.check()
        .map_or_else(|fault| fault.status().as_u16(), |()| 200)
}

#[test]
fn each_kind_of_head_gets_the_status_that_the_rfc_names() {
    const OLD: Version = Version::HTTP_10;
    const NEW: Version = Version::HTTP_11;
    const HOST: (&str, &str) = ("host", "shop.example.com");
    type HeadCase = (
        u16,
        &'static str,
        &'static str,
        Version,
        &'static [(&'static str, &'static str)],
    );
    let cases: &[HeadCase] = &[
        (200, "GET", "/", NEW, &[HOST]),
        (200, "GET", "/a?next=/../b", NEW, &[HOST]),
        (200, "GET", "http://shop.example.com/a", NEW, &[HOST]),
        (200, "GET", "HTTP://shop.example.com", OLD, &[]),
        (200, "GET", "/", OLD, &[]),
        (200, "OPTIONS", "*", NEW, &[HOST]),
        (
            200,
            "POST",
            "/",
            NEW,
            &[HOST, ("transfer-encoding", "Chunked")],
        ),
        (400, "GET", "*", NEW, &[HOST]),
        (400, "GET", "", NEW, &[HOST]),
        (400, "GET", " /a", NEW, &[HOST]),
        (400, "GET", "a", NEW, &[HOST]),
        (400, "GET", "ftp://shop.example.com/", NEW, &[HOST]),
        (400, "GET", "/a#/../b", NEW, &[HOST]),
        (400, "GET", "http://shop.example.com/../b", NEW, &[HOST]),
        (400, "GET", "/", NEW, &[]),
        (400, "GET", "http://shop.example.com/a", NEW, &[]),
        (400, "GET", "/", NEW, &[("host", "")]),
        (400, "GET", "/", NEW, &[("host", "shop example.com")]),
        (400, "GET", "/", NEW, &[("host", "a.example, b.example")]),
        (400, "GET", "/", NEW, &[("host", "shop.example.com/path")]),
        (400, "GET", "/", NEW, &[("host", "shop.example.com:80:80")]),
        (400, "GET", "/", NEW, &[("host", "shop.example.com:http")]),
        (400, "GET", "/", NEW, &[("host", "[::1")]),
        (200, "GET", "/", NEW, &[("host", "[::1]:8080")]),
        (200, "GET", "/", NEW, &[("host", "127.0.0.1:8080")]),
        (200, "GET", "/", NEW, &[("host", "shop.example.com:")]),
        (405, "TRACE", "/", NEW, &[HOST]),
        (
            501,
            "POST",
            "/",
            NEW,
            &[HOST, ("transfer-encoding", "gzip, chunked")],
        ),
        (
            501,
            "POST",
            "/",
            NEW,
            &[
                HOST,
                ("transfer-encoding", "gzip"),
                ("transfer-encoding", "chunked"),
            ],
        ),
    ];
    let mut wrong = Vec::new();
    for (expected, method, target, version, fields) in cases {
        let status = check(method, target, *version, fields);
        if status != *expected {
            wrong.push(format!(
                "{method} {target} {fields:?}: {status}, not {expected}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn an_ordinary_path_has_no_dot_segment() {
    const SIGNS: &[u8] = b"/.%2e\\; a\xc0\0";
    let mut paths = vec![Vec::new()];
    for _ in 0..5 {
        let longer = paths.iter().flat_map(|path: &Vec<u8>| {
            SIGNS
                .iter()
                .map(move |character| [path.as_slice(), &[*character]].concat())
        });
        paths = longer.collect();
        for path in paths.iter().filter(|path| is_ordinary(path)) {
            for continuation in [Continuation::Utf8, Continuation::Any] {
                assert!(!reads_dot_segment(path, continuation), "{path:?}");
            }
        }
    }
}
