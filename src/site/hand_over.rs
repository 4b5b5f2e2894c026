//! The configuration lines for a site's web server that hands paths over to this proxy.

use std::net::SocketAddr;

/// The address at which a web server on the same machine reaches this proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAddress {
    /// A listener of the configuration.
    pub address: SocketAddr,
    /// Whether it uses TLS.
    pub tls: SiteTls,
}

/// Whether an address uses TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SiteTls {
    /// Only HTTP.
    Plain,
    /// HTTPS.
    Spoken,
}

impl LocalAddress {
    /// Returns its URL. An unspecified address (all addresses of the machine) becomes a loopback
    /// address.
    pub fn url(self) -> String {
        let scheme = match self.tls {
            SiteTls::Plain => "http",
            SiteTls::Spoken => "https",
        };
        let mut address = self.address;
        if address.ip().is_unspecified() {
            address.set_ip(match address.ip().is_ipv4() {
                true => std::net::Ipv4Addr::LOCALHOST.into(),
                false => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        format!("{scheme}://{address}")
    }
}

/// Returns the lines for the `server` block of nginx. They pass each path on to `here` with the
/// visitor's address and host, stream both ways, and allow bodies as large as a recording's.
///
/// `$host` has no port; `$http_host` is empty over HTTP/3, and nginx omits an empty header. So each is
/// used where the other one is not enough.
pub fn nginx(paths: &[String], here: LocalAddress) -> String {
    let url = here.url();
    let mut text = String::new();
    for path in paths {
        text.push_str(&format!(
            "location ^~ {path} {{
    proxy_pass {url};
    proxy_http_version 1.1;
    proxy_set_header Connection \"\";
    proxy_set_header Host $host;
    proxy_set_header X-Forwarded-Host $http_host;
    proxy_set_header X-Forwarded-For $remote_addr;
    proxy_set_header X-Forwarded-Proto $scheme;
    proxy_buffering off;
    proxy_request_buffering off;
    client_max_body_size 64m;
}}
"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_goes_to_an_address_that_can_be_connected_to() {
        for (address, tls, url) in [
            ("0.0.0.0:8080", SiteTls::Plain, "http://127.0.0.1:8080"),
            ("[::]:8443", SiteTls::Spoken, "https://[::1]:8443"),
            ("10.0.0.7:80", SiteTls::Plain, "http://10.0.0.7:80"),
        ] {
            let address = address.parse().unwrap();
            let text = nginx(
                &["/a/".to_owned(), "/b/".to_owned()],
                LocalAddress { address, tls },
            );
            for path in ["/a/", "/b/"] {
                let start = format!("location ^~ {path} {{\n    proxy_pass {url};\n");
                assert!(text.contains(&start), "{text}");
            }
        }
    }
}
