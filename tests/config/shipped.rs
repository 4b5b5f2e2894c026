use super::{read, with, Answers, SHORTEST};
use hedgerow::config::Config;
use std::path::Path;
use std::time::Duration;

/// Every file of `conf/`, with its name.
pub fn files() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().extension().is_some_and(|end| end == "yaml"))
        .map(|entry| {
            let name = entry.file_name().to_string_lossy().into_owned();
            (name, std::fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    files.sort();
    files
}

pub fn shipped(name: &str) -> Config {
    let (_, text) = files().into_iter().find(|(file, _)| file == name).unwrap();
    Config::parse(&text, &Answers).unwrap().0
}

#[test]
fn every_shipped_file_is_free_of_mistakes_and_warnings() {
    let files = files();
    assert!(files.len() >= 5, "{files:?}");
    for (name, text) in files {
        if cfg!(not(feature = "nats")) && name == "several-machines.yaml" {
            let problems = Config::parse(&text, &Answers).unwrap_err();
            assert!(problems.to_string().contains("feature nats"), "{problems}");
            continue;
        }
        match Config::parse(&text, &Answers) {
            Ok((_, warnings)) => assert!(warnings.is_empty(), "{name}: {warnings:?}"),
            Err(problems) => panic!("{name}:\n{problems}"),
        }
    }
}

#[test]
fn the_default_file_shows_the_defaults() {
    let (shortest, _) = read(SHORTEST).unwrap();
    let mut shipped = shipped("hedgerow.yaml");
    // The only setting of the file that is not the default.
    let spool = shipped.delivery.spool.take().expect("it is on");
    let folder = spool.place.backend().folder();
    assert!(
        folder.is_some_and(|folder| folder.ends_with("spool")),
        "{spool:?}"
    );
    assert_eq!(
        (spool.max_size, spool.max_age),
        (1 << 30, Duration::from_secs(7 * 86_400))
    );
    assert_eq!(shipped, shortest);
}

#[test]
fn the_defaults_are_the_documented_ones() {
    let (config, _) = read(SHORTEST).unwrap();
    assert_eq!(config.listen.len(), 1);
    assert_eq!(config.listen[0].address.to_string(), "127.0.0.1:8080");
    assert_eq!((config.admin, config.trusted_proxies.len()), (None, 0));
    assert_eq!(config.limits.body, 10 * 1024 * 1024);
    assert_eq!(config.limits.memory, 256 * 1024 * 1024);
    assert_eq!(config.limits.connections, 10_000);
    assert_eq!(config.limits.connections_per_client, 2_500);
    assert_eq!(config.bounds.window, 1024 * 1024);
    assert_eq!(config.bounds.event, 900_000);
    assert_eq!(config.delivery.connect_timeout, Duration::from_secs(3));
    assert_eq!(config.delivery.timeout, Duration::from_secs(15));
    assert_eq!(config.delivery.spool, None);
    assert_eq!(config.server.threads, 2);
    assert_eq!(config.server.grace, Duration::from_secs(5));
    assert_eq!(config.mapping, hedgerow::rewrite::Mapping::default());
    assert_eq!(config.mapping.group_type, "segment_group");
    assert_eq!(config.mapping.mode, hedgerow::rewrite::Mode::Enriched);
}

#[test]
fn every_section_is_read() {
    let (config, warnings) = read(&with(
        "listen: [0.0.0.0:80, '[::1]:0', {address: 0.0.0.0:443, tls: {certificate: c.pem, key: k.pem}}]
trusted_proxies: [10.1.2.3/8, '::1']
mapping: {integrations: ignore}
limits: {body: 500kB, event: 4096, memory: 1GiB, connections: 100}
delivery: {connect_timeout: 500ms, timeout: 2m}
server: {threads: 4, grace: 0s}
",
    ))
    .unwrap();
    assert!(warnings.is_empty(), "{warnings:?}");
    let listen: Vec<_> = config
        .listen
        .iter()
        .map(|listener| listener.address.to_string())
        .collect();
    assert_eq!(listen, ["0.0.0.0:80", "[::1]:0", "0.0.0.0:443"]);
    let tls = config.listen[2].certificate_files().next().unwrap();
    assert_eq!(tls.certificate, Path::new("/folder/c.pem"));
    assert_eq!(tls.key, Path::new("/folder/k.pem"));
    let networks: Vec<_> = config
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(networks, ["10.0.0.0/8", "::1/128"]);
    assert_eq!(
        config.mapping.integrations,
        hedgerow::rewrite::Integrations::Ignore
    );
    assert_eq!(
        (config.limits.body, config.limits.memory),
        (500_000, 1 << 30)
    );
    assert_eq!(
        (
            config.limits.connections,
            config.limits.connections_per_client
        ),
        (100, 25)
    );
    // The default window fits into the body limit.
    assert_eq!((config.bounds.window, config.bounds.event), (500_000, 4096));
    assert_eq!(config.delivery.connect_timeout, Duration::from_millis(500));
    assert_eq!(config.delivery.timeout, Duration::from_secs(120));
    assert_eq!(
        (config.server.threads, config.server.grace),
        (4, Duration::ZERO)
    );
}

#[test]
fn sections_may_be_left_empty_and_anchors_be_used() {
    let text = with("mapping:\nlimits: &size {body: 1MiB}\ndelivery:\n  # timeout: 1s\n");
    assert!(read(&text).is_ok());
    let text = "\
projects:
  one: &project {host: eu, api_key: env:KEY}
  two: *project
routes:
  - {path: /1, segment: {project: one}}
  - {path: /2, segment: {project: two}}
";
    let (config, _) = read(text).unwrap();
    assert_eq!(
        config.project("one").unwrap().host,
        config.project("two").unwrap().host
    );
}

#[test]
fn key_files_are_read_relative_to_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hedgerow.yaml");
    std::fs::write(folder.path().join("shop.key"), " phc_beside \n").unwrap();
    std::fs::write(&path, SHORTEST.replace("env:KEY", "file:shop.key")).unwrap();
    let (config, _) = Config::load(&path).unwrap();
    assert_eq!(config.projects[0].api_key.expose(), "phc_beside");
}

#[test]
fn valid_but_unlikely_settings_are_warnings() {
    for (text, path) in [
        (with("trusted_proxies: [0.0.0.0/0]"), "trusted_proxies[0]"),
        (with("privacy: {hash: [email]}"), "privacy.hash"),
        (with("admin: 0.0.0.0:9090"), "admin"),
        (
            SHORTEST.replace("env:KEY", "old_key"),
            "projects.shop.api_key",
        ),
        (
            SHORTEST.replace("routes:", "  more: {host: eu, api_key: env:KEY}\nroutes:"),
            "projects.more",
        ),
        (
            SHORTEST.replace("path: /hr/", "path: /hr/\n    host: a:80"),
            "routes[0].host",
        ),
    ] {
        let (_, warnings) = read(&text).unwrap();
        let paths: Vec<_> = warnings
            .iter()
            .map(|warning| warning.path.as_str())
            .collect();
        assert_eq!(paths, [path], "{text}");
        let rendered = hedgerow::config::render_warnings(&warnings, "x.yaml");
        assert!(
            rendered.starts_with("x.yaml:") && rendered.contains(": warning: "),
            "{rendered}"
        );
    }
}

#[test]
fn the_live_view_is_open_only_to_this_machine() {
    use hedgerow::admin::LiveView;
    for (admin, expected) in [
        ("127.0.0.1:9090", "Open"),
        ("{address: \"[::1]:9090\", live: on}", "Open"),
        ("{address: 127.0.0.1:9090, live: off}", "Off"),
        ("0.0.0.0:9090", "Off"),
        ("{address: \"10.0.0.5:9090\"}", "Off"),
        (
            "{address: 10.0.0.5:9090, token: 0123456789abcdef}",
            "Token(Token(…))",
        ),
        (
            "{address: 127.0.0.1:9090, token: 0123456789abcdef}",
            "Token(Token(…))",
        ),
    ] {
        let (config, _) = read(&with(&format!("admin: {admin}"))).unwrap();
        assert!(config.admin.is_some(), "{admin}");
        assert_eq!(format!("{:?}", config.live), expected, "{admin}");
    }
    assert_eq!(read(&with("admin: off")).unwrap().0.live, LiveView::Off);
}
