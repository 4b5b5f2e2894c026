//! The measured bodies, and the whole path of each through the rewriting.
#![allow(dead_code)]

use std::path::Path;
use std::sync::Arc;

use hedgerow_rewrite::posthog::{ApiKey, Batch, Envelope, ProjectId};
use hedgerow_rewrite::rewrite::enrich::edge_session::{EdgeSessions, SessionCookie};
use hedgerow_rewrite::rewrite::{
    Arrival, Bounds, Mapping, Pulled, Recipient, Rewrite, Rewriter, SessionKeeper, Timestamp,
};
use hedgerow_rewrite::segment::{Call, Kind};

/// The arrival time of the bodies.
const RECEIVED_AT: i64 = 1_795_467_694_600;

fn recorded(name: &str) -> String {
    // The file is used by the root crate and by crates two folders below.
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let path = here
        .ancestors()
        .map(|folder| folder.join(format!("tests/data/recordings/{name}.json")))
        .find(|path| path.exists())
        .unwrap();
    let file: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    file["body"].as_str().unwrap().to_owned()
}

/// A request recorded from a real SDK, or derived from one.
pub struct Case {
    pub name: &'static str,
    pub call: Call,
    pub body: String,
    /// The body of every second request, if two bodies alternate.
    pub other: Option<String>,
    pub events: usize,
}

impl Case {
    /// The body of this round.
    fn body(&self, round: u32) -> &str {
        match &self.other {
            Some(other) if round % 2 == 1 => other,
            _ => &self.body,
        }
    }
}

impl std::fmt::Display for Case {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{} ({} B)", self.name, self.body.len())
    }
}

pub fn cases() -> Vec<Case> {
    let track = recorded("web-std-xorigin-03-track-set-groups");
    let batch = format!(
        r#"{{"batch":[{}],"sentAt":"2026-11-23T21:01:34.498Z"}}"#,
        vec![track.as_str(); 300].join(",")
    );
    let one = |name, kind, body| Case {
        name,
        call: Call::One(kind),
        body,
        other: None,
        events: 1,
    };
    // This request must not profit from the context of the client's last request.
    let other_page = track.replace("\"title\":\"Acme Store\"", "\"title\":\"Acme Stand\"");
    assert_ne!(track, other_page);
    vec![
        one("track", Kind::Track, track.clone()),
        Case {
            other: Some(other_page),
            ..one("track on another page", Kind::Track, track)
        },
        one("page", Kind::Page, recorded("web-std-xorigin-02-page-utm")),
        one(
            "identify",
            Kind::Identify,
            recorded("web-std-xorigin-05-identify-user"),
        ),
        Case {
            name: "batch of 300",
            call: Call::Batch,
            body: batch,
            other: None,
            events: 300,
        },
        Case {
            name: "server batch",
            call: Call::Batch,
            body: recorded("node-01-batch-all-types"),
            other: None,
            events: 6,
        },
    ]
}

/// A batch of this many short events, each with its own ids and context.
pub fn batch_of(events: usize) -> Case {
    let event = |number: usize| {
        format!(
            r#"{{"type":"track","event":"Item Counted","messageId":"m-{number}","userId":"u-{number}","timestamp":"2026-11-23T20:44:51.383Z","properties":{{"item":"i-{number}","count":{number}}},"context":{{"library":{{"name":"analytics.js","version":"2.0.{number}"}},"locale":"en-US"}}}}"#
        )
    };
    let messages: Vec<String> = (0..events).map(event).collect();
    Case {
        name: "short events",
        call: Call::Batch,
        body: format!(
            r#"{{"batch":[{}],"sentAt":"2026-11-23T21:01:34.498Z"}}"#,
            messages.join(",")
        ),
        other: None,
        events,
    }
}

/// The measured mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As PostHog's own Segment destination maps.
    Reference,
    /// With the properties that PostHog's own libraries would add, as in the default mode.
    Enriched,
    /// With sessions in the edge's own cookie, which the browser already has.
    Sessions,
}

impl Way {
    pub const ALL: [(Self, &'static str); 3] = [
        (Self::Reference, "reference"),
        (Self::Enriched, "enriched"),
        (Self::Sessions, "sessions"),
    ];
}

/// A rewriter and the rest of the state that outlives a request.
pub struct Work {
    rewriter: Arc<Rewriter>,
    envelope: Envelope,
    recipient: Arc<Recipient>,
    cookies: Option<String>,
}

impl Work {
    pub fn new(way: Way, case: &Case) -> Self {
        let mapping = match way {
            Way::Reference => Mapping::reference(),
            Way::Enriched | Way::Sessions => Mapping::default(),
        };
        let mut rewriter = Rewriter::new(mapping, Bounds::default()).remembering();
        if way == Way::Sessions {
            rewriter = rewriter.with_sessions(SessionKeeper {
                sessions: EdgeSessions::new([&[7; 32][..]]).unwrap(),
                cookie: SessionCookie::new("edge_visit", None).unwrap(),
            });
        }
        let api_key = ApiKey::new("phc_bench").unwrap();
        let mut work = Self {
            rewriter: Arc::new(rewriter),
            envelope: Envelope::new(&api_key),
            recipient: Arc::new(Recipient {
                project: ProjectId::of(&api_key),
                ..Recipient::default()
            }),
            cookies: None,
        };
        if way == Way::Sessions {
            work.cookies = work.answered(case);
        }
        work
    }

    /// The browser's cookie after its first request.
    fn answered(&self, case: &Case) -> Option<String> {
        use hedgerow_rewrite::rewrite::enrich::edge_session::Transport;
        let mut rewrite = self.begin(case, 0);
        self.pull(&mut rewrite, case);
        let cookie = rewrite.finish().set_cookie(Transport::Plain)?;
        cookie.split(';').next().map(str::to_owned)
    }

    fn begin(&self, case: &Case, round: u32) -> Rewrite<'_> {
        let mut rewrite = self
            .rewriter
            .begin(Arrival {
                received_at: Some(Timestamp::from_millis(RECEIVED_AT)),
                client_ip: Some(std::net::Ipv4Addr::new(203, 0, 113, 7).into()),
                cookies: self.cookies.clone(),
                ..Arrival::new(case.call)
            })
            .address_to(Arc::clone(&self.recipient));
        rewrite.push(case.body(round).as_bytes()).unwrap();
        rewrite.end();
        rewrite
    }

    fn pull(&self, rewrite: &mut Rewrite<'_>, case: &Case) -> Vec<u8> {
        let mut batch = Batch::open(&self.envelope);
        let mut pulled = Pulled::Paused;
        while pulled == Pulled::Paused {
            pulled = rewrite.pull(&mut batch, usize::MAX, &mut ()).unwrap();
        }
        assert_eq!((pulled, batch.events()), (Pulled::Done, case.events));
        batch.close()
    }

    /// The whole path of one body: push, split, normalise, map, check, write.
    pub fn run(&self, case: &Case) -> Vec<u8> {
        self.run_round(case, 0)
    }

    /// The same for several rounds.
    pub fn run_round(&self, case: &Case, round: u32) -> Vec<u8> {
        self.pull(&mut self.begin(case, round), case)
    }
}
