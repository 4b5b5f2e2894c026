//! A DNS server that the test controls, and a mount namespace that knows no other.

use std::net::{Ipv4Addr, UdpSocket};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::Arc;

use super::setup::with_file_instead;

/// How the DNS server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum AnswerMode {
    Well,
    Silent,
    /// With bytes that are no DNS answer.
    Babbling,
    /// That the name does not exist.
    Denying,
    /// That the server itself failed.
    Failing,
    /// With an address on which nothing listens.
    Lying,
    /// With an alias that points to itself.
    Circling,
}

pub const TROUBLES: [AnswerMode; 6] = [
    AnswerMode::Silent,
    AnswerMode::Babbling,
    AnswerMode::Denying,
    AnswerMode::Failing,
    AnswerMode::Lying,
    AnswerMode::Circling,
];

pub struct Resolver {
    mood: Arc<AtomicU8>,
    asked: Arc<AtomicUsize>,
    wrapper: Vec<String>,
    _folder: tempfile::TempDir,
}

impl Resolver {
    /// `None` where this user may not create the namespace.
    pub fn start() -> Option<Self> {
        // The address is the test's own, so that the port is free.
        let own = std::process::id();
        let address = Ipv4Addr::new(127, 53, (own >> 8) as u8, (own & 0xff) as u8);
        let socket = UdpSocket::bind((address, 53)).ok()?;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("resolv.conf");
        let text = format!("nameserver {address}\noptions timeout:1 attempts:1\n");
        std::fs::write(&file, text).expect("the folder is ours");
        let wrapper = with_file_instead(&file, "/etc/resolv.conf")?;
        let (mood, asked) = (Arc::new(AtomicU8::new(0)), Arc::new(AtomicUsize::new(0)));
        let (now, count) = (Arc::clone(&mood), Arc::clone(&asked));
        std::thread::spawn(move || {
            let mut question = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                count.fetch_add(1, Ordering::SeqCst);
                if let Some(answer) = answer(&question[..length], now.load(Ordering::SeqCst)) {
                    let _ = socket.send_to(&answer, from);
                }
            }
        });
        Some(Self {
            mood,
            asked,
            wrapper,
            _folder: folder,
        })
    }

    pub fn now(&self, mood: AnswerMode) {
        self.mood.store(mood as u8, Ordering::SeqCst);
    }

    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    pub fn wrapper(&self) -> Vec<String> {
        self.wrapper.clone()
    }
}

/// The answer to a question with one name (RFC 1035, 4.1).
fn answer(question: &[u8], mood: u8) -> Option<Vec<u8>> {
    let mut end = 12;
    while *question.get(end)? != 0 {
        end += usize::from(question[end]) + 1;
    }
    let kind = *question.get(end + 2)?;
    let asked = question.get(12..end + 5)?;
    let head = |code: u8, answers: u8| {
        let flags = [question[0], question[1], 0x81, 0x80 | code];
        [&flags[..], &[0, 1, 0, answers, 0, 0, 0, 0], asked].concat()
    };
    let address = |last: [u8; 4]| match kind {
        // IPv4 only.
        1 => {
            let record = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 1, 0, 4], &last[..]].concat();
            [head(0, 1), record].concat()
        }
        _ => head(0, 0),
    };
    Some(match mood {
        mood if mood == AnswerMode::Well as u8 => address([127, 0, 0, 1]),
        mood if mood == AnswerMode::Silent as u8 => return None,
        mood if mood == AnswerMode::Babbling as u8 => [&question[..2], &[0xff; 300]].concat(),
        mood if mood == AnswerMode::Denying as u8 => head(3, 0),
        mood if mood == AnswerMode::Failing as u8 => head(2, 0),
        mood if mood == AnswerMode::Lying as u8 => address([127, 66, 66, 66]),
        _ => {
            let record = [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 1, 0, 2, 0xc0, 12];
            [&head(0, 1)[..], &record].concat()
        }
    })
}
