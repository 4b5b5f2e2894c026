use super::*;

fn read(head: &str, body: &str) -> Option<DirectCall> {
    DirectCall::read(&Bytes::from(format!("{head}\r\n\r\n{body}")))
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
    assert_eq!(call.host(), Some("shop.example"));
    let values: Vec<&[u8]> = call
        .parts
        .headers
        .get_all("x-one")
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    assert_eq!(values, [b"1", b"2"]);
    assert_eq!((call.length, call.came.as_ref()), (10, &b"{\"a\""[..]));
}
