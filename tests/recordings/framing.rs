//! The same requests with other codings, framings and versions of HTTP.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn compression_and_framing_change_nothing() {
    let mut bench = RecordingSetup::start().await;
    // All use one connection: an unread rest of a body would spoil the next request.
    let mut client = Client::connect(bench.proxy.address).await;
    for recording in recordings() {
        if recording.method != "POST" {
            continue;
        }
        // The uuid of a message with a time must be the same each time.
        let mut uuids = BTreeMap::<usize, Vec<String>>::new();
        let variations = recording.variations();
        for (variation, request) in &variations {
            let named = format!("{}, {variation}", recording.name);
            let sent = Utc::now();
            let answer = client.exchange(request).await;
            check_answer(&mut bench.wrong, &named, &recording, &answer);
            let events = bench.arrived(&named, &recording, sent).await;
            for (place, event) in events.iter().enumerate() {
                let uuids = uuids.entry(place).or_default();
                uuids.push(event.uuid.to_string());
            }
        }
        for (place, mut uuids) in uuids {
            uuids.sort();
            uuids.dedup();
            // A message without an id and a time becomes a new event each time.
            let timed = recording.events()[place]["timestamp"].is_string();
            let made = recording.events()[place]["uuid"].is_null();
            let expected = if made && !timed { variations.len() } else { 1 };
            bench.wrong.check(uuids.len() == expected, || {
                format!("{} {place}: {uuids:?}", recording.name)
            });
        }
    }
    bench.end();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_2_changes_nothing() {
    let mut bench = RecordingSetup::start().await;
    let mut client = h2::Client::connect(bench.proxy.address).await;
    for recording in recordings() {
        if recording.method != "POST" {
            continue;
        }
        let mut headers: Vec<(&str, &str)> = recording
            .own_headers()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        headers.extend(
            recording
                .header("content-encoding")
                .map(|coding| ("content-encoding", coding)),
        );
        headers.push(("x-forwarded-for", FORWARDED));
        let (front, rest) = recording.body.split_at(recording.body.len() / 3);
        let sent = Utc::now();
        let path = format!("/hr{}", recording.path);
        let answer = client.exchange(&path, &headers, &[front, rest]).await;
        let head: String = answer
            .headers
            .iter()
            .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().unwrap()))
            .collect();
        let answer = Answer {
            status: answer.status,
            head,
            body: answer.body,
        };
        check_answer(&mut bench.wrong, &recording.name, &recording, &answer);
        bench.arrived(&recording.name, &recording, sent).await;
    }
    bench.end();
}
