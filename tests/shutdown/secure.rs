//! Hand-overs with TLS, and clients of both HTTP versions that reuse their connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::Arc;

use bytes::Bytes;
use pingora::connectors::http::Connector;
use pingora::connectors::ConnectorOptions;
use pingora::http::RequestHeader;
use pingora::protocols::http::client::HttpSession;
use pingora::upstreams::peer::HttpPeer;

use super::process::Process;
use super::support::proxy::{yaml, PostHog};
use super::support::tls::{AlpnOffer, Certificates};
use super::support::{say, track};

#[derive(Default)]
struct Tally {
    answered: AtomicUsize,
    resent: AtomicUsize,
    http2: AtomicUsize,
    over: AtomicBool,
}

/// One request over any connection; returns whether the connection was reused, and whether the
/// answer was 200.
async fn exchange(
    connector: &Connector,
    peer: &HttpPeer,
    id: &str,
) -> (bool, Result<bool, String>) {
    let (mut session, used) = match connector.get_http_session(peer).await {
        Ok(found) => found,
        Err(error) => return (false, Err(error.to_string())),
    };
    let body = Bytes::from(track(id, 300));
    let mut head = RequestHeader::build("POST", b"/hr/v1/t", None).expect("a head");
    for (name, value) in [
        ("Host", "localhost"),
        ("Content-Length", &body.len().to_string()),
    ] {
        head.insert_header(name.to_owned(), value)
            .expect("a header");
    }
    let http2 = matches!(session, HttpSession::H2(_));
    let talk = async {
        session.write_request_header(Box::new(head)).await?;
        session.write_request_body(body, true).await?;
        session.finish_request_body().await?;
        session.read_response_header().await?;
        while session.read_response_body().await?.is_some() {}
        Ok::<_, pingora::BError>(())
    };
    let talked = tokio::time::timeout(std::time::Duration::from_secs(60), talk).await;
    match talked {
        Ok(Ok(())) => {}
        other => return (used, Err(format!("{other:?}"))),
    }
    let status = session.response_header().expect("an answer").status;
    if status != 200 {
        return (used, Err(format!("{status}")));
    }
    connector.release_http_session(session, peer, None).await;
    (used, Ok(http2))
}

async fn client(
    number: usize,
    address: SocketAddr,
    authority: String,
    offers: AlpnOffer,
    tally: Arc<Tally>,
) -> Vec<String> {
    let mut options = ConnectorOptions::new(4);
    options.ca_file = Some(authority);
    let connector = Connector::new(Some(options));
    let mut peer = HttpPeer::new(address, true, "localhost".to_owned());
    if offers == AlpnOffer::Both {
        peer.options.set_http_version(2, 1);
    }
    let mut failures = Vec::new();
    for count in 0.. {
        if tally.over.load(Ordering::SeqCst) {
            break;
        }
        loop {
            let (used, came) = exchange(&connector, &peer, &format!("{number}-{count}")).await;
            match came {
                Ok(http2) => {
                    tally.answered.fetch_add(1, Ordering::SeqCst);
                    tally.http2.fetch_add(usize::from(http2), Ordering::SeqCst);
                    break;
                }
                // As with every client, a reused connection may have ended meanwhile.
                Err(_) if used => {
                    tally.resent.fetch_add(1, Ordering::SeqCst);
                }
                Err(why) => {
                    failures.push(format!("{number}-{count}: {why}"));
                    break;
                }
            }
        }
    }
    failures
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hand_overs_under_tls_fail_no_request_of_either_http_version() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let certificates = Certificates::new(&["localhost"]);
    let file = |name: &str| certificates.file(name).display().to_string();
    let listen = format!(
        "[{{address: {{address}}, tls: {{certificate: \"{}\", key: \"{}\"}}}}]",
        file("certificate.pem"),
        file("key.pem")
    );
    let rest = yaml(&posthog.url());
    let mut process = Process::start(folder.path(), &listen, &rest).await;
    let tally = Arc::new(Tally::default());
    let clients: Vec<_> = (0..8)
        .map(|number| {
            let offers = [AlpnOffer::Http1, AlpnOffer::Both][number % 2];
            let (address, authority) = (process.address, file("ca.pem"));
            tokio::spawn(client(
                number,
                address,
                authority,
                offers,
                Arc::clone(&tally),
            ))
        })
        .collect();
    for round in 1..=3 {
        super::support::eventually("requests", || {
            (tally.answered.load(Ordering::SeqCst) >= round * 500).then_some(())
        })
        .await;
        process.hand_over().await;
    }
    tally.over.store(true, Ordering::SeqCst);
    let mut failures = Vec::new();
    for client in clients {
        failures.extend(client.await.unwrap());
    }
    let count = |counter: &AtomicUsize| counter.load(Ordering::SeqCst);
    say(format_args!(
        "hand-overs under TLS: answered {}, of them over HTTP/2 {}, failed {}, sent again over a \
         new connection {}",
        count(&tally.answered),
        count(&tally.http2),
        failures.len(),
        count(&tally.resent)
    ));
    assert!(failures.is_empty(), "{failures:#?}");
    assert!(count(&tally.http2) > 500);
    process.signal("-TERM");
    assert_eq!(process.end().await, Some(0));
}
