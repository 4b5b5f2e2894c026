//! Sends the requests of `instant-acme` with Hedgerow's own client, so that no second HTTP or TLS library
//! is needed.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::{header, HeaderValue, Method, Uri};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use pingora::http::RequestHeader;
use thiserror::Error;
use x509_parser::pem::Pem;

use crate::config::{self, CaFile, UpstreamHttp};
use crate::posthog::{Host, Scheme};
use crate::proxy::outbound::answer::BodyEnd;
use crate::proxy::outbound::hops::end_to_end;
use crate::proxy::outbound::retry_after;
use crate::proxy::outbound::upstream::{Timeouts, UpstreamHost};
use crate::proxy::outbound::verdict::NoAnswerReason;
use crate::proxy::outbound::{Client, ConnectionPool, Template, UpstreamRequest, WantedFields};

/// The most bytes of an answer. The largest answer is a chain of certificates.
const LIMIT: usize = 1 << 20;
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(10),
    exchange: Duration::from_secs(30),
};

/// Why the library got no readable answer.
#[derive(Debug, Error)]
pub(super) enum ClientFailure {
    #[error("{0} is not the address of an ACME server")]
    Address(String),
    #[error("no answer from {authority}: {why}")]
    Trouble {
        authority: String,
        why: &'static str,
    },
    #[error("the answer of {0} is too large for an ACME server")]
    TooLarge(String),
    #[error("{authority} answered {status} without a reason")]
    Page { authority: String, status: u16 },
}

/// A client for one attempt. Its connections are closed when it is dropped.
#[derive(Clone)]
pub(super) struct AcmeHttpClient(Arc<ClientState>);

struct ClientState {
    /// The error text if the certificate of the directory is not trusted.
    untrusted: &'static str,
    connections: Arc<ConnectionPool>,
    clients: Mutex<HashMap<Host, Arc<Client>>>,
    /// The time until which the authority has requested to wait, in seconds since 1970.
    wait_until: Mutex<Option<u64>>,
}

impl AcmeHttpClient {
    pub(super) fn new(acme: &config::AcmeConfig) -> Self {
        let authorities = acme.ca_file.as_ref().map(|file| file.path.as_path());
        Self(Arc::new(ClientState {
            untrusted: untrusted(acme.ca_file.as_ref()),
            connections: Arc::new(ConnectionPool::new(authorities)),
            clients: Mutex::default(),
            wait_until: Mutex::default(),
        }))
    }

    /// Returns the time until which the authority has requested to wait, in seconds since 1970.
    pub(super) fn retry_after(&self) -> Option<u64> {
        let wait_until = self.0.wait_until.lock();
        *wait_until.unwrap_or_else(PoisonError::into_inner)
    }
}

impl HttpClient for AcmeHttpClient {
    fn request(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.exchange(request).await })
    }
}

impl ClientState {
    async fn exchange(
        &self,
        request: http::Request<BodyWrapper<Bytes>>,
    ) -> Result<BytesResponse, Error> {
        let (head, body) = request.into_parts();
        // The library can read a body only through its type for answers.
        let mut body = BytesResponse::from(http::Response::new(body)).body;
        let body = body.into_bytes().await.map_err(Error::Other)?;
        let client = self.client(&head.uri).map_err(other)?;
        let authority = head.uri.authority().map_or("", |name| name.as_str());
        let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
        let no_address = || other(ClientFailure::Address(head.uri.to_string()));
        let template = RequestHeader::build(head.method.clone(), path.as_bytes(), None);
        let template = template.and_then(|mut template| {
            for (name, value) in &head.headers {
                template.append_header(name, value)?;
            }
            template.insert_header(header::HOST, authority)?;
            template.insert_header(header::USER_AGENT, user_agent(&head.headers))?;
            Template::new(template)
        });
        let template = template.map_err(|_| no_address())?;
        let request = UpstreamRequest {
            template: &template,
            fields: &[],
        };
        let failure = |reason| {
            let authority = authority.to_owned();
            let why = self.reason_text(reason);
            other(ClientFailure::Trouble { authority, why })
        };
        let open_answer = client.send(request, &body, WantedFields::All).await;
        let open_answer = open_answer.map_err(failure)?;
        let (status, fields) = (
            open_answer.head.status,
            end_to_end(&open_answer.head.fields),
        );
        let body = match head.method {
            // Hedgerow's client would wait for the body that the head of this answer announces.
            Method::HEAD => {
                open_answer.give_up().await;
                Vec::new()
            }
            _ => match open_answer.body(LIMIT, LIMIT, TIMEOUTS.exchange).await {
                Ok((body, BodyEnd::Whole)) => body,
                Ok((_, BodyEnd::TooLarge)) => {
                    return Err(other(ClientFailure::TooLarge(path.to_owned())));
                }
                Err(broken) => return Err(failure(broken.reason())),
            },
        };
        if status.is_client_error() || status.is_server_error() {
            if let Some(until) = fields.get(header::RETRY_AFTER).and_then(until) {
                let mut wait_until = self.wait_until.lock();
                **wait_until.as_mut().unwrap_or_else(|held| held.get_mut()) = Some(until);
            }
            if serde_json::from_slice::<serde_json::Map<_, _>>(&body).is_err() {
                return Err(other(ClientFailure::Page {
                    authority: authority.to_owned(),
                    status: status.as_u16(),
                }));
            }
        }
        let mut response = http::Response::new(BodyWrapper::from(body));
        *response.status_mut() = status;
        *response.headers_mut() = fields;
        Ok(response.into())
    }

    fn reason_text(&self, reason: NoAnswerReason) -> &'static str {
        match reason {
            NoAnswerReason::Dns => {
                "its name has no address; check `directory` and this machine's DNS"
            }
            NoAnswerReason::NoThread => {
                "its name cannot be looked up, because the system starts no more threads"
            }
            NoAnswerReason::Connect => "no connection to it is possible",
            NoAnswerReason::Tls => self.untrusted,
            NoAnswerReason::Timeout => "it took too long",
            NoAnswerReason::Closed => "the connection was closed",
            NoAnswerReason::NotHttp => "it sent something that is no HTTP answer",
            NoAnswerReason::Overloaded => "too many requests to it are in flight",
        }
    }

    /// Returns the client for the host of an address. An authority may have several hosts.
    fn client(&self, uri: &Uri) -> Result<Arc<Client>, ClientFailure> {
        let wrong = || ClientFailure::Address(uri.to_string());
        // The answers of the authority determine the order, so its host must always be verified.
        if uri.scheme() != Some(&http::uri::Scheme::HTTPS) {
            return Err(wrong());
        }
        let host = host(uri).ok_or_else(wrong)?;
        let clients = self.clients.lock();
        let mut clients = clients.unwrap_or_else(PoisonError::into_inner);
        let client = clients.entry(host).or_insert_with_key(|host| {
            let upstream = UpstreamHost::new(host, UpstreamHttp::Http1, TIMEOUTS);
            Arc::new(Client::new(upstream, Arc::clone(&self.connections)))
        });
        Ok(Arc::clone(client))
    }
}

/// Returns the host of an https address, or `None` if the address is not valid or has a login.
fn host(uri: &Uri) -> Option<Host> {
    let authority = uri.authority()?;
    let name = authority.host();
    let port = match authority.port_u16() {
        Some(port) => port,
        None if authority.as_str() == name => 443,
        None => return None,
    };
    if authority.as_str().contains('@') {
        return None;
    }
    let bare = name
        .strip_prefix('[')
        .and_then(|name| name.strip_suffix(']'));
    Host::new(Scheme::Https, bare.unwrap_or(name), port).ok()
}

/// Returns the error text for a directory whose certificate is not trusted with these authorities.
fn untrusted(ca_file: Option<&CaFile>) -> &'static str {
    let Some(ca_file) = ca_file else {
        return "this machine does not trust its certificate for this name: install ca-certificates, or \
                set `ca_file` to the certificate of a private authority";
    };
    let mut blocks = Pem::iter_from_buffer(&ca_file.pem).filter_map(Result::ok);
    let is_authority = |block: Pem| block.parse_x509().is_ok_and(|found| found.is_ca());
    match blocks.any(is_authority) {
        true => {
            "no authority in `ca_file` has signed its certificate, or the certificate is for another \
             name. `ca_file` must contain the certificate of the authority that has signed it, and not \
             the server's own, even if that is self-signed"
        }
        false => {
            "`ca_file` contains only a server's own certificate: it must contain the certificate of the \
             authority that has signed it"
        }
    }
}

fn other(error: ClientFailure) -> Error {
    Error::Other(Box::new(error))
}

/// Returns the `User-Agent`: the names of Hedgerow and of the library (RFC 8555, 6.1).
fn user_agent(headers: &http::HeaderMap) -> String {
    let library = headers.get(header::USER_AGENT);
    let library = library.and_then(|value| value.to_str().ok());
    format!(
        "hedgerow/{} {}",
        env!("CARGO_PKG_VERSION"),
        library.unwrap_or_default()
    )
}

/// Converts a `Retry-After` to a time in seconds since 1970.
fn until(value: &HeaderValue) -> Option<u64> {
    let now = SystemTime::now();
    let seconds = retry_after::seconds(value.as_bytes(), now)?;
    let now = now.duration_since(UNIX_EPOCH).ok()?;
    Some(now.as_secs().saturating_add(seconds.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_own_certificate_in_the_place_of_its_authority_is_named() {
        let key = rcgen::KeyPair::generate().unwrap();
        let pem = |is_ca| {
            let mut parameters =
                rcgen::CertificateParams::new(vec!["ca.example".to_owned()]).unwrap();
            parameters.is_ca = is_ca;
            parameters.self_signed(&key).unwrap().pem()
        };
        let own = pem(rcgen::IsCa::ExplicitNoCa);
        let old = pem(rcgen::IsCa::NoCa);
        let authority = pem(rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained));
        for (text, expected) in [
            (&own, "contains only a server's own certificate"),
            (&old, "contains only a server's own certificate"),
            (
                &authority,
                "no authority in `ca_file` has signed its certificate",
            ),
            (
                &format!("{own}{authority}"),
                "no authority in `ca_file` has signed its certificate",
            ),
        ] {
            let file = CaFile {
                path: "/ca.pem".into(),
                pem: text.clone().into_bytes(),
            };
            let reason = untrusted(Some(&file));
            assert!(reason.contains(expected), "{reason}\n{text}");
        }
        assert!(untrusted(None).contains("install ca-certificates"));
    }

    #[test]
    fn an_authority_is_only_reached_over_https() {
        let acme = config::AcmeConfig {
            domains: vec!["shop.example".to_owned()],
            email: None,
            directory: "https://ca.example/directory".to_owned(),
            storage: "/nowhere".into(),
            challenges: vec![config::Challenge::Http01],
            ca_file: Some(config::CaFile {
                path: crate::proxy::build_error::NO_AUTHORITIES.into(),
                pem: Vec::new(),
            }),
            external_account: None,
        };
        let http_client = AcmeHttpClient::new(&acme);
        for (address, valid) in [
            ("https://ca.example/new-order", true),
            ("https://192.0.2.1:14000/dir", true),
            ("https://[2001:db8::1]/dir", true),
            ("https://[2001:db8::1]:14000/dir", true),
            ("https://user@ca.example/dir", false),
            ("https://user@ca.example:1/dir", false),
            ("https://ca.example:99999/dir", false),
            ("http://ca.example/new-order", false),
            ("/new-order", false),
        ] {
            let found = http_client.0.client(&address.parse().unwrap());
            assert_eq!(found.is_ok(), valid, "{address}");
        }
    }
}
