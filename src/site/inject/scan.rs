//! Finds the end of a page's head in a stream of bytes.

use bytes::{Bytes, BytesMut};

/// How far into a page the head's end is looked for, in bytes.
const FURTHEST: usize = 1024 * 1024;

/// The longest name of a tag that matters (`noscript`, `textarea`).
const LONGEST_NAME: usize = 8;

/// Elements whose content is text to the end of the element: tags in it are none.
const RAW: &[&str] = &[
    "script", "style", "title", "textarea", "noscript", "iframe", "xmp", "noembed", "noframes",
];

/// Puts a snippet into one page as it streams.
///
/// It goes in front of `</head>`: the page's title and canonical address are known there, and
/// nothing of the body has been shown. A page may leave that tag out (HTML 13.1.2.4); then it goes
/// in front of `<body`, else to the end of what began as a document. A fragment that is none of
/// this passes as it is.
///
/// The output is the same however the page was cut into chunks, and what is held back is never
/// more than the first ten bytes of a tag.
#[derive(Debug)]
pub struct Injector {
    /// Taken when it went in.
    snippet: Option<Bytes>,
    state: State,
    /// The first bytes of a tag that is not decided yet.
    held: BytesMut,
    seen: usize,
    document: Document,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Document {
    Unknown,
    Whole,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// At the very start: a byte order mark may say UTF-16.
    Start,
    Text,
    /// After `<`, while the name is read: whether it closes, and how many bytes of it.
    Name,
    /// In a tag that goes on: the quote that is open, and the raw element that it opens.
    Tag {
        quote: Option<u8>,
        raw: Option<&'static str>,
    },
    /// In `<!…>` that is no comment.
    Declaration,
    /// In a comment: how many of the dashes of `-->` were just seen.
    Comment {
        dashes: u8,
    },
    /// In a raw element: how much of `</name` was just seen.
    Raw {
        name: &'static str,
        matched: usize,
    },
}

impl Injector {
    /// For one page.
    pub fn new(snippet: Bytes) -> Self {
        Self {
            snippet: Some(snippet),
            state: State::Start,
            held: BytesMut::new(),
            seen: 0,
            document: Document::Unknown,
        }
    }

    /// Whether the snippet went in.
    pub fn is_done(&self) -> bool {
        self.snippet.is_none()
    }

    /// The next bytes of the page; what can go on to the visitor.
    pub fn feed(&mut self, chunk: Bytes) -> Bytes {
        if self.is_done() || self.gave_up() {
            return self.with_held(chunk);
        }
        let data = self.with_held(chunk);
        // Bytes that were held are looked at again: there are ten of them at most.
        let mut tag = None;
        let mut position = 0;
        while let Some(byte) = data.get(position).copied() {
            if self.seen + position >= FURTHEST {
                self.seen = FURTHEST;
                return data;
            }
            if matches!(self.state, State::Text) && byte == b'<' {
                tag = Some(position);
                self.state = State::Name;
                position += 1;
                continue;
            }
            if let State::Name = self.state {
                let start = tag.unwrap_or(position);
                let name = data.get(start + 1..position).unwrap_or_default();
                match decide(name, byte) {
                    Name::Unfinished => {}
                    Name::Here => return self.inject(&data, start),
                    Name::Document(next) => {
                        self.document = Document::Whole;
                        self.state = next;
                    }
                    Name::Other(next) => {
                        self.state = next;
                        // This byte may end the tag, or start another.
                        continue;
                    }
                }
                position += 1;
                continue;
            }
            if let State::Start = self.state {
                if data.len() < 2 {
                    break;
                }
                let utf16 = matches!(data.get(..2), Some([0xfe, 0xff] | [0xff, 0xfe]));
                if utf16 {
                    self.seen = FURTHEST;
                    return data;
                }
                self.state = State::Text;
                continue;
            }
            self.state = step(self.state, byte);
            position += 1;
        }
        let undecided = match self.state {
            State::Start => Some(0),
            State::Name => tag,
            _ => None,
        };
        match undecided {
            Some(start) => {
                self.held = BytesMut::from(data.get(start..).unwrap_or_default());
                if matches!(self.state, State::Name) {
                    self.state = State::Text;
                }
                self.seen += start;
                data.slice(..start.min(data.len()))
            }
            None => {
                self.seen += data.len();
                data
            }
        }
    }

    /// The end of the page; the last bytes of it.
    pub fn finish(&mut self) -> Bytes {
        let mut last = std::mem::take(&mut self.held);
        if self.document == Document::Whole && matches!(self.state, State::Text) && !self.gave_up()
        {
            if let Some(snippet) = self.snippet.take() {
                last.extend_from_slice(&snippet);
            }
        }
        last.freeze()
    }

    fn gave_up(&self) -> bool {
        self.seen >= FURTHEST
    }

    fn with_held(&mut self, chunk: Bytes) -> Bytes {
        if self.held.is_empty() {
            return chunk;
        }
        let mut joined = std::mem::take(&mut self.held);
        joined.extend_from_slice(&chunk);
        joined.freeze()
    }

    fn inject(&mut self, data: &Bytes, at: usize) -> Bytes {
        let snippet = self.snippet.take().unwrap_or_default();
        let (before, after) = data.split_at(at.min(data.len()));
        let mut joined = BytesMut::with_capacity(data.len() + snippet.len());
        joined.extend_from_slice(before);
        joined.extend_from_slice(&snippet);
        joined.extend_from_slice(after);
        joined.freeze()
    }
}

/// What the name of a tag says, when the byte after its first bytes is known.
enum Name {
    Unfinished,
    /// `</head` or `<body`.
    Here,
    /// `<!doctype` or `<html`, and where to go on.
    Document(State),
    Other(State),
}

/// `name` is what stands between `<` and `byte`.
fn decide(name: &[u8], byte: u8) -> Name {
    let tag = State::Tag {
        quote: None,
        raw: None,
    };
    if name.is_empty() {
        return match byte {
            b'!' | b'/' | b'?' => Name::Unfinished,
            _ if byte.is_ascii_alphabetic() => Name::Unfinished,
            // A lone `<` is text.
            _ => Name::Other(State::Text),
        };
    }
    if let Some(rest) = name.strip_prefix(b"!") {
        return declaration(rest, byte);
    }
    if name.starts_with(b"?") {
        return Name::Other(State::Declaration);
    }
    let (closes, rest) = match name.strip_prefix(b"/") {
        Some(rest) => (true, rest),
        None => (false, name),
    };
    if closes && rest.is_empty() && !byte.is_ascii_alphabetic() {
        // `</` and no name: a bogus comment to the next `>`.
        return Name::Other(State::Declaration);
    }
    let ends = byte.is_ascii_whitespace() || matches!(byte, b'>' | b'/');
    if !ends {
        return if rest.len() >= LONGEST_NAME {
            Name::Other(tag)
        } else {
            Name::Unfinished
        };
    }
    let is = |wanted: &str| rest.eq_ignore_ascii_case(wanted.as_bytes());
    if (closes && is("head")) || (!closes && is("body")) {
        return Name::Here;
    }
    if !closes && is("html") {
        return Name::Document(step(tag, byte));
    }
    let raw = RAW.iter().copied().find(|raw| !closes && is(raw));
    Name::Other(State::Tag { quote: None, raw })
}

fn declaration(rest: &[u8], byte: u8) -> Name {
    match (rest, byte) {
        ([], b'-') => Name::Unfinished,
        // `<!-->` and `<!--->` are whole comments (HTML 13.2.5.43), as if two dashes had been seen.
        ([b'-'], b'-') => Name::Other(State::Comment { dashes: 1 }),
        ([b'-'], _) => Name::Other(State::Declaration),
        _ => {
            let expected = b"doctype";
            match expected.get(rest.len()) {
                Some(wanted)
                    if byte.eq_ignore_ascii_case(wanted) && expected.len() > rest.len() + 1 =>
                {
                    Name::Unfinished
                }
                Some(wanted) if byte.eq_ignore_ascii_case(wanted) => {
                    Name::Document(State::Declaration)
                }
                _ => Name::Other(State::Declaration),
            }
        }
    }
}

/// One byte further, outside of names.
fn step(state: State, byte: u8) -> State {
    match state {
        State::Start | State::Name | State::Text => State::Text,
        State::Tag {
            quote: Some(open),
            raw,
        } => State::Tag {
            quote: (byte != open).then_some(open),
            raw,
        },
        State::Tag { quote: None, raw } => match (byte, raw) {
            (b'>', None) => State::Text,
            (b'>', Some(name)) => State::Raw { name, matched: 0 },
            (b'"' | b'\'', _) => State::Tag {
                quote: Some(byte),
                raw,
            },
            _ => state,
        },
        State::Declaration if byte == b'>' => State::Text,
        State::Declaration => state,
        State::Comment { dashes } => match byte {
            b'-' => State::Comment {
                dashes: (dashes + 1).min(2),
            },
            b'>' if dashes == 2 => State::Text,
            _ => State::Comment { dashes: 0 },
        },
        State::Raw { name, matched } => raw(name, matched, byte),
    }
}

/// One byte further in a raw element, which only its own end tag ends.
fn raw(name: &'static str, matched: usize, byte: u8) -> State {
    let again = State::Raw {
        name,
        matched: usize::from(byte == b'<'),
    };
    match matched {
        0 => again,
        1 if byte == b'/' => State::Raw { name, matched: 2 },
        1 => again,
        _ => match name.as_bytes().get(matched - 2) {
            Some(wanted) if byte.eq_ignore_ascii_case(wanted) => State::Raw {
                name,
                matched: matched + 1,
            },
            Some(_) => again,
            None if byte == b'>' => State::Text,
            None if byte.is_ascii_whitespace() || byte == b'/' => State::Tag {
                quote: None,
                raw: None,
            },
            None => again,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SNIPPET: &str = "[SNIPPET]";

    fn run(page: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut injector = Injector::new(Bytes::from_static(SNIPPET.as_bytes()));
        let mut output = Vec::new();
        let mut from = 0;
        for to in cuts.iter().copied().chain([page.len()]) {
            output.extend_from_slice(&injector.feed(Bytes::copy_from_slice(&page[from..to])));
            from = to;
        }
        output.extend_from_slice(&injector.finish());
        output
    }

    /// Pages with `@` where the snippet belongs.
    const PAGES: &[&str] = &[
        "<!doctype html><html><head><title>x</title>@</head><body>y</body></html>",
        "<!DOCTYPE HTML><HTML><HEAD><TITLE>x</TITLE>@</HEAD ><BODY>",
        "<html><head>@</head\n><body>",
        "<head>@</head/><body>",
        "<html><header>no</header>@</head>",
        "<html><head><title></head></title><style>a{}</head></style>@</head>",
        "<html><head><script>var a='</head>'; if(a<b){}</script>@</head>",
        "<html><head><script src=\"a>b\"></script>@</head>",
        "<html><head><script src='</script>'>x</head></script >@</head>",
        "<html><head><!-- </head> -- > --->@</head>",
        "<html><head><!--></head> -->".trim_ascii(),
        "<html><head><noscript><img></head></noscript>@</head>",
        "<html><head><meta content='</head>' x=\"</head>\">@</head>",
        "<html><head><meta a=b>x < y <3 <<@</head>",
        "<html><title>no head</title>@<body class=a>",
        "<!doctype html><title>nothing</title><p>but text</p>@",
        "<!doctype html><title>cut</ti",
        "<p>a fragment</p>",
        "{\"json\": \"</hea\"}",
        "",
        "<",
        "<html",
        "<html>@",
        "<html></>@</head>",
        "<html><?php </head> ?>@</head>",
        "<html><![CDATA[ </head> ]]>@</head>",
        "<html><head><scripty></head2>@</head>",
        "\u{feff}<html><head>é@</head>",
    ];

    /// The third comment page: `<!-->` is a whole comment, so the head ends right after it.
    fn expected(page: &str) -> (String, String) {
        if page.starts_with("<html><head><!--></head>") {
            return (
                page.to_owned(),
                page.replacen("</head>", &format!("{SNIPPET}</head>"), 1),
            );
        }
        (page.replace('@', ""), page.replace('@', SNIPPET))
    }

    #[test]
    fn the_snippet_stands_at_the_end_of_the_head_however_the_page_is_cut() {
        let mut wrong = Vec::new();
        for page in PAGES {
            let (page, expected) = expected(page);
            let bytes = page.as_bytes();
            let mut ways: Vec<Vec<usize>> = vec![vec![], (0..bytes.len()).collect()];
            ways.extend((0..bytes.len()).map(|cut| vec![cut]));
            for (first, second) in (0..bytes.len()).step_by(3).zip((0..bytes.len()).skip(5)) {
                ways.push(vec![first.min(second), first.max(second)]);
            }
            for cuts in ways {
                let output = String::from_utf8_lossy(&run(bytes, &cuts)).into_owned();
                if output != expected {
                    wrong.push(format!("{page:?} cut at {cuts:?}: {output:?}"));
                    break;
                }
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn utf_16_passes_as_it_is() {
        for mark in [[0xfe, 0xff], [0xff, 0xfe]] {
            let mut page = mark.to_vec();
            page.extend_from_slice(b"<html><head></head>");
            for cut in 0..page.len() {
                assert_eq!(run(&page, &[cut]), page);
            }
        }
    }

    #[test]
    fn a_page_without_an_end_of_its_head_passes_and_little_is_held_back() {
        let mut injector = Injector::new(Bytes::from_static(SNIPPET.as_bytes()));
        let mut fed = 0;
        let mut got = 0;
        let chunk = Bytes::from("<html><head>".to_owned() + &"<meta a='b'>".repeat(1_000));
        while fed < 2 * FURTHEST {
            fed += chunk.len();
            got += injector.feed(chunk.clone()).len();
            assert!(fed - got <= LONGEST_NAME + 2);
        }
        got += injector.feed(Bytes::from_static(b"</head>")).len();
        assert_eq!(got, fed + 7);
        assert!(!injector.is_done());
    }

    #[test]
    fn where_looking_stops_does_not_depend_on_the_chunks() {
        let page = |before: usize| {
            let mut page = b"<html>".to_vec();
            page.resize(before, b'x');
            page.extend_from_slice(b"</head>");
            page
        };
        let inside = page(FURTHEST - 7);
        let cut = page(FURTHEST - 3);
        for cuts in [vec![], vec![FURTHEST - 1], vec![1_000, FURTHEST - 2]] {
            assert_eq!(
                run(&inside, &cuts).len(),
                inside.len() + SNIPPET.len(),
                "{cuts:?}"
            );
            assert_eq!(run(&cut, &cuts), cut, "{cuts:?}");
        }
    }

    #[test]
    fn only_the_first_head_gets_it_and_the_rest_passes_untouched() {
        let page = b"<html><head></head><body></head></body></html>";
        let output = run(page, &[20]);
        assert_eq!(
            output
                .windows(SNIPPET.len())
                .filter(|part| *part == SNIPPET.as_bytes())
                .count(),
            1
        );
        let mut injector = Injector::new(Bytes::from_static(b"x"));
        injector.feed(Bytes::from_static(b"<html></head>"));
        let chunk = Bytes::from_static(b"abc<");
        assert_eq!(injector.feed(chunk.clone()).as_ptr(), chunk.as_ptr());
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_in_any_chunks_give_the_whole_pages_output(
            page in proptest::collection::vec(proptest::sample::select(b"<>/!-'\"= headboytscrip".to_vec()), 0..120),
            cuts in proptest::collection::vec(0usize..120, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(page.len())).collect();
            cuts.sort_unstable();
            let whole = run(&page, &[]);
            proptest::prop_assert_eq!(&run(&page, &cuts), &whole);
            let text = String::from_utf8(whole).unwrap();
            proptest::prop_assert_eq!(text.replacen(SNIPPET, "", 1).into_bytes(), page);
        }
    }
}
