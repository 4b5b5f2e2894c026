use hedgerow::admin::metrics::{metrics, reference};

use super::file;

const PAGE: &str = "docs/metrics.md";
const BEGIN: &str = "<!-- generated -->\n";
const END: &str = "<!-- /generated -->";

#[test]
fn the_page_of_metrics_matches_the_code() {
    let page = file(PAGE);
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (written, after) = rest.split_once(END).unwrap();
    let generated = reference();
    if std::env::var_os("HEDGEROW_WRITE_DOCS").is_some() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
        std::fs::write(path, format!("{before}{BEGIN}{generated}{END}{after}")).unwrap();
        return;
    }
    let missing: Vec<&str> = generated
        .lines()
        .filter(|line| !written.contains(line))
        .collect();
    assert!(
        written == generated,
        "{PAGE} is not what the code has; HEDGEROW_WRITE_DOCS=1 cargo test --test docs metrics \
         writes it. Not in it: {missing:#?}"
    );
}

#[test]
fn every_metric_that_is_named_anywhere_in_the_documents_exists() {
    let mut unknown = Vec::new();
    for name in [
        "README.md",
        PAGE,
        "docs/operations.md",
        "docs/troubleshooting.md",
        "docs/delivery.md",
        "docs/installation.md",
        "docs/performance.md",
    ] {
        let document = file(name);
        for (start, _) in document.match_indices("hedgerow_") {
            let rest = &document[start..];
            let end = rest.find(|sign: char| !(sign.is_ascii_alphanumeric() || sign == '_'));
            let metric = &rest[..end.unwrap_or(rest.len())];
            // The event of `doctor`, and what a histogram is made of.
            let base = ["_bucket", "_sum", "_count"];
            let base = base.iter().find_map(|end| metric.strip_suffix(end));
            let known = [Some(metric), base].into_iter().flatten();
            let mut known = known.filter(|name| metrics().any(|one| one.name == *name));
            if metric != "hedgerow_doctor" && known.next().is_none() {
                unknown.push(format!("{name}: {metric}"));
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}
