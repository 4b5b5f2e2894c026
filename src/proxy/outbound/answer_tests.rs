use super::*;

/// The result of an answer that arrives in these pieces: its head, its body, whether the connection
/// can be reused, and the remaining bytes.
type ReadOutcome = Result<(u16, Vec<u8>, bool, Vec<u8>), &'static str>;

fn read(pieces: &[&[u8]], closes: bool) -> ReadOutcome {
    let mut received = Vec::new();
    let mut pieces = pieces.iter();
    let mut parsed = loop {
        match parse(&received, WantedFields::Few).map_err(|_| "head")? {
            Some(parsed) => break parsed,
            None => received.extend_from_slice(pieces.next().ok_or("no head")?),
        }
    };
    received.drain(..parsed.length);
    let mut data = Vec::new();
    loop {
        match parsed.body.next(&received).map_err(|_| "body")? {
            NextBytes::Data(taken) => data.extend(received.drain(..taken)),
            NextBytes::Framing(taken) => drop(received.drain(..taken)),
            NextBytes::End => break,
            NextBytes::Starved => match pieces.next() {
                Some(piece) => received.extend_from_slice(piece),
                None if closes => {
                    parsed.body.closed().map_err(|_| "cut off")?;
                    break;
                }
                None => return Err("starved"),
            },
        }
    }
    let status = parsed.head.status.as_u16();
    pieces.for_each(|piece| received.extend_from_slice(piece));
    Ok((status, data, parsed.body.is_reusable(), received))
}

#[test]
fn an_answer_ends_where_its_head_says_for_every_cut() {
    let keeps = |body: &str| Ok((200, body.as_bytes().to_vec(), true, Vec::new()));
    let closes = |body: &str| Ok((200, body.as_bytes().to_vec(), false, Vec::new()));
    let cases: &[(&str, &str, ReadOutcome)] = &[
        ("length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", keeps("hello")),
        ("none", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n", keeps("")),
        ("twice the same", "HTTP/1.1 200\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nok", keeps("ok")),
        ("two lengths", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok", Err("head")),
        ("a signed length", "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", Err("head")),
        ("no number", "HTTP/1.1 200 OK\r\nContent-Length: \r\n\r\nok", Err("head")),
        ("close", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, Close\r\n\r\nok", closes("ok")),
        ("1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", closes("ok")),
        ("1.0 that stays", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nok", keeps("ok")),
        ("until it closes", "HTTP/1.1 200 OK\r\n\r\nall of it", closes("all of it")),
        ("chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;x=y\r\n!\r\n0\r\n\r\n", keeps("hello!")),
        ("trailers", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\nA: b\r\nC: d\r\n\r\n", keeps("ok")),
        ("not chunked at last", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, gzip\r\n\r\nxx", closes("xx")),
        ("both", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", closes("ok")),
        ("chunks in 1.0", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", closes("ok")),
        ("a chunk without its end", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokay\r\n0\r\n\r\n", Err("body")),
        ("no chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", Err("body")),
        ("cut", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", Err("cut off")),
        ("cut in chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", Err("cut off")),
        ("204", "HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n", Ok((204, Vec::new(), true, Vec::new()))),
        ("304", "HTTP/1.1 304 Not Modified\r\n\r\n", Ok((304, Vec::new(), true, Vec::new()))),
        ("one byte more", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!", Ok((200, b"ok".to_vec(), true, b"!".to_vec()))),
        ("no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", Err("head")),
    ];
    let mut wrong = Vec::new();
    for (name, wire, expected) in cases {
        let wire = wire.as_bytes();
        for cut in 0..wire.len() {
            let (one, two) = wire.split_at(cut);
            let got = read(&[one, two], true);
            if got != *expected {
                wrong.push(format!(
                    "{name}, cut at {cut}: {got:?} instead of {expected:?}"
                ));
            }
        }
        let single: Vec<&[u8]> = wire.chunks(1).collect();
        let got = read(&single, true);
        if got != *expected {
            wrong.push(format!(
                "{name}, byte by byte: {got:?} instead of {expected:?}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_fields_that_decide_the_verdict_are_read_from_the_head() {
    let wire =
        b"HTTP/1.1 503 Busy\r\nCONTENT-TYPE: Text/HTML; charset=utf-8\r\nretry-after:  7 \r\n\
        Retry-After: 9\r\nX-A: b\r\nContent-Length: 0\r\n\r\n";
    let head = parse(wire, WantedFields::All).unwrap().unwrap().head;
    assert_eq!(
        (head.status.as_u16(), head.html, head.retry_after),
        (503, true, Some(7))
    );
    assert_eq!(head.fields.get("x-a").unwrap(), "b");
    assert_eq!(head.fields.get_all("retry-after").iter().count(), 2);
    let few = parse(wire, WantedFields::Few).unwrap().unwrap().head;
    assert!(few.fields.is_empty() && few.html);
    let date = b"HTTP/1.1 503 Busy\r\nRetry-After: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n";
    assert_eq!(
        parse(date, WantedFields::Few)
            .unwrap()
            .unwrap()
            .head
            .retry_after,
        Some(0)
    );
}

#[test]
fn a_head_and_trailers_have_bounds() {
    let long = format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(LONGEST));
    assert_eq!(parse(long.as_bytes(), WantedFields::Few), Err(NotHttp));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(FIELDS + 1));
    assert_eq!(parse(many.as_bytes(), WantedFields::Few), Err(NotHttp));
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n";
    let trailers = format!("{chunked}{}\r\n", "X: y\r\n".repeat(LONGEST / 6 + 1));
    assert_eq!(read(&[trailers.as_bytes()], false), Err("body"));
    let endless = format!(
        "{}{}",
        chunked.trim_end_matches("0\r\n"),
        "0".repeat(LONGEST_CHUNK_LINE)
    );
    assert_eq!(read(&[endless.as_bytes()], false), Err("body"));
}
