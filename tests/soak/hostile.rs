//! Hostile connections, some one after the other and some at once.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::dice::Dice;
use super::support::frames::{block, fields, frame};
use super::support::frames::{
    CONTINUATION, END_HEADERS, END_STREAM, HEADERS, PING, RST_STREAM, SETTINGS,
};

/// How each kind begins.
fn openings() -> Vec<Vec<u8>> {
    let preface = [
        &b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..],
        &frame(SETTINGS, 0, 0, &[]),
    ]
    .concat();
    let head = block(&fields(&[
        (":method", "GET"),
        (":scheme", "http"),
        (":authority", "a"),
        (":path", "/page"),
    ]));
    let mut resets = preface.clone();
    for number in 0..200 {
        let stream = 1 + 2 * number;
        resets.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &head));
        resets.extend(frame(RST_STREAM, 0, stream, &[0, 0, 0, 8]));
    }
    let endless = [
        preface.clone(),
        frame(HEADERS, END_STREAM, 1, &head),
        frame(CONTINUATION, 0, 1, &block(&fields(&[("a", "b")]))).repeat(500),
    ];
    let event = "{\"userId\":\"u\",\"event\":\"E\"";
    vec![
        b"GET /page HTTP/1.1\r\nHo".to_vec(),
        b"GET /page HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20),
        b"GET /../x HTTP/1.1\r\nHost: a\r\n\r\n".to_vec(),
        b"POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nabc"
            .to_vec(),
        b"POST /page HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        format!("POST /hr/v1/t HTTP/1.1\r\nHost: a\r\nContent-Length: 9999\r\n\r\n{event}")
            .into_bytes(),
        format!("POST /hr/v1/b HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n[[[[[[[[[{event}")
            .into_bytes(),
        b"\x16\x03\x01\x00\xc8\x01\x00".to_vec(),
        vec![0; 4_000],
        preface.clone(),
        [preface, frame(PING, 0, 0, &[7; 8]).repeat(2_000)].concat(),
        resets,
        endless.concat(),
    ]
}

/// Opens such connections until `done`; returns their number.
pub async fn press(addresses: &[SocketAddr], mut dice: Dice, done: &AtomicBool) -> usize {
    let openings = openings();
    let mut count = 0;
    while !done.load(Ordering::Relaxed) {
        let address = addresses[dice.below(addresses.len() as u64) as usize];
        let opening = openings[dice.below(openings.len() as u64) as usize].clone();
        let patience = Duration::from_millis(dice.between(1, 1_500));
        count += 1;
        tokio::spawn(async move {
            // While the process is down, nothing answers.
            let Ok(mut stream) = TcpStream::connect(address).await else {
                return;
            };
            let talk = async {
                stream.write_all(&opening).await?;
                let mut said = [0; 4_096];
                while stream.read(&mut said).await? > 0 {}
                std::io::Result::Ok(())
            };
            // The client hangs up in the middle, or the server does.
            let _ = tokio::time::timeout(patience, talk).await;
        });
        tokio::time::sleep(Duration::from_millis(dice.between(5, 60))).await;
    }
    count
}
