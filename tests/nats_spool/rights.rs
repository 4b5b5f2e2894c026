//! What servers and operators forbid: Hedgerow reports it, refuses events at once, and works again
//! when it is allowed.

use async_nats::jetstream::stream::Config as StreamConfig;
use hedgerow::delivery::{Availability, NatsLogin, NatsSettings, NatsSpool, Store};

use super::limits::{context, server};
use super::server::Server;
use super::{append, event, names, settings, until};

/// Opens a spool as the user `h` with the password `p`.
fn open_with_login(server: &Server) -> NatsSpool {
    let (name, password) = ("h".to_owned(), "p".to_owned());
    NatsSpool::open(NatsSettings {
        login: Some(NatsLogin::User { name, password }),
        ..settings(&server.url())
    })
    .unwrap()
}

/// A login that may not publish events: the server does not answer it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denied_operations_are_refused_at_once_and_logged() {
    let rights = "authorization {users: [{user: h, password: p, permissions: \
                  {publish: {allow: \">\", deny: \"SPOOL.events.>\"}}}]}\n";
    let Some((server, _folder)) = server(rights) else {
        return;
    };
    let spool = open_with_login(&server);
    for _ in 0..3 {
        let error = spool.append("shop", vec![event("e")]).await.unwrap_err();
        let said = error.to_string().to_ascii_lowercase();
        assert!(
            said.contains("permissions violation for publish"),
            "{error}"
        );
    }
    assert_eq!(spool.availability(), Availability::Unavailable);
}

/// A login that may not receive answers, and later may. The servers announce only the former.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_may_hear_its_answers_again_is_served_again() {
    let folder = tempfile::tempdir().unwrap();
    let (file, store) = (folder.path().join("nats.conf"), folder.path().join("store"));
    let rights = |deny: &str| {
        format!(
            "jetstream {{store_dir: \"{}\"}}\n\
             authorization {{users: [{{user: h, password: p, permissions: \
             {{publish: \">\", subscribe: {{allow: \">\"{deny}}}}}}}]}}\n",
            store.display()
        )
    };
    std::fs::write(&file, rights(", deny: \"_INBOX.>\"")).unwrap();
    let Some(server) = Server::of_file(&file) else {
        return;
    };
    let spool = open_with_login(&server);
    // The server may not listen yet.
    until("its answers are forbidden", || async {
        let error = spool.append("shop", vec![event("e")]).await.unwrap_err();
        let said = error.to_string().to_ascii_lowercase();
        said.contains("permissions violation for sub")
    })
    .await;
    std::fs::write(&file, rights("")).unwrap();
    server.signal("-HUP");
    until("it is served", || async {
        spool.append("shop", vec![event("e")]).await.is_ok()
    })
    .await;
}

/// An operator can seal a stream for good; it accepts no events any more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sealed_stream_refuses_and_says_so() {
    let Some(server) = Server::single() else {
        return;
    };
    let spool = NatsSpool::open(settings(&server.url())).unwrap();
    append(&spool, &names(0..2)).await;
    let jetstream = context(&server).await;
    let mut waiting = jetstream.get_stream("SPOOL").await.unwrap();
    let sealed = StreamConfig {
        sealed: true,
        ..waiting.info().await.unwrap().config.clone()
    };
    jetstream.update_stream(sealed).await.unwrap();
    for _ in 0..3 {
        let error = spool.append("shop", vec![event("e")]).await.unwrap_err();
        assert!(error.to_string().contains("sealed"), "{error}");
    }
    assert_eq!(spool.availability(), Availability::Unavailable);
}
