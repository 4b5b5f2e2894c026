//! The cases, each as steps; between two steps the proxy serves other requests.

use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Arc;

use flate2::write::GzEncoder;
use flate2::Compression;
use hedgerow_rewrite::segment::{message_from_query, BodyError, Decoder};
use hedgerow_rewrite::{
    ApiKey, Arrival, Batch, Bounds, Call, Envelope, Flow, Kind, Mapping, ProjectId, Pulled,
    Recipient, Rewrite, RewriteError, Rewriter, Timestamp,
};

/// The result of a step.
pub enum Work {
    More,
    Ended(String),
}

pub type Steps = Box<dyn FnMut() -> Work>;

pub struct Case {
    pub name: String,
    /// The divisor: the number of bytes to read, after inflation.
    pub bytes: usize,
    pub begin: Box<dyn Fn() -> Steps>,
}

/// The bytes of one read from a connection.
pub const READ: usize = 16 * 1024;

pub const PERSON: &str =
    r#""userId":"user-4711","anonymousId":"b3c6f8e2-9d1a-4f77-8a52-0c6d2f9e7b10""#;

pub const CONTEXT: &str = r#"{"library":{"name":"analytics.js","version":"npm:next-1.84.0"},"locale":"en-US","timezone":"Europe/Berlin","page":{"path":"/shop/boots","referrer":"https://www.google.com/","search":"?utm_source=mail","title":"Boots","url":"https://shop.example/shop/boots?utm_source=mail"},"userAgent":"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/152.0.0.0 Safari/537.36","screen":{"width":1920,"height":1080}}"#;

/// A body of analytics.js with 300 messages.
pub fn ordinary_batch(count: usize) -> String {
    let mut items = Vec::new();
    for number in 0..count {
        items.push(format!(
            r#"{{"type":"track","event":"Product Viewed","messageId":"ajs-next-1795467600000-{number:08}","timestamp":"2026-11-23T20:59:58.{:03}Z",{PERSON},"properties":{{"product_id":"p-{number}","sku":"BOOT-{number}","name":"Walking boots","price":129.95,"quantity":1,"currency":"EUR","categories":["shoes","outdoor"]}},"context":{CONTEXT}}}"#,
            number % 1000
        ));
    }
    format!(
        r#"{{"batch":[{}],"sentAt":"2026-11-23T20:59:59.000Z"}}"#,
        items.join(",")
    )
}

/// A rewriter that lives as long as the process, because the steps of a case are owned by their caller.
fn rewriter(mapping: Mapping) -> &'static Rewriter {
    Box::leak(Box::new(
        Rewriter::new(mapping, Bounds::default()).remembering(),
    ))
}

fn arrival(call: Call, cookies: Option<&str>) -> Arrival {
    Arrival {
        received_at: Some(Timestamp::from_millis(1_795_467_600_000)),
        client_ip: Some([203, 0, 113, 7].into()),
        cookies: cookies.map(str::to_owned),
        ..Arrival::new(call)
    }
}

/// A rewriting and its output.
struct Conversion {
    rewrite: Rewrite<'static>,
    batch: Batch,
    envelope: Envelope,
}

impl Conversion {
    fn new(rewriter: &'static Rewriter, arrival: Arrival) -> Self {
        let envelope = Envelope::new(&ApiKey::new("phc_worst").unwrap());
        let rewrite = rewriter.begin(arrival).address_to(Arc::new(Recipient {
            project: ProjectId::of(&ApiKey::new("phc_worst").unwrap()),
            ..Recipient::default()
        }));
        Self {
            rewrite,
            batch: Batch::open(&envelope),
            envelope,
        }
    }

    /// One pull; `None` if there is nothing more to do for now.
    fn pull(&mut self) -> Result<Option<Pulled>, RewriteError> {
        let pulled = self.rewrite.pull(&mut self.batch, 256 * 1024, &mut ())?;
        Ok(match pulled {
            Pulled::Full => {
                drop(std::mem::replace(&mut self.batch, Batch::open(&self.envelope)).close());
                Some(pulled)
            }
            Pulled::Paused => Some(pulled),
            Pulled::Starved | Pulled::Done => None,
        })
    }
}

/// As analytics.js usually sends: one message for each request, so many requests.
pub fn single(requests: usize) -> Case {
    let text = ordinary_batch(1);
    let rewriter = rewriter(Mapping::default());
    Case {
        name: "ordinary messages, one a request".to_owned(),
        bytes: requests * text.len(),
        begin: Box::new(move || {
            let text = text.clone();
            let mut left = requests;
            Box::new(move || {
                let arrival = arrival(Call::Batch, None);
                let mut conversion = Conversion::new(rewriter, arrival);
                let mut run = || {
                    conversion.rewrite.push(text.as_bytes())?;
                    conversion.rewrite.end();
                    while conversion.pull()?.is_some() {}
                    left -= 1;
                    Ok(left == 0)
                };
                ended(run())
            })
        }),
    }
}

/// A body that comes in several reads, uncompressed.
pub fn body(name: &str, call: Call, text: impl Into<Vec<u8>>) -> Case {
    with(name, (call, None), Mapping::default(), text.into())
}

pub fn with(
    name: &str,
    (call, cookies): (Call, Option<String>),
    mapping: Mapping,
    text: Vec<u8>,
) -> Case {
    let text = Arc::new(text);
    let rewriter = rewriter(mapping);
    Case {
        name: name.to_owned(),
        bytes: text.len() + cookies.as_ref().map_or(0, String::len),
        begin: Box::new(move || {
            let text = Arc::clone(&text);
            let mut conversion = Conversion::new(rewriter, arrival(call, cookies.as_deref()));
            let (mut at, mut pulling) = (0, false);
            Box::new(move || {
                let mut step = || {
                    if pulling {
                        pulling = conversion.pull()?.is_some();
                        return Ok(at > text.len() && !pulling);
                    }
                    match text.get(at..text.len().min(at + READ)) {
                        Some(piece) if !piece.is_empty() => {
                            at += piece.len();
                            pulling = conversion.rewrite.push(piece)? == Flow::Open;
                        }
                        _ => {
                            at = text.len() + 1;
                            conversion.rewrite.end();
                            pulling = true;
                        }
                    }
                    Ok(false)
                };
                ended(step())
            })
        }),
    }
}

fn ended(step: Result<bool, RewriteError>) -> Work {
    match step {
        Ok(false) => Work::More,
        Ok(true) => Work::Ended("accepted".to_owned()),
        Err(error) => Work::Ended(error.code().to_owned()),
    }
}

pub fn gzip(data: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A compressed body; the cost is for its inflated bytes.
pub fn inflated(name: &str, wire: Vec<u8>, bytes: usize) -> Case {
    let wire = Arc::new(wire);
    Case {
        name: name.to_owned(),
        bytes,
        begin: Box::new(move || {
            let wire = Arc::clone(&wire);
            let mut decoder = Decoder::new(Some("gzip"), 10 << 20).unwrap();
            let mut at = 0;
            Box::new(move || {
                let mut sink = |piece: &[u8]| {
                    std::hint::black_box(piece);
                    Ok::<(), BodyError>(())
                };
                let piece = &wire[at..wire.len().min(at + READ)];
                at += piece.len();
                let done = match piece.is_empty() {
                    true => decoder.finish(&mut sink).map(|()| true),
                    false => decoder.decode(piece, &mut sink).map(|()| false),
                };
                match done {
                    Ok(false) => Work::More,
                    Ok(true) => Work::Ended("accepted".to_owned()),
                    Err(error) => Work::Ended(format!("{error:?}")),
                }
            })
        }),
    }
}

pub fn pixel(name: &str, query: String) -> Case {
    let rewriter = rewriter(Mapping::default());
    Case {
        name: name.to_owned(),
        bytes: query.len(),
        begin: Box::new(move || {
            let query = query.clone();
            Box::new(move || {
                let Some(message) = message_from_query(&query) else {
                    return Work::Ended("no message".to_owned());
                };
                let arrival = arrival(Call::One(Kind::Track), None);
                let mut conversion = Conversion::new(rewriter, arrival);
                let mut run = || {
                    conversion.rewrite.push(&message)?;
                    conversion.rewrite.end();
                    while conversion.pull()?.is_some() {}
                    Ok(true)
                };
                ended(run())
            })
        }),
    }
}

pub const TRACK: Call = Call::One(Kind::Track);

/// A track call with this in its properties.
pub fn track(inside: &str) -> String {
    format!(r#"{{"event":"E","messageId":"m",{PERSON},"properties":{{{inside}}}}}"#)
}

/// A track call with this beside its properties.
pub fn beside(fields: &str) -> String {
    format!(r#"{{"event":"E","messageId":"m",{PERSON},{fields}}}"#)
}

pub fn list(count: usize, item: impl Fn(usize) -> String) -> String {
    let mut text = String::new();
    for number in 0..count {
        let comma = if number == 0 { "" } else { "," };
        write!(text, "{comma}{}", item(number)).unwrap();
    }
    text
}

pub fn batch(count: usize, item: impl Fn(usize) -> String) -> String {
    format!(r#"{{"batch":[{}]}}"#, list(count, item))
}
