use super::*;

use serde_json::json;

use crate::segment::recognise;

/// An account whose hosts have a port on which nothing listens.
fn account(bounds: QueueBounds) -> Arc<SegmentAccount> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let connections = ConnectionPool::new(Some("/dev/null".as_ref()));
    let connections = Arc::new(connections);
    let forward = Forward {
        api: host.parse().unwrap(),
        cdn: host.parse().unwrap(),
        device_mode: DeviceMode::Removed,
        write_key: None,
    };
    let connections = [Arc::clone(&connections), connections];
    let connect = Duration::from_secs(1);
    let account = SegmentAccount::new(
        &forward,
        connections,
        connect,
        Arc::default(),
        Arc::default(),
    );
    Arc::new(SegmentAccount { bounds, ..account })
}

fn original(account: &Arc<SegmentAccount>, body: &'static [u8]) -> Option<OriginalRequest> {
    let mut copy = RequestCopy::new(account);
    for piece in body.chunks(10) {
        copy.push(&Bytes::from_static(piece));
    }
    let call = recognise("POST", "t");
    OriginalRequest::new(account, call, None, &HeaderMap::new(), None, copy)
}

#[test]
fn the_queue_keeps_its_limit_and_counts_released_requests() {
    let account = account(QueueBounds {
        requests: 2,
        bytes: 100,
        ..QueueBounds::default()
    });
    let first = original(&account, &[b'x'; 60]).unwrap();
    assert!(first.body == [b'x'; 60][..]);
    assert!(original(&account, &[b'x'; 41]).is_none(), "too large");
    let second = original(&account, &[b'x'; 40]).unwrap();
    assert!(original(&account, b"").is_none(), "too many");
    // An unfinished upload takes a place too.
    drop(first);
    let mut slow = RequestCopy::new(&account);
    slow.push(&Bytes::from_static(&[b'x'; 60]));
    assert!(original(&account, b"").is_none(), "too many");
    drop((second, slow));
    assert!(original(&account, &[b'x'; 100]).is_some());
    let load = *lock(&account.load);
    assert_eq!(load, QueueLoad::default(), "everything is given back");
    assert_eq!(account.accounts.counts().full, 3);
}

#[tokio::test]
async fn the_last_good_settings_are_served_while_the_account_is_away() {
    let account = account(QueueBounds::default());
    let known = json!({"integrations": {}});
    let copied = CopiedSettings {
        settings: Some(known.clone()),
        ..CopiedSettings::default()
    };
    lock(&account.copies).insert("key".to_owned(), copied);
    for _ in 0..3 {
        assert_eq!(account.settings("key").await, Some(known.clone()));
        tokio::task::yield_now().await;
    }
    assert_eq!(account.settings("other").await, None);
}
