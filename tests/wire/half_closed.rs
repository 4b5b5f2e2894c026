//! Clients that close their sending half after a request, as `nc` and many scripts do. They still
//! get the answer (RFC 9112, 9.6).

use super::full_server::{FullServer, ROUTES};
use super::support::client::Client;
use super::support::recorder::{response, Act, Recorder};
use super::support::track;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_has_ended_its_half_gets_its_answer_on_every_kind_of_route() {
    let site = Recorder::that(|_| Act::Answer(response("200 OK", "", "page"))).await;
    let server = FullServer::with_upstreams(Recorder::start().await, site, "").await;
    let mut wrong = Vec::new();
    for (path, kind) in ROUTES {
        for method in [kind, "GET", "HEAD", "POST"] {
            let body = match method {
                "POST" => track("half", 200),
                _ => String::new(),
            };
            let request = format!(
                "{method} {path} HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            for address in [server.plain(), server.h2c()] {
                let mut client = Client::connect(address).await;
                client.send(request.as_bytes()).await;
                client.half_close().await;
                let said = String::from_utf8_lossy(&client.rest().await).into_owned();
                let wanted = (method == kind).then_some("HTTP/1.1 200 ");
                if !said.starts_with(wanted.unwrap_or("HTTP/1.1 ")) {
                    wrong.push(format!("{method} {path}: {said:?}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
