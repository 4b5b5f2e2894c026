//! Redirects to HTTPS for requests to a site that arrive without TLS.

use http::Method;
use pingora::proxy::Session;

use crate::proxy::active_config::ActiveConfig;
use crate::proxy::request::exchange::authority;
use crate::proxy::request::visitor::Caller;
use crate::rewrite::enrich::edge_session::Transport;

use super::challenges::CHALLENGE;
use super::health::arrived_at;

/// Returns the status and the new address if the request must be redirected.
///
/// Call this only for a site's pages and files: a Segment client that is redirected loses its
/// events.
pub(super) fn redirect_target(
    active: &ActiveConfig,
    session: &Session,
    caller: &Caller,
) -> Option<(u16, String)> {
    let mut listeners = active.config.listen.iter();
    let redirect = listeners.find_map(|listener| {
        let redirect = listener.redirect?;
        arrived_at(session, listener).then_some(redirect)
    })?;
    let head = session.req_header();
    let path = head.uri.path();
    if caller.transport == Transport::Tls || path.starts_with(CHALLENGE) {
        return None;
    }
    let host = without_port(authority(head)?);
    let port = match redirect.port {
        443 => String::new(),
        port => format!(":{port}"),
    };
    let query = head.uri.query().map(|query| format!("?{query}"));
    let query = query.unwrap_or_default();
    let status = match head.method {
        Method::GET | Method::HEAD => 301,
        // A client keeps the method and the body on a 308.
        _ => 308,
    };
    let path = if path.is_empty() { "/" } else { path };
    Some((status, format!("https://{host}{port}{path}{query}")))
}

fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_cut_off_and_an_address_is_not() {
        for (authority, host) in [
            ("shop.example", "shop.example"),
            ("shop.example:8080", "shop.example"),
            ("[::1]:80", "[::1]"),
            ("[::1]", "[::1]"),
            ("shop.example:", "shop.example"),
        ] {
            assert_eq!(without_port(authority), host);
        }
    }
}
