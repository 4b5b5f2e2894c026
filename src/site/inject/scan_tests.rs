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
    "<html><head><!-- </head> --!>@</head>",
    "<html><head><!--!></head> <!--- </head> --->@</head>",
    "<html><head><!-- --!</head> --!--!-->@</head>",
    "<html><head><meta content=\"a 5\" screen\">@</head><body class=\"x\">",
    "<html><head><link href=it's title = '</head>'>@</head><body>don't",
    "<html><head><link href=/a?b=\"c>@</head><body id=\"d\">",
    "<html><head><script><!-- w(\"<script></script>\"); \"</head>\" --></script>@</head>",
    "<html><head><script><!-- w('<scripts></head>') </script>@</head>",
    "<html><head><script><!--> w('<script>') </SCRIPT >@</head>",
    "<html><head><script><!-- <script --> '</head>' </script>@</head>",
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

/// Returns a page without its `@`, and the expected output. In the page that has no `@`, `<!-->` is
/// a whole comment, so the snippet belongs right after it.
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
fn the_snippet_is_at_the_end_of_the_head_for_every_cut() {
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
fn the_end_of_the_search_does_not_depend_on_the_chunks() {
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
