//! A page that unloads sends its events and closes before any answer.

use bytes::Bytes;
use hedgerow::demo::capture::InjectedFault;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::relay::{Line, Relay};
use super::support::client::post;
use super::support::proxy::{PostHog, Proxy};
use super::support::{eventually, h2, track};
use super::{impatient, ls};

/// How a page leaves.
#[derive(Debug, Clone, Copy)]
enum PageExit {
    /// The connection closes.
    Closes,
    /// The connection is reset.
    Resets,
    /// HTTP/2: only the stream is reset, as an aborted fetch does.
    Cancels,
    /// HTTP/2: the whole connection closes.
    Disconnects,
}

/// Sends a whole body and leaves as soon as the proxy has it.
async fn unload(proxy: &Proxy, leaving: PageExit, body: String) {
    let arrived = || (proxy.hedgerow.counts().held > 0).then_some(());
    match leaving {
        PageExit::Closes | PageExit::Resets => {
            let mut stream = TcpStream::connect(proxy.address).await.unwrap();
            let request = post("/hr/v1/t", "", body.as_bytes());
            stream.write_all(&request).await.unwrap();
            eventually("the event has arrived", arrived).await;
            if let PageExit::Resets = leaving {
                stream.set_zero_linger().unwrap();
            }
        }
        PageExit::Cancels | PageExit::Disconnects => {
            let mut client = h2::Client::connect(proxy.address).await;
            let (response, mut stream) = client.post("/hr/v1/t", &[]).await;
            stream.send_data(Bytes::from(body), true).unwrap();
            eventually("the event has arrived", arrived).await;
            if let PageExit::Cancels = leaving {
                drop((response, stream));
                // The connection continues with another request.
                let (other, _stream) = client.post("/elsewhere", &[]).await;
                drop(other);
                tokio::task::yield_now().await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_beacon_whose_page_is_gone_is_delivered_also_by_way_of_the_spool() {
    let folder = tempfile::tempdir().unwrap();
    let posthog = PostHog::start().await;
    let relay = Relay::start(posthog.address).await;
    let proxy = Proxy::start_h2c(&impatient(&relay.url(), folder.path())).await;
    let mut sent = Vec::new();
    for (name, fault) in [
        ("hung, then back", InjectedFault::None),
        (
            "hung, then refused for a while",
            InjectedFault::Status(http::StatusCode::BAD_GATEWAY, None),
        ),
    ] {
        for leaving in [
            PageExit::Closes,
            PageExit::Resets,
            PageExit::Cancels,
            PageExit::Disconnects,
        ] {
            // Makes every page leave in the middle.
            relay.set(Line::Hangs);
            let id = format!("{}", sent.len());
            unload(&proxy, leaving, track(&id, 500)).await;
            sent.push(format!("u-{id}"));
            posthog.capture.set_fault(fault.clone());
            relay.set(Line::Passes);
            if fault != InjectedFault::None {
                eventually(&format!("{name}, {leaving:?}: kept"), || {
                    ls(folder.path()).contains("waiting").then_some(())
                })
                .await;
                posthog.capture.set_fault(InjectedFault::None);
            }
            let events = posthog.events(sent.len() as u64).await;
            let ids: Vec<_> = events.iter().map(|event| &event.distinct_id).collect();
            assert_eq!(ids, sent.iter().collect::<Vec<_>>(), "{name}, {leaving:?}");
            eventually("an empty spool and nothing held", || {
                let empty = !ls(folder.path()).contains("waiting");
                (empty && proxy.hedgerow.counts().held == 0).then_some(())
            })
            .await;
        }
    }
}
