use super::*;

use tokio::io::{AsyncReadExt, DuplexStream};

use pingora::http::RequestHeader;

use super::super::request::Template;

const TIMEOUT: Duration = Duration::from_secs(5);

fn pair(room: usize) -> (Http1, DuplexStream) {
    let (ours, theirs) = tokio::io::duplex(room);
    let mut session = Http1::new(Box::new(ours));
    session.begin(TIMEOUT);
    (session, theirs)
}

fn template() -> Template {
    let header = RequestHeader::build("POST", b"/batch/", None).unwrap();
    Template::new(header).unwrap()
}

/// The bytes that arrive at the peer of a stream with this much buffer, until the writer stops.
async fn arrives(room: usize, length: Length, pieces: &[&[u8]]) -> Vec<u8> {
    let (mut session, mut theirs) = pair(room);
    let template = template();
    let reading = tokio::spawn(async move {
        let mut arrived = Vec::new();
        theirs.read_to_end(&mut arrived).await.unwrap();
        arrived
    });
    let request = UpstreamRequest {
        template: &template,
        fields: &[],
    };
    session.send(&request, length).await.unwrap();
    let (last, before) = pieces.split_last().unwrap();
    for piece in before {
        session.piece(piece).await.unwrap();
    }
    match length {
        Length::Unknown => session.last_piece(last).await.unwrap(),
        _ => session.piece(last).await.unwrap(),
    }
    drop(session);
    reading.await.unwrap()
}

#[tokio::test]
async fn head_and_body_arrive_whole_through_a_stream_of_any_width() {
    let large = vec![b'x'; COPIED * 2 + 5];
    for room in [1, 7, 1000, 1 << 20] {
        for body in [&b"{}"[..], &large[..COPIED - 100], &large] {
            let arrived = arrives(room, Length::Bytes(body.len()), &[body]).await;
            let length = body.len();
            let head = format!("POST /batch/ HTTP/1.1\r\nContent-Length: {length}\r\n\r\n");
            assert!(
                arrived == [head.as_bytes(), body].concat(),
                "{room} {length}"
            );
        }
        let head = b"POST /batch/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let chunk =
            |piece: &[u8]| [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
        let end = b"0\r\n\r\n".to_vec();
        for (pieces, expected) in [
            (
                vec![&b"one"[..], b"", &large, b"two"],
                vec![chunk(b"one"), chunk(&large), chunk(b"two"), end.clone()],
            ),
            (vec![&b"one"[..], b""], vec![chunk(b"one"), end.clone()]),
            (vec![&b""[..]], vec![end.clone()]),
        ] {
            let arrived = arrives(room, Length::Unknown, &pieces).await;
            assert!(
                arrived == [head.to_vec(), expected.concat()].concat(),
                "{room}"
            );
        }
    }
}

#[tokio::test]
async fn the_head_leaves_with_the_body_and_nothing_leaves_before() {
    let (mut session, mut theirs) = pair(1 << 20);
    let template = template();
    let request = UpstreamRequest {
        template: &template,
        fields: &[],
    };
    session.send(&request, Length::Bytes(2)).await.unwrap();
    let mut bytes = [0; 1000];
    let nothing = tokio::time::timeout(Duration::from_millis(20), theirs.read(&mut bytes)).await;
    assert!(nothing.is_err());
    session.piece(b"{}").await.unwrap();
    let read = theirs.read(&mut bytes).await.unwrap();
    assert!(bytes[..read].ends_with(b"\r\n\r\n{}"));
}

#[tokio::test]
async fn a_connection_is_used_again_only_after_a_whole_exchange_in_order() {
    let answers: [(&str, bool); 5] = [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
            true,
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokay", false),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok",
            false,
        ),
        ("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false),
    ];
    let template = template();
    for (answer, reusable) in answers {
        let (mut session, mut theirs) = pair(1 << 20);
        let request = UpstreamRequest {
            template: &template,
            fields: &[],
        };
        session.send(&request, Length::Bytes(2)).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut theirs, answer.as_bytes())
            .await
            .unwrap();
        session.read_head(WantedFields::Few).await.unwrap();
        let mut body = Vec::new();
        let end = session.read_body(&mut body, 1, 10).await.unwrap();
        assert_eq!(
            (end, body.as_slice()),
            (BodyEnd::Whole, &b"o"[..]),
            "{answer}"
        );
        assert!(
            !session.is_reusable(),
            "its request is not through: {answer}"
        );
        session.piece(b"{}").await.unwrap();
        assert_eq!(session.is_reusable(), reusable, "{answer}");
    }
}

#[tokio::test]
async fn a_body_beyond_its_limit_is_not_read_and_a_cut_one_is_an_error() {
    for (answer, limit, expected) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nokay",
            3,
            Ok(BodyEnd::TooLarge),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nokay",
            4,
            Ok(BodyEnd::Whole),
        ),
        ("HTTP/1.1 200 OK\r\n\r\nokay", 4, Ok(BodyEnd::Whole)),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nokay",
            9,
            Err(ExchangeFailure::Closed),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nokay",
            9,
            Err(ExchangeFailure::Closed),
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nokay",
            9,
            Err(ExchangeFailure::NotHttp),
        ),
    ] {
        let (mut session, mut theirs) = pair(1 << 20);
        tokio::io::AsyncWriteExt::write_all(&mut theirs, answer.as_bytes())
            .await
            .unwrap();
        drop(theirs);
        session.read_head(WantedFields::Few).await.unwrap();
        let end = session.read_body(&mut Vec::new(), 10, limit).await;
        assert_eq!(
            end.map_err(|broken| broken.failure),
            expected,
            "{answer} {limit}"
        );
        assert!(!session.is_reusable(), "{answer}");
    }
}

#[tokio::test]
async fn a_head_whose_read_is_cancelled_is_not_lost() {
    let (mut session, mut theirs) = pair(1 << 20);
    for part in [
        "HTTP/1.1 503 Bu",
        "sy\r\nRetry-After: 7\r\nContent-",
        "Length: 0\r\n\r\n",
    ] {
        let soon = Duration::from_millis(5);
        let given_up = tokio::time::timeout(soon, session.read_head(WantedFields::Few)).await;
        assert!(given_up.is_err());
        tokio::io::AsyncWriteExt::write_all(&mut theirs, part.as_bytes())
            .await
            .unwrap();
    }
    session.read_head(WantedFields::Few).await.unwrap();
    assert_eq!(session.head().unwrap().retry_after, Some(7));
}

#[tokio::test]
async fn a_connection_that_was_closed_or_spoke_unasked_is_stale() {
    let (mut session, theirs) = pair(100);
    assert!(!session.is_stale());
    drop(theirs);
    assert!(session.is_stale());
    let (mut session, mut theirs) = pair(100);
    tokio::io::AsyncWriteExt::write_all(&mut theirs, b"HTTP/1.1 408 \r\n")
        .await
        .unwrap();
    assert!(session.is_stale());
}

#[tokio::test]
async fn silence_is_late_and_not_a_closed_connection() {
    let (mut session, _theirs) = pair(100);
    session.begin(Duration::from_millis(20));
    let late = session.read_head(WantedFields::Few).await;
    assert_eq!(
        late.map_err(|broken| broken.failure),
        Err(ExchangeFailure::Late)
    );
}

/// It used to have as much time for each of its bytes.
#[tokio::test]
async fn a_head_that_drips_is_late_as_a_whole() {
    let (mut session, mut theirs) = pair(1 << 20);
    session.begin(Duration::from_millis(100));
    let dripping = tokio::spawn(async move {
        let mut next: &[u8] = b"HTTP/1.1 200 OK\r\nX-A: ";
        while tokio::io::AsyncWriteExt::write_all(&mut theirs, next)
            .await
            .is_ok()
        {
            next = b"a";
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let late = session.read_head(WantedFields::Few).await;
    assert_eq!(
        late.map_err(|broken| broken.failure),
        Err(ExchangeFailure::Late)
    );
    dripping.abort();
}
