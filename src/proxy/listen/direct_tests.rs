use super::*;

fn read(head: &str, body: &str) -> Option<DirectCall> {
    passing(PassedFields::All, head, body)
}

fn passing(fields: PassedFields, head: &str, body: &str) -> Option<DirectCall> {
    let bytes = Bytes::from(format!("{head}\r\n\r\n{body}"));
    let (call, ()) = DirectCall::read(&bytes, |_, _| Some(((), fields)))?;
    Some(call)
}

#[test]
fn only_heads_that_can_be_read_in_one_way_are_taken() {
    let mut mismatches = 0;
    for (head, taken) in [
        (
            "POST /hr/v1/t HTTP/1.1\r\nHost: a\r\nContent-Length: 2",
            true,
        ),
        (
            "POST /hr/v1/t?a=b HTTP/1.1\r\nhost: a:80\r\ncontent-length: 2",
            true,
        ),
        (
            "POST /hr HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive\r\nContent-Length: 2",
            true,
        ),
        ("PUT /hr HTTP/1.1\r\nHost: a\r\nContent-Length: 2", false),
        ("POST  /hr HTTP/1.1\r\nHost: a\r\nContent-Length: 2", false),
        ("POST /hr  HTTP/1.1\r\nHost: a\r\nContent-Length: 2", false),
        ("POST /hr HTTP/1.1 \r\nHost: a\r\nContent-Length: 2", false),
        ("POST /h r HTTP/1.1\r\nHost: a\r\nContent-Length: 2", false),
        ("POST /h\tr HTTP/1.1\r\nHost: a\r\nContent-Length: 2", false),
        (
            "POST /h\u{7f}r HTTP/1.1\r\nHost: a\r\nContent-Length: 2",
            false,
        ),
        ("POST /hr HTTP/1.0\r\nHost: a\r\nContent-Length: 2", false),
        (
            "POST http://a/hr HTTP/1.1\r\nHost: a\r\nContent-Length: 2",
            false,
        ),
        ("POST * HTTP/1.1\r\nHost: a\r\nContent-Length: 2", false),
        (
            "POST /a/../hr HTTP/1.1\r\nHost: a\r\nContent-Length: 2",
            false,
        ),
        (
            "POST /a/%2e%2e/hr HTTP/1.1\r\nHost: a\r\nContent-Length: 2",
            false,
        ),
        ("POST /hr#x HTTP/1.1\r\nHost: a\r\nContent-Length: 2", false),
        ("POST /hr HTTP/1.1\r\nContent-Length: 2", false),
        ("POST /hr HTTP/1.1\r\nHost: a/b\r\nContent-Length: 2", false),
        (
            "POST /hr HTTP/1.1\r\nHost: a\r\nHost: a\r\nContent-Length: 2",
            false,
        ),
        ("POST /hr HTTP/1.1\r\nHost: a", false),
        (
            "POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 2",
            false,
        ),
        (
            "POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length: 2, 2",
            false,
        ),
        ("POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length: +2", false),
        ("POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length: 0x2", false),
        ("POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length: ", false),
        (
            "POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999",
            false,
        ),
        // There are bytes after the body: the framework handles those.
        ("POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length: 1", false),
        (
            "POST /hr HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked",
            false,
        ),
        (
            "POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nTransfer-Encoding: chunked",
            false,
        ),
        (
            "POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue",
            false,
        ),
        (
            "POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nUpgrade: h2c",
            false,
        ),
        (
            "POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: close",
            false,
        ),
        (
            "POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nConnection: x-own",
            false,
        ),
        ("POST /hr HTTP/1.1\r\nHost: a\r\nContent-Length : 2", false),
        (
            "POST /hr HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\nContent-Length: 2",
            false,
        ),
    ] {
        if read(head, "{}").is_some() != taken {
            eprintln!("{head:?}: expected {taken}");
            mismatches += 1;
        }
    }
    assert_eq!(mismatches, 0);
}

#[test]
fn the_parsed_head_matches_its_text() {
    let call = read(
        "POST /hr/v1/t?writeKey=a HTTP/1.1\r\nHost: shop.example\r\nX-One: 1\r\n\
         content-length: 10\r\nx-one: 2",
        "{\"a\"",
    );
    let call = call.unwrap();
    assert_eq!(call.parts.uri.path(), "/hr/v1/t");
    assert_eq!(call.parts.uri.query(), Some("writeKey=a"));
    assert_eq!(call.parts.headers.get("host").unwrap(), "shop.example");
    let values: Vec<&[u8]> = call
        .parts
        .headers
        .get_all("x-one")
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    assert_eq!(values, [b"1", b"2"]);
    assert_eq!((call.length, call.arrived.as_ref()), (10, &b"{\"a\""[..]));
}

#[test]
fn the_host_and_the_path_choose_whether_a_call_is_taken() {
    let bytes = "POST /hr/v1/t?a HTTP/1.1\r\nHost: shop.example:80\r\nContent-Length: 2\r\n\r\n{}";
    let mut calls = Vec::new();
    let read = DirectCall::read(&Bytes::from(bytes), |host, path| -> Option<((), _)> {
        calls.push((host.map(str::to_owned), path.to_owned()));
        None
    });
    assert!(read.is_none());
    let expected = (Some("shop.example:80".to_owned()), "/hr/v1/t".to_owned());
    assert_eq!(calls, [expected]);
}

#[test]
fn fields_that_say_nothing_about_a_call_are_left_out_unless_segment_gets_the_call_too() {
    let used = [
        "host",
        "content-length",
        "authorization",
        "content-encoding",
        "cookie",
        "dnt",
        "origin",
        "sec-gpc",
        "traceparent",
        "user-agent",
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-own",
    ];
    let unused = [
        "Accept",
        "referer",
        "Sec-Fetch-Mode",
        "sec-ch-ua",
        "Content-Type",
    ];
    let mut head = "POST /hr HTTP/1.1".to_owned();
    for name in used.into_iter().chain(unused) {
        head += &format!("\r\n{name}: {}", if name == "host" { "a" } else { "2" });
    }
    let names = |fields| -> Vec<String> {
        let call = passing(fields, &head, "{}").unwrap();
        let mut names: Vec<String> = call
            .parts
            .headers
            .keys()
            .map(|name| name.to_string())
            .collect();
        names.sort();
        names
    };
    let mut expected = used.map(str::to_owned).to_vec();
    expected.sort();
    assert_eq!(names(PassedFields::Usual), expected);
    expected.extend(unused.map(str::to_ascii_lowercase));
    expected.sort();
    assert_eq!(names(PassedFields::All), expected);
}
