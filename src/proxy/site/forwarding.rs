//! Who asks, as a site behind its proxy is told.

use std::net::IpAddr;

use http::{header, HeaderName, HeaderValue};
use pingora::http::RequestHeader;
use pingora::proxy::Session;
use pingora::Result;

use crate::proxy::client;
use crate::proxy::intercept::authority;

use super::Site;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(in crate::proxy) const X_FORWARDED_HOST: HeaderName =
    HeaderName::from_static("x-forwarded-host");
pub(in crate::proxy) const X_FORWARDED_PROTO: HeaderName =
    HeaderName::from_static("x-forwarded-proto");

/// What a client could claim about itself in front of a site that believes its proxy.
const CLAIMS: [HeaderName; 4] = [
    X_FORWARDED_HOST,
    X_FORWARDED_PROTO,
    HeaderName::from_static("x-real-ip"),
    header::FORWARDED,
];

impl Site {
    /// Says in a request who sent it, to which host and how, and takes out what the client said of
    /// itself, unless it is a proxy that is believed.
    pub(super) fn say_who_asks(
        &self,
        session: &Session,
        request: &mut RequestHeader,
    ) -> Result<()> {
        let peer = self.peer(session);
        let trusted = peer.is_some_and(|(_, trusted)| trusted);
        if !trusted {
            for claim in &CLAIMS {
                request.remove_header(claim);
            }
        }
        if let Some((address, _)) = peer {
            let before = trusted
                .then(|| {
                    let values = request.headers.get_all(X_FORWARDED_FOR).iter();
                    let texts = values.filter_map(|value| value.to_str().ok());
                    texts.collect::<Vec<_>>().join(", ")
                })
                .filter(|list| !list.is_empty());
            let list = match before {
                Some(list) => format!("{list}, {address}"),
                None => address.to_string(),
            };
            request.insert_header(X_FORWARDED_FOR, list)?;
        }
        let tls = session
            .digest()
            .is_some_and(|digest| digest.ssl_digest.is_some());
        let scheme = HeaderValue::from_static(if tls { "https" } else { "http" });
        insert_if_missing(request, X_FORWARDED_PROTO, scheme)?;
        let host =
            authority(session.req_header()).and_then(|host| HeaderValue::from_str(host).ok());
        if let Some(host) = host {
            insert_if_missing(request, X_FORWARDED_HOST, host)?;
        }
        Ok(())
    }

    /// The peer's address, and whether its headers are believed.
    fn peer(&self, session: &Session) -> Option<(IpAddr, bool)> {
        let address = session.client_addr()?.as_inet()?.ip().to_canonical();
        let trusted = &self.hedgerow.config().trusted_proxies;
        Some((address, client::is_trusted(address, trusted)))
    }
}

fn insert_if_missing(
    request: &mut RequestHeader,
    name: HeaderName,
    value: HeaderValue,
) -> Result<()> {
    if request.headers.contains_key(&name) {
        return Ok(());
    }
    request.insert_header(name, value)
}
