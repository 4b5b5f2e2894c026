//! Header fields in which a request names its sender, transport and address. Only a trusted proxy
//! before Hedgerow may send them to a site.

use http::{HeaderMap, HeaderName};

/// The beginnings of the names of such fields, in the form of [`FieldName`].
const PREFIXES: [&str; 65] = [
    "accel-",
    "akamai-",
    "amzn-mtls-",
    "amzn-oidc-",
    "appengine-",
    "arr-",
    "auth-request-",
    "authelia-",
    "authenticated-",
    "authentik-",
    "azure-",
    "cdn-real-",
    "cdn-src-",
    "cf-",
    "client-address",
    "client-cert",
    "client-dn",
    "client-geo-",
    "client-ssl",
    "client-verify",
    "cloudfront-",
    "consumer-",
    "credential-",
    "envoy-",
    "fastly-",
    "fly-",
    "forward-",
    // -For, -Host, -Proto, -Protocol, -Port, -Prefix, -Scheme, -Server, -Ssl, -User, -Client-Cert …
    "forwarded-",
    "forwarder-",
    "front-end-",
    "geo-",
    "geoip-",
    "goog-authenticated-",
    "goog-iap-",
    "incap-",
    "invoke-",
    "mellon-",
    "middleware-",
    "ms-client-principal",
    "ms-token-",
    "nf-",
    "oidc-claim-",
    "original-",
    "originating-",
    "pomerium-",
    "proxy-",
    "proxyuser-",
    "real-",
    "remote-",
    "rewrite-",
    "script-name",
    "sendfile-",
    "shib-",
    "ssl-",
    "sucuri-",
    "tailscale-",
    "tls-",
    "token-subject",
    "true-",
    "url-scheme",
    "vercel-",
    "vouch-",
    "waws-",
    "webauth-",
    "wl-proxy-",
];

/// Whole names of such fields, in the same form but without dashes. Sorted, for the binary search.
const NAMES: [&str; 27] = [
    "alicdnrealip",
    "anonymousconsumer",
    "backendhost",
    "clienthost",
    "clientip",
    "clientport",
    "clientproto",
    "clientprotocol",
    "clientscheme",
    "clusterclientip",
    "comingfrom",
    "customipauthorization",
    "disguisedhost",
    "doconnectingip",
    "forwarded",
    "forwardedfor",
    "forwardedhost",
    "forwardedproto",
    "httphostoverride",
    "https",
    "matchedpath",
    "overrideurl",
    "pathinfo",
    // CGI programs see it as HTTP_PROXY, which many libraries use as their own setting.
    "proxy",
    "realip",
    "requesturi",
    "sourceip",
];

/// The names that are claims only after `X-`, in the same form as `NAMES`.
const BEHIND_X: [&str; 17] = [
    "baseurl",
    "certificate",
    "country",
    "countrycode",
    "gatewayhost",
    "host",
    "ip",
    "ipaddress",
    "iptrail",
    "proto",
    "protocol",
    "scheme",
    "secure",
    "servername",
    "serverport",
    "ssl",
    "verifiedhost",
];

/// The ends of names that are claims whatever stands before: an address by its kind, as CDNs and balancers add
/// it under their own names (`X-Varnish-Client-IP`). In the same form as `NAMES`.
const ENDS: [&str; 8] = [
    "clientaddr",
    "clientaddress",
    "clientip",
    "peeraddr",
    "realip",
    "remoteaddr",
    "remoteaddress",
    "remoteip",
];

/// What happens to header fields with underscores in their names: CGI and WSGI read these as dashes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Underscores {
    /// They are removed.
    #[default]
    Drop,
    /// They are forwarded, unless they are claims about the request's origin.
    Keep,
}

/// Whether Hedgerow believes the headers in which a peer describes a request's origin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerTrust {
    /// The peer is in `trusted_proxies`.
    Trusted,
    /// Any other peer.
    Untrusted,
}

/// Returns the fields of a request from this peer that must not reach a site.
pub fn forged(headers: &HeaderMap, underscores: Underscores, peer: PeerTrust) -> Vec<HeaderName> {
    let is_forged = |name: &&HeaderName| {
        let name = name.as_str();
        let underscored = name.contains('_');
        (underscored && underscores == Underscores::Drop)
            || (peer == PeerTrust::Untrusted && is_claim(name))
            // A trusted proxy sets its own fields, with dashes. A field with underscores came from the
            // client, and CGI would read it together with the proxy's.
            || (underscored && is_claim(name))
    };
    headers.keys().filter(is_forged).cloned().collect()
}

/// Whether a field with this name, in any spelling, is a claim about the request's origin.
fn is_claim(name: &str) -> bool {
    if name == "x-forwarded-for" {
        // `set_forwarded_fields` replaces or extends this one itself.
        return false;
    }
    let form = FieldName::of(name);
    let bare = form.words.replace('-', "");
    PREFIXES.iter().any(|prefix| form.words.starts_with(prefix))
        || NAMES.binary_search(&bare.as_str()).is_ok()
        || (form.x == XPrefix::Before && BEHIND_X.contains(&bare.as_str()))
        || form.words.ends_with("-ip")
        || ENDS.iter().any(|end| bare.ends_with(end))
}

/// Whether a name begins with `X-`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum XPrefix {
    Before,
    None,
}

/// A name in the form for comparison: its words with one dash between them, without the leading
/// `HTTP` that CGI adds, and without the leading `X`.
struct FieldName {
    words: String,
    x: XPrefix,
}

impl FieldName {
    /// Returns the form of a name, which must be in lower case.
    fn of(name: &str) -> Self {
        let words = name.split(|character: char| !character.is_ascii_alphanumeric());
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        let words = match words.as_slice() {
            ["http", rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        let (words, x) = match words {
            ["x", rest @ ..] if !rest.is_empty() => (rest, XPrefix::Before),
            all => (all, XPrefix::None),
        };
        Self {
            words: words.join("-"),
            x,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn kept(names: &[&'static str], underscores: Underscores, peer: PeerTrust) -> Vec<String> {
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
        assert!(PREFIXES.is_sorted());
    }

    /// `claims` are names as clients may write them; the `innocent` ones do not describe the origin
    /// of a request.
    #[test]
    fn a_claim_is_known_however_its_name_is_written_and_nothing_else_is_one() {
        let claims = [
            "x-clientip",
            "x-realip",
            "x-varnish-client-ip",
            "x-edge-client-ip",
            "x_lb_client_ip",
            "x-peer-ip",
            "x-trusted-ip",
            "cdn-ip",
            "x-nf-geo",
            "x-geo-country",
            "x-country-code",
            "x-forwarder-for",
            "x-server-name",
            "x-gateway-clientip",
            "x.real.ip",
            "x--forwarded--host",
            "http-x-real-ip",
            "http-forwarded",
            "http-client-ip",
            "x-original-uri",
            "x-originating-ip",
            "x-forwarded-ssl",
            "forwarded-for",
            "x-forward-for",
            "x-true-client-ip",
            "fastly-client",
            "x-envoy-original-path",
            "x-azure-socketip",
            "client-cert-chain",
            "x-client-verify",
            "cf-access-jwt-assertion",
            "x-amzn-oidc-identity",
            "x-goog-iap-jwt-assertion",
            "x-ms-client-principal-name",
            "x-auth-request-email",
            "remote-email",
            "x-webauth-user",
            "tailscale-user-login",
            "x-middleware-subrequest",
            "x-sendfile-type",
            "x-accel-mapping",
            "x-tls-client-cert",
            "x-host",
            "x-proto",
            "https",
            "proxy-host",
            "wl-proxy-ssl",
            "x-script-name",
        ];
        let innocent = [
            "host",
            "accept",
            "accept-encoding",
            "authorization",
            "cookie",
            "date",
            "dnt",
            "expect",
            "forward",
            "from",
            "http2-settings",
            "if-match",
            "max-forwards",
            "origin",
            "priority",
            "range",
            "referer",
            "sec-fetch-site",
            "sec-websocket-protocol",
            "traceparent",
            "upgrade-insecure-requests",
            "user-agent",
            "via",
            "x-amzn-trace-id",
            "x-api-key",
            "x-auth-token",
            "x-client-data",
            "x-client-info",
            "x-client-version",
            "x-csrf-token",
            "x-http-method-override",
            "x-request-id",
            "x-requested-with",
            "x-tooltip",
            "x-user-id",
            "x-zip",
            "x-xsrf-token",
            "x",
            "http",
            "-",
        ];
        let wrong = claims.iter().filter(|name| !is_claim(name));
        let wrong: Vec<_> = wrong
            .chain(innocent.iter().filter(|name| is_claim(name)))
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
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
        let untrusted = kept(&all, Underscores::Drop, PeerTrust::Untrusted);
        assert_eq!(untrusted, ["accept", "x-forwarded-for"]);
        let allowed = kept(&all, Underscores::Keep, PeerTrust::Untrusted);
        assert_eq!(allowed, ["accept", "x-forwarded-for", "x_custom"]);
        let trusted = kept(&all, Underscores::Keep, PeerTrust::Trusted);
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
