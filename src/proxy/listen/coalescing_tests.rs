use super::*;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

/// Returns what the peer can read after each step. A duplex stream keeps no boundaries between writes, so
/// the test reads it between the steps.
async fn after_each(steps: &[StreamStep<'_>], room: usize) -> Vec<String> {
    let (ours, mut theirs) = tokio::io::duplex(room);
    let mut gathered = CoalescingStream::new(ours);
    let mut arrived = Vec::new();
    for step in steps {
        match step {
            StreamStep::Write(text) => gathered.write_all(text.as_bytes()).await.unwrap(),
            StreamStep::Flush => gathered.flush().await.unwrap(),
        }
        arrived.push(there(&mut theirs));
    }
    drop(gathered);
    let mut rest = String::new();
    theirs.read_to_string(&mut rest).await.unwrap();
    arrived.push(rest);
    arrived
}

enum StreamStep<'a> {
    Write(&'a str),
    Flush,
}

/// Returns the bytes that can be read now.
fn there(stream: &mut DuplexStream) -> String {
    let mut bytes = [0; 64 * 1024];
    let mut buffer = ReadBuf::new(&mut bytes);
    let mut context = Context::from_waker(Waker::noop());
    let _ = Pin::new(stream).poll_read(&mut context, &mut buffer);
    String::from_utf8(buffer.filled().to_vec()).unwrap()
}

#[tokio::test]
async fn a_header_leaves_with_the_next_write_and_later_writes_at_once() {
    use StreamStep::{Flush, Write};
    let steps = [
        Write("header "),
        Write("body "),
        Write("more "),
        Flush,
        Write("next "),
        Flush,
        Write("header "),
        Write("body "),
    ];
    let expected = [
        "",
        "header body ",
        "more ",
        "",
        "",
        "next ",
        "",
        "header body ",
        "",
    ];
    assert_eq!(after_each(&steps, 64 * 1024).await, expected);
}

#[tokio::test]
async fn a_header_without_an_end_is_written_when_the_connection_goes() {
    let steps = [StreamStep::Write("header")];
    assert_eq!(after_each(&steps, 64 * 1024).await, ["", "header"]);
}

#[tokio::test]
async fn a_large_first_write_is_not_held() {
    let large = "x".repeat(HEADER + 1);
    let steps = [StreamStep::Write(&large)];
    assert_eq!(after_each(&steps, 64 * 1024).await, [large.as_str(), ""]);
}

#[tokio::test]
async fn bytes_arrive_whole_and_in_order_through_a_narrow_stream() {
    for room in [1, 2, 3, 7, 100] {
        let (ours, mut theirs) = tokio::io::duplex(room);
        let writing = tokio::spawn(async move {
            let mut gathered = CoalescingStream::new(ours);
            for _ in 0..20 {
                gathered.write_all(b"a header, ").await.unwrap();
                gathered.write_all(b"a body. ").await.unwrap();
                gathered.flush().await.unwrap();
            }
            gathered.write_all(b"the end").await.unwrap();
            Shutdown::shutdown(&mut gathered).await;
        });
        let mut arrived = String::new();
        theirs.read_to_string(&mut arrived).await.unwrap();
        writing.await.unwrap();
        let expected = format!("{}the end", "a header, a body. ".repeat(20));
        assert_eq!(arrived, expected, "{room}");
    }
}
