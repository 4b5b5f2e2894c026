//! Header fields in which a request names its sender, transport and address: only a proxy in front may
//! send them to a site.

use http::{HeaderMap, HeaderName};

/// Prefixes of such fields, in lower case with dashes.
const PREFIXES: [&str; 8] = [
    // -Host, -Proto, -Protocol, -Port, -Prefix, -Scheme, -Server, -Ssl, -User, -Client-Cert …
    "x-forwarded-",
    "cf-connecting-",
    "http-x-forwarded-",
    "x-envoy-",
    "x-azure-",
    "x-vercel-",
    "ssl-client-",
    "x-ssl-",
];

/// Further ones, in lower case with dashes, in order.
const NAMES: [&str; 46] = [
    "ali-cdn-real-ip",
    "cf-ipcountry",
    "cf-pseudo-ipv4",
    "cf-visitor",
    "client-ip",
    "cloudfront-forwarded-proto",
    "cloudfront-viewer-address",
    "do-connecting-ip",
    "fastly-client-ip",
    "fastly-ssl",
    "fly-client-ip",
    "fly-forwarded-proto",
    "forwarded",
    "front-end-https",
    "https",
    // CGI programs find it as HTTP_PROXY, which many libraries take for their own setting.
    "proxy",
    "proxy-client-ip",
    "remote-addr",
    "remote-user",
    "true-client-ip",
    "url-scheme",
    "wl-proxy-client-ip",
    "x-appengine-user-ip",
    "x-arr-clientcert",
    "x-arr-ssl",
    "x-authenticated-user",
    "x-client-cert",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-forwarded",
    "x-host",
    "x-http-host-override",
    "x-https",
    "x-nf-client-connection-ip",
    "x-original-forwarded-for",
    "x-original-host",
    "x-original-url",
    "x-proxyuser-ip",
    "x-real-ip",
    "x-real-port",
    "x-remote-addr",
    "x-remote-ip",
    "x-remote-user",
    "x-rewrite-url",
    "x-scheme",
    "x-url-scheme",
];

/// Names with underscores: CGI and WSGI read them as if they had dashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Underscores {
    /// They are dropped.
    #[default]
    Drop,
    /// They pass, unless they are a claim of the client.
    Keep,
}

/// Whether a peer's claims about a request's origin are trusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    /// It is in `trusted_proxies`.
    Trusted,
    /// Any other peer.
    Untrusted,
}

/// The fields that must not reach a site from this peer.
pub fn forged(headers: &HeaderMap, underscores: Underscores, peer: Peer) -> Vec<HeaderName> {
    let is_forged = |name: &&HeaderName| {
        let name = name.as_str();
        let underscored = name.contains('_');
        (underscored && underscores == Underscores::Drop)
            || (peer == Peer::Untrusted && is_claim(name))
            // A trusted proxy sets its own fields, with dashes; a client's would stand beside them.
            || (underscored && is_claim(name))
    };
    headers.keys().filter(is_forged).cloned().collect()
}

/// Whether a field, however its name is written, is a claim.
fn is_claim(name: &str) -> bool {
    if name == "x-forwarded-for" {
        // The proxy writes this one again in any case.
        return false;
    }
    let normal;
    let name = if name.contains('_') {
        normal = name.replace('_', "-");
        normal.as_str()
    } else {
        name
    };
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || NAMES.binary_search(&name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn kept(names: &[&'static str], underscores: Underscores, peer: Peer) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for name in names {
            headers.append(HeaderName::from_static(name), HeaderValue::from_static("1"));
        }
        for name in forged(&headers, underscores, peer) {
            headers.remove(name);
        }
        let mut kept: Vec<String> = headers.keys().map(ToString::to_string).collect();
        kept.sort();
        kept
    }

    #[test]
    fn the_names_are_in_order() {
        assert!(NAMES.is_sorted());
    }

    #[test]
    fn a_claim_passes_from_a_trusted_proxy_alone_and_never_with_underscores() {
        let all = [
            "accept",
            "x_custom",
            "x-forwarded-host",
            "x_forwarded_host",
            "x-forwarded_proto",
            "x-real-ip",
            "x-real-port",
            "x_real_ip",
            "true-client-ip",
            "cf-connecting-ip",
            "x-client-ip",
            "x-cluster-client-ip",
            "x-forwarded-protocol",
            "x-url-scheme",
            "front-end-https",
            "forwarded",
            "proxy",
            "x-forwarded-for",
            "remote_user",
            "x_forwarded_for",
            "x-forwarded_for",
        ];
        let untrusted = kept(&all, Underscores::Drop, Peer::Untrusted);
        assert_eq!(untrusted, ["accept", "x-forwarded-for"]);
        let allowed = kept(&all, Underscores::Keep, Peer::Untrusted);
        assert_eq!(allowed, ["accept", "x-forwarded-for", "x_custom"]);
        let trusted = kept(&all, Underscores::Keep, Peer::Trusted);
        let dropped = [
            "x_forwarded_host",
            "x-forwarded_proto",
            "x_real_ip",
            "remote_user",
            "x_forwarded_for",
            "x-forwarded_for",
        ];
        let mut expected: Vec<&str> = all
            .into_iter()
            .filter(|name| !dropped.contains(name))
            .collect();
        expected.sort_unstable();
        assert_eq!(trusted, expected);
    }
}
