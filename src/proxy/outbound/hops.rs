//! Hop-by-hop headers: they describe one connection and not the message on it (RFC 9110, 7.6.1).

use http::header::{self, HeaderMap, HeaderName};
use pingora::http::ResponseHeader;

/// Headers that are always hop-by-hop, even if `Connection` does not name them.
const OWN: [HeaderName; 8] = [
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    header::PROXY_AUTHENTICATE,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Headers of an answer that the framework reads and writes itself.
const FRAMEWORKS: [HeaderName; 4] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Returns the headers that `Connection` names.
fn named(headers: &HeaderMap) -> Vec<HeaderName> {
    let values = headers.get_all(header::CONNECTION).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect()
}

/// Returns the headers that are passed on. `Content-Length` is not among them: the writer of the body sets
/// it.
pub(crate) fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    let named = named(headers);
    let kept = headers.iter().filter(|(name, _)| {
        **name != header::CONTENT_LENGTH && !OWN.contains(name) && !named.contains(name)
    });
    kept.map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

/// Removes the hop-by-hop headers of a server's answer, except those that the framework handles itself
/// (`FRAMEWORKS`).
pub(crate) fn drop_from(response: &mut ResponseHeader) {
    for name in OWN.into_iter().chain(named(&response.headers)) {
        if !FRAMEWORKS.contains(&name) {
            response.remove_header(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use http::HeaderValue;

    /// Received headers. The first `bool` states whether `end_to_end` passes the header on, the second
    /// whether `drop_from` leaves it in the answer.
    const CASES: [(&str, &str, bool, bool); 10] = [
        ("connection", "close, X-Own", false, true),
        ("x-own", "1", false, false),
        ("keep-alive", "timeout=5", false, false),
        ("proxy-connection", "close", false, false),
        ("trailer", "x-sum", false, false),
        ("transfer-encoding", "chunked", false, true),
        ("upgrade", "websocket", false, true),
        ("content-length", "3", false, true),
        ("content-type", "text/plain", true, true),
        ("x-other", "close", true, true),
    ];

    #[test]
    fn hop_by_hop_headers_are_removed() {
        let mut response = ResponseHeader::build(200, None).unwrap();
        for (name, value, ..) in CASES {
            response
                .append_header(name, HeaderValue::from_static(value))
                .unwrap();
        }
        let on = end_to_end(&response.headers);
        drop_from(&mut response);
        for (name, _, goes_on, stays) in CASES {
            assert_eq!(on.contains_key(name), goes_on, "{name}");
            assert_eq!(response.headers.contains_key(name), stays, "{name}");
        }
    }

    #[test]
    fn values_that_come_several_times_stay_several() {
        let mut headers = HeaderMap::new();
        headers.append("vary", HeaderValue::from_static("a"));
        headers.append("vary", HeaderValue::from_static("b"));
        assert_eq!(end_to_end(&headers), headers);
    }
}
