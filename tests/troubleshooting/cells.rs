//! Reads the cells of the table and compares them.

/// One row.
#[derive(Debug)]
pub struct Row {
    pub trouble: String,
    pub log: Vec<String>,
    pub metrics: Vec<String>,
    pub health: Vec<String>,
    pub live: Vec<String>,
    pub advice: String,
}

/// The rows of the table whose first column is `Trouble`.
pub fn rows(document: &str) -> Vec<Row> {
    let lines = document
        .lines()
        .skip_while(|line| !line.starts_with("| Trouble |"));
    let lines = lines.skip(2).take_while(|line| line.starts_with('|'));
    let rows = lines.map(|line| {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let [trouble, log, metrics, health, live, advice] = cells[..] else {
            panic!("six cells: {line}");
        };
        Row {
            trouble: trouble.to_owned(),
            log: spans(log),
            metrics: spans(metrics),
            health: spans(health),
            live: spans(live),
            advice: advice.to_owned(),
        }
    });
    rows.collect()
}

/// The code in a cell: the text between two backquotes, or between two pairs of them.
fn spans(cell: &str) -> Vec<String> {
    let mut spans = Vec::new();
    let mut rest = cell;
    while let Some(start) = rest.find('`') {
        let mark = if rest[start..].starts_with("``") {
            "``"
        } else {
            "`"
        };
        let inside = &rest[start + mark.len()..];
        let end = inside.find(mark).unwrap_or_else(|| panic!("{cell}"));
        spans.push(inside[..end].trim().to_owned());
        rest = &inside[end + mark.len()..];
    }
    spans
}

/// Whether the text contains the pieces of the pattern in order; `…` stands for any text.
pub fn holds(text: &str, pattern: &str) -> bool {
    let mut rest = text;
    pattern
        .split('…')
        .map(str::trim)
        .all(|piece| match rest.split_once(piece) {
            Some((_, after)) => {
                rest = after;
                true
            }
            None => false,
        })
}

/// Whether a value of the metrics meets `name{labels} = 1`, `> 1` or `< 1`; `now` is the time.
pub fn has_value(metrics: &str, said: &str) -> bool {
    let (name, relation, bound) = [" = ", " > ", " < "]
        .iter()
        .find_map(|sign| {
            let (name, bound) = said.rsplit_once(sign)?;
            Some((name, sign.trim(), bound))
        })
        .unwrap_or_else(|| panic!("no value: {said}"));
    let bound: f64 = match bound {
        "now" => chrono::Utc::now().timestamp() as f64,
        number => number.parse().unwrap_or_else(|_| panic!("{said}")),
    };
    metrics.lines().any(|line| {
        let Some((series, value)) = line.rsplit_once(' ') else {
            return false;
        };
        let first = name.split('…').next().unwrap_or_default();
        let is_it = series.starts_with(first) && holds(series, name);
        let whole = name.contains('…') || series == name;
        let value: f64 = value.parse().unwrap_or(f64::NAN);
        let compares = match relation {
            "=" => value == bound,
            ">" => value > bound,
            _ => value < bound,
        };
        is_it && whole && compares
    })
}

#[test]
fn cells_are_read_and_compared() {
    assert_eq!(spans("`a`, ``b `c` d``; `e`"), ["a", "b `c` d", "e"]);
    assert!(holds("x: one, two and three", "one, … three"));
    assert!(!holds("x: three, one", "one … three"));
    for (said, is_so) in [
        ("m{a=\"b\"} = 1", true),
        ("m{a=\"b\"} > 0", true),
        ("m{a=\"b\"} < 1", false),
        ("m = 1", false),
        ("m{a=\"…\"} = 1", true),
        ("n < now", true),
    ] {
        assert_eq!(has_value("m{a=\"b\"} 1\nn 2", said), is_so, "{said}");
    }
}
