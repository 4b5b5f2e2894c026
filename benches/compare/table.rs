//! The tables of docs/performance.md.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use crate::measure::Sum;
use crate::subjects::Kind;
use crate::work::Size;
use crate::Results;

const BEGIN: &str = "<!-- make compare: begin -->";
const END: &str = "<!-- make compare: end -->";

/// All tables as Markdown.
pub fn all(results: &Results) -> String {
    let mut text = String::new();
    let date = chrono::Utc::now().format("%-d %B %Y");
    let versions: Vec<String> = {
        let mut versions: Vec<String> = results.kinds.iter().map(|kind| kind.version()).collect();
        versions.dedup();
        versions
    };
    writeln!(
        text,
        "Printed by `make compare` on {date}: {}. {}.\n",
        machine(),
        versions.join(", ")
    )
    .unwrap();
    open(&mut text, results);
    latency(&mut text, results);
    other_pages(&mut text, results);
    closed(&mut text, results);
    half(&mut text, results);
    large(&mut text, results);
    text.trim_end().to_owned() + "\n"
}

fn events(size: Size) -> &'static str {
    match size {
        Size::One => "1 event",
        Size::Twenty => "20 events",
        Size::ThreeHundred => "300 events",
    }
}

fn heads(sizes: &[(Size, usize, Vec<Sum>)]) -> String {
    let mut heads = String::new();
    for (size, length, _) in sizes {
        let length = *length as f64 / 1_000.0;
        let places = usize::from(length < 10.0);
        write!(heads, " {}, {length:.places$} kB |", events(*size)).unwrap();
    }
    heads
}

fn open(text: &mut String, results: &Results) {
    let rates: Vec<String> = Size::ALL
        .iter()
        .map(|size| format!("{:.0}", size.rate()))
        .collect();
    writeln!(
        text,
        "CPU time of the proxy for a request, user and system, in µs, at {} requests a second; in \
         brackets as a multiple of Pingora's.\n",
        rates.join(", ")
    )
    .unwrap();
    costs(text, &results.kinds, &results.open);
}

/// The same table for the load with every event from another page.
fn other_pages(text: &mut String, results: &Results) {
    let kinds = results.kinds.iter().copied();
    let kinds: Vec<Kind> = kinds.filter(|kind| kind.gets_other_pages()).collect();
    writeln!(
        text,
        "Every event from another page: CPU time for a request as in the first table, at the same \
         rates and sizes, if the address, the path and the title of the page differ in each event.\n"
    )
    .unwrap();
    costs(text, &kinds, &results.other_pages);
}

/// CPU time of each request, by subject and size.
fn costs(text: &mut String, kinds: &[Kind], sizes: &[(Size, usize, Vec<Sum>)]) {
    writeln!(text, "| |{}\n|---|---:|---:|---:|", heads(sizes)).unwrap();
    let base = kinds.iter().position(|kind| *kind == Kind::Pingora);
    for (at, kind) in kinds.iter().enumerate() {
        write!(text, "| {} |", kind.name()).unwrap();
        for (_, _, sums) in sizes {
            let cost = sums[at].cost();
            match base {
                Some(base) if base != at => {
                    write!(text, " {cost:.0} ({:.2}) |", sums[at].ratio(&sums[base])).unwrap();
                }
                _ => write!(text, " {cost:.0} |").unwrap(),
            }
        }
        writeln!(text).unwrap();
    }
    writeln!(text).unwrap();
}

fn latency(text: &mut String, results: &Results) {
    writeln!(text, "Time from a request to its answer under the same load, in ms: the median, then the 99th percentile.\n").unwrap();
    writeln!(text, "| |{}\n|---|---:|---:|---:|", heads(&results.open)).unwrap();
    for (at, kind) in results.kinds.iter().enumerate() {
        write!(text, "| {} |", kind.name()).unwrap();
        for (_, _, sums) in &results.open {
            write!(text, " {} |", both(&sums[at])).unwrap();
        }
        writeln!(text).unwrap();
    }
    writeln!(text).unwrap();
}

fn both(sum: &Sum) -> String {
    let [half, most] = [50.0, 99.0].map(|part| sum.percentile(part).as_secs_f64() * 1e3);
    format!("{half:.2}, {most:.2}")
}

fn closed(text: &mut String, results: &Results) {
    let Some((_, singles)) = results.closed.first() else {
        return;
    };
    writeln!(
        text,
        "64 clients send one request after the other, with one event in each. The proxy, the clients \
         and the stand-in together use the whole machine:\n"
    )
    .unwrap();
    writeln!(
        text,
        "| | CPU time of an event, µs | events a second for each core of the proxy | events in each request to PostHog |\n\
         |---|---:|---:|---:|"
    )
    .unwrap();
    for (kind, sum) in singles {
        let cost = sum.cost_of_event();
        let gathered = sum.events as f64 / sum.upstream.max(1) as f64;
        writeln!(
            text,
            "| {} | {cost:.1} | {} | {gathered:.1} |",
            kind.name(),
            thousands(1e6 / cost)
        )
        .unwrap();
    }
    writeln!(
        text,
        "\nEvents a second for each core, by size of the request:\n"
    )
    .unwrap();
    by_core(text, results);
    writeln!(text).unwrap();
}

/// Events a second for one core.
fn by_core(text: &mut String, results: &Results) {
    writeln!(text, "| |{}\n|---|---:|---:|---:|", heads(&results.open)).unwrap();
    for kind in &results.kinds {
        let costs = results.closed.iter().map(|(_, sums)| {
            let sum = sums.iter().find(|(one, _)| one == kind);
            sum.map(|(_, sum)| sum.cost_of_event())
        });
        let Some(costs) = costs.collect::<Option<Vec<f64>>>() else {
            continue;
        };
        write!(text, "| {} |", kind.name()).unwrap();
        for cost in costs {
            write!(text, " {} |", thousands(1e6 / cost)).unwrap();
        }
        writeln!(text).unwrap();
    }
}

fn half(text: &mut String, results: &Results) {
    writeln!(
        text,
        "One event in each request, at half of the rate that the 64 clients reached:\n"
    )
    .unwrap();
    writeln!(
        text,
        "| | requests a second | median and 99th percentile, ms |\n|---|---:|---:|"
    )
    .unwrap();
    for (kind, sum) in &results.half {
        let rate = thousands(sum.events_per_second());
        writeln!(text, "| {} | {rate} | {} |", kind.name(), both(sum)).unwrap();
    }
    writeln!(text).unwrap();
}

fn large(text: &mut String, results: &Results) {
    if results.large.is_empty() {
        return;
    }
    writeln!(
        text,
        "This table shows whether an event costs more in a larger configuration: one event in each \
         request, 1,000 requests a second, `mode: reference`, no spool.\n"
    )
    .unwrap();
    writeln!(
        text,
        "| | CPU time of an event, µs | as a multiple of the first row |\n|---|---:|---:|"
    )
    .unwrap();
    let (_, first) = &results.large[0];
    for (name, sum) in &results.large {
        let ratio = sum.ratio(first);
        writeln!(text, "| {name} | {:.1} | {ratio:.2} |", sum.cost_of_event()).unwrap();
    }
    writeln!(text).unwrap();
}

/// Three significant digits, with commas.
fn thousands(value: f64) -> String {
    let unit = 10f64
        .powf(value.abs().max(1.0).log10().floor() - 2.0)
        .max(1.0);
    let digits = format!("{:.0}", (value / unit).round() * unit);
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// The processor, its cores and the system, without anything that identifies this machine.
fn machine() -> String {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpus.lines().find(|line| line.starts_with(name));
        line.and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    let model = field("model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let virtual_machine = match field("flags") {
        Some(flags) if flags.split(' ').any(|flag| flag == "hypervisor") => "virtual machine, ",
        _ => "",
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let system = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let system: Vec<&str> = system.trim().split(['.', '-']).take(2).collect();
    format!(
        "{virtual_machine}{cores} cores of {model}, Linux {}",
        system.join(".")
    )
}

/// Puts the tables between the markers of docs/performance.md, and those about sizing between the
/// markers of the README.
pub fn write(text: &str, results: &Results) {
    between_markers("docs/performance.md", text);
    let mut short = format!("Events a second for each core, on: {}.\n\n", machine());
    by_core(&mut short, results);
    between_markers("README.md", &short);
}

fn between_markers(name: &str, text: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    let old = fs::read_to_string(&file).unwrap();
    let parts = old.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.unwrap_or_else(|| panic!("{name} has no markers"));
    fs::write(&file, format!("{before}{BEGIN}\n{text}{END}{after}")).unwrap();
    println!("Written to {name}.");
}
