//! The requirements of the HTTP standards for a proxy that the framework does not fulfil.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Method, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use super::answers;
use crate::proxy::outbound::hops;
use crate::proxy::reply;

/// The framing fields. An interim answer and a 204 must not have them.
const FRAMING: [HeaderName; 2] = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];

/// Whether the request is an `OPTIONS` about the whole server: its target is `*`, or an absolute
/// URL without a path (RFC 9112, 3.2.4).
pub(super) fn is_about_the_server(request: &RequestHeader) -> bool {
    let whole = match request.raw_path() {
        b"*" => true,
        target => match crate::site::head::split_target(target) {
            Some((Some(_), path)) => path.is_empty(),
            _ => false,
        },
    };
    whole && request.method == Method::OPTIONS
}

/// Answers with the methods that the server supports (RFC 9110, 9.3.7).
pub(super) async fn answer_about_the_server(session: &mut Session) -> Result<()> {
    let mut answer = http::Response::new(bytes::Bytes::new());
    let headers = answer.headers_mut();
    headers.insert(header::ALLOW, HeaderValue::from_static(answers::METHODS));
    reply::write(session, answer).await
}

/// Applies the request's `Connection` header and version to its connection.
pub(super) fn apply_connection_header(session: &mut Session) {
    let request = session.req_header();
    // The framework reads only the first header line of that name.
    let closes = has_token(&request.headers, header::CONNECTION, b"close");
    let old = request.version <= Version::HTTP_10;
    if closes {
        session.set_keepalive(None);
    }
    if old {
        // An HTTP/1.0 client would read a 103 as the final answer (RFC 9110, 15.2).
        session.set_ignore_info_resp(true);
    }
}

/// Removes `Expect` from an HTTP/1.0 request: its client does not wait for a `100 Continue`, and
/// would read it as the final answer (RFC 9110, 10.1.1).
pub(super) fn expect_as_its_version_does(session: &Session, request: &mut RequestHeader) {
    if session.req_header().version <= Version::HTTP_10 {
        request.remove_header(&header::EXPECT);
    }
}

/// How a client learns where an answer of unknown length ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AnswerEnd {
    /// By chunks, or by the frames of HTTP/2.
    Chunks,
    /// By the end of its connection; or the answer has no body.
    Close,
}

/// Returns how the client of this request learns where the answer ends.
pub(super) fn answer_end(request: &RequestHeader, status: StatusCode) -> AnswerEnd {
    let bodiless = request.method == Method::HEAD || !reply::has_body(status);
    match bodiless || request.version <= Version::HTTP_10 {
        true => AnswerEnd::Close,
        false => AnswerEnd::Chunks,
    }
}

/// The most interim answers to one request. Servers usually send one or two.
const INTERIM: u32 = 32;

/// Counts an answer if it is an interim one.
///
/// # Errors
///
/// When the server sends more than `INTERIM` of them: no timeout or size limits them otherwise.
pub(super) fn count_interim(count: &mut u32, status: StatusCode) -> Result<()> {
    if status.is_informational() {
        *count += 1;
    }
    if *count > INTERIM {
        let why = "it sent interim answers without an end";
        return Err(Error::new(ErrorType::Custom(why)).into_up());
    }
    Ok(())
}

/// Changes the head of a server's answer so that it can be passed on.
///
/// # Errors
///
/// When its body has a transfer coding that was not requested and cannot be removed here (RFC 9112,
/// 6.1).
pub(super) fn make_conformant(response: &mut ResponseHeader, answer_end: AnswerEnd) -> Result<()> {
    let codings = tokens(&response.headers, header::TRANSFER_ENCODING);
    if codings.iter().any(|coding| !is(coding, b"chunked")) {
        if !codings.iter().all(|coding| is(coding, b"identity")) {
            let why = "it used a transfer coding that was not requested";
            return Err(Error::new(ErrorType::Custom(why)).into_up());
        }
        response.remove_header(&header::TRANSFER_ENCODING);
        if answer_end == AnswerEnd::Chunks && !response.headers.contains_key(header::CONTENT_LENGTH)
        {
            // The body ends with the server's connection, but the client's stays open.
            response.insert_header(header::TRANSFER_ENCODING, "chunked")?;
        }
    }
    // The version is that of this connection (RFC 9110, 2.5).
    if response.version < Version::HTTP_11 {
        response.set_version(Version::HTTP_11);
    }
    let status = response.status;
    let is_interim = status.is_informational() && status != StatusCode::SWITCHING_PROTOCOLS;
    if is_interim || status == StatusCode::NO_CONTENT {
        for name in FRAMING {
            response.remove_header(&name);
        }
    }
    if is_interim {
        // The framework removes these fields only from the final answer.
        hops::drop_from(response);
        response.remove_header(&header::CONNECTION);
    }
    let upgrades = [
        StatusCode::SWITCHING_PROTOCOLS,
        StatusCode::UPGRADE_REQUIRED,
    ];
    if !upgrades.contains(&status) {
        // The server offers these protocols to this proxy, not to the client (RFC 9110, 7.8).
        response.remove_header(&header::UPGRADE);
    }
    if let Some(length) = one_length(&response.headers) {
        response.insert_header(header::CONTENT_LENGTH, length)?;
    }
    Ok(())
}

/// Returns the single length if `Content-Length` states the same one several times; otherwise
/// `None`. The framework has checked that they are equal. The next reader may reject two of them as
/// an attack, or use another one than this proxy did (RFC 9110, 8.6).
pub(super) fn one_length(headers: &HeaderMap) -> Option<String> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let first = lengths.next()?.to_str().ok()?;
    let one = first.split(',').next().unwrap_or_default().trim();
    (lengths.next().is_some() || one != first).then(|| one.to_owned())
}

/// Whether the list in a header contains this word, in any case.
fn has_token(headers: &HeaderMap, name: HeaderName, word: &[u8]) -> bool {
    tokens(headers, name).iter().any(|token| is(token, word))
}

fn is(token: &[u8], word: &[u8]) -> bool {
    token.eq_ignore_ascii_case(word)
}

/// The words of a list that may be spread over several lines (RFC 9110, 5.6.1).
fn tokens(headers: &HeaderMap, name: HeaderName) -> Vec<&[u8]> {
    let lines = headers.get_all(name).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
        .filter(|token| !token.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, fields: &[(&'static str, &'static str)]) -> ResponseHeader {
        let mut response = ResponseHeader::build(status, None).unwrap();
        for (name, value) in fields {
            response.append_header(*name, *value).unwrap();
        }
        response
    }

    #[test]
    fn an_answer_says_no_length_where_it_has_no_body_and_one_where_it_says_two() {
        let length = ("content-length", "2");
        let chunked = ("transfer-encoding", "chunked");
        let named = ("connection", "x-own");
        for (status, fields, left) in [
            (200, vec![length, length], vec!["content-length: 2"]),
            (
                200,
                vec![("content-length", "2, 2")],
                vec!["content-length: 2"],
            ),
            (200, vec![chunked], vec!["transfer-encoding: chunked"]),
            (
                200,
                vec![("transfer-encoding", "identity"), length],
                vec!["content-length: 2"],
            ),
            (204, vec![length], vec![]),
            (204, vec![chunked], vec![]),
            (
                103,
                vec![named, chunked, ("x-own", "1"), ("link", "<a>")],
                vec!["link: <a>"],
            ),
            (304, vec![length], vec!["content-length: 2"]),
        ] {
            let mut response = response(status, &fields);
            make_conformant(&mut response, AnswerEnd::Close).unwrap();
            let found: Vec<String> = response
                .headers
                .iter()
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            assert_eq!(found, left, "{status} {fields:?}");
        }
    }

    #[test]
    fn an_answer_that_is_coded_unasked_is_none() {
        for coding in [
            "gzip, chunked",
            "gzip",
            "identity, chunked",
            "chunked, gzip",
        ] {
            let mut response = response(200, &[("transfer-encoding", coding)]);
            assert!(
                make_conformant(&mut response, AnswerEnd::Chunks).is_err(),
                "{coding}"
            );
        }
    }
}
