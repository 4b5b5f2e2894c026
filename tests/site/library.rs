//! analytics.js from one pinned archive: Hedgerow fetches it once, stores it, and replaces it
//! without breaking pages.

use std::path::Path;

use hedgerow::proxy::{check_libraries, fetch_libraries, FetchError};
use hedgerow::site::Sha256;

use super::package::files;
use super::support::address::dead_url;
use super::support::client::{post, Client};
use super::support::proxy::{config, yaml, PostHog, Proxy};
use super::support::recorder::{Act, Recorder};
use super::support::{eventually, track};

/// The package as one file, with this code in a chunk.
fn package(code: &str) -> Vec<u8> {
    let packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(packer);
    for (name, text) in files(code) {
        let mut header = tar::Header::new_ustar();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        let path = format!("package/dist/umd/{name}");
        tar.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

async fn serving(package: Vec<u8>) -> Recorder {
    Recorder::that(move |_| {
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n",
            package.len()
        );
        Act::Answer([head.as_bytes(), &package].concat())
    })
    .await
}

fn fetching(posthog: &str, from: &str, hash: &Sha256, keep: &Path, more: &str) -> String {
    yaml(posthog).replace(
        "write_keys: any}",
        &format!(
            "write_keys: any, library: {{url: \"{from}/analytics-next-9.8.7.tgz\", sha256: {hash}, \
             keep: \"{}\", script: fq7dk2, settings: sz4mwp, chunks: ch8tvn, calls: qn5rzd{more}}}}}",
            keep.display()
        ),
    )
}

/// The status of the script, and of a call.
async fn statuses(proxy: &Proxy) -> (u16, u16) {
    let mut client = Client::connect(proxy.address).await;
    let script = client.exchange(&super::get("/hr/fq7dk2.js", "")).await;
    let call = post("/hr/qn5rzd/t", "", track("1", 200).as_bytes());
    (script.status, client.exchange(&call).await.status)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_library_is_fetched_once_and_calls_never_wait_for_it() {
    let (posthog, package) = (PostHog::start().await, package("two()"));
    let hash = Sha256::of(&package);
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("kept");
    // A host that refuses connections, and one that never answers: both for longer than a call
    // takes.
    let silent = Recorder::early(|_| Some(Act::Silence)).await;
    for away in [dead_url(), silent.url()] {
        let proxy = Proxy::start(&fetching(&posthog.url(), &away, &hash, &keep, "")).await;
        for _ in 0..3 {
            assert_eq!(statuses(&proxy).await, (503, 200), "{away}");
        }
        let mut client = Client::connect(proxy.address).await;
        let answer = client.exchange(&super::get("/hr/fq7dk2.js", "")).await;
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("retry-after"), "10");
    }
    let source = serving(package).await;
    let yaml = fetching(&posthog.url(), &source.url(), &hash, &keep, "");
    let proxy = Proxy::start(&yaml).await;
    assert_eq!(statuses(&proxy).await, (503, 200));
    let file = keep.join(format!("{hash}.tgz"));
    eventually("it is kept", || file.exists().then_some(())).await;
    let start = std::time::Instant::now();
    while statuses(&proxy).await != (200, 200) {
        assert!(start.elapsed() < super::support::DEADLINE);
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    let asked = source.seen();
    assert_eq!(asked.len(), 1);
    assert!(asked[0]
        .head
        .starts_with("GET /analytics-next-9.8.7.tgz HTTP/1.1\r\n"));
    // From here on Hedgerow fetches nothing, whichever host is away.
    let away = dead_url();
    let yaml = fetching(&posthog.url(), &away, &hash, &keep, "");
    fetch_libraries(&config(&yaml)).await.unwrap();
    check_libraries(&config(&yaml)).unwrap();
    assert_eq!(statuses(&Proxy::start(&yaml).await).await, (200, 200));
    // Hedgerow fetches a damaged file again.
    std::fs::write(&file, b"damaged").unwrap();
    assert_eq!(statuses(&Proxy::start(&yaml).await).await, (503, 200));
    let yaml = fetching(&posthog.url(), &source.url(), &hash, &keep, "");
    fetch_libraries(&config(&yaml)).await.unwrap();
    assert_eq!(statuses(&Proxy::start(&yaml).await).await, (200, 200));
    assert_eq!(source.seen().len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_file_than_the_pinned_one_is_refused_and_not_kept() {
    let (posthog, wanted) = (PostHog::start().await, package("two()"));
    let pinned = Sha256::of(&wanted);
    let other = serving(package("evil()")).await;
    let folder = tempfile::tempdir().unwrap();
    let keep = folder.path().join("kept");
    let yaml = fetching(&posthog.url(), &other.url(), &pinned, &keep, "");
    let error = fetch_libraries(&config(&yaml)).await.unwrap_err();
    assert!(matches!(error, FetchError::Wrong { .. }), "{error}");
    let proxy = Proxy::start(&yaml).await;
    for _ in 0..3 {
        assert_eq!(statuses(&proxy).await, (503, 200));
    }
    assert!(!keep.exists(), "nothing is kept");
    // The commands report it with both hashes before the server listens.
    let file = folder.path().join("hedgerow.yaml");
    std::fs::write(&file, format!("listen: \"127.0.0.1:0\"\n{yaml}")).unwrap();
    for command in ["check", "run"] {
        let file = file.clone();
        let ended = tokio::task::spawn_blocking(move || {
            std::process::Command::new(env!("CARGO_BIN_EXE_hedgerow"))
                .args([command, "-c"])
                .arg(file)
                .output()
                .unwrap()
        });
        let ended = ended.await.unwrap();
        let said = String::from_utf8(ended.stderr).unwrap();
        assert_eq!(ended.status.code(), Some(2), "{command}: {said}");
        assert!(said.contains(&pinned.to_string()), "{command}: {said}");
        assert!(said.contains("SHA-256 is"), "{command}: {said}");
    }
    let status = Recorder::that(|_| {
        Act::Answer(super::support::recorder::response("404 Not Found", "", ""))
    })
    .await;
    let yaml = fetching(&posthog.url(), &status.url(), &pinned, &keep, "");
    let error = fetch_libraries(&config(&yaml)).await.unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_from_before_an_upgrade_still_find_their_chunks() {
    let posthog = PostHog::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (package("two()"), package("three()"));
    let (before, now) = (Sha256::of(&old), Sha256::of(&new));
    let chunk = |library: hedgerow::site::Library| -> String {
        let mut names = library
            .chunk_names()
            .filter(|name| name.starts_with("407."));
        names
            .find(|name| !name.contains("bundle"))
            .unwrap()
            .to_owned()
    };
    let layout = hedgerow::site::Layout::new("/hr/", "fq7dk2", "sz4mwp", "ch8tvn", "qn5rzd");
    let layout = layout.unwrap();
    let name = |package: &[u8], hash: &Sha256| {
        chunk(
            hedgerow::site::Library::from_archive(
                package,
                hash,
                &layout,
                hedgerow::site::PageSessions::Off,
            )
            .unwrap(),
        )
    };
    let (old_name, new_name) = (name(&old, &before), name(&new, &now));
    assert_ne!(old_name, new_name);
    for (package, hash, more) in [
        (old, &before, String::new()),
        (new, &now, format!(", previous: [{before}]")),
    ] {
        let source = serving(package).await;
        let yaml = fetching(&posthog.url(), &source.url(), hash, folder.path(), &more);
        fetch_libraries(&config(&yaml)).await.unwrap();
        let proxy = Proxy::start(&yaml).await;
        let mut client = Client::connect(proxy.address).await;
        let path = format!("/hr/ch8tvn/{old_name}");
        let answer = client.exchange(&super::get(&path, "")).await;
        assert_eq!(
            (answer.status, answer.body.as_slice()),
            (200, &b"two()"[..])
        );
        assert!(answer.header("cache-control").contains("immutable"));
        let path = format!("/hr/ch8tvn/{new_name}");
        let answer = client.exchange(&super::get(&path, "")).await;
        let expected = if more.is_empty() { 404 } else { 200 };
        assert_eq!(answer.status, expected);
    }
}
