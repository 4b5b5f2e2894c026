//! The first steps of a user: the three layouts of `init`, how commands find the file, and how they
//! report mistakes.

use std::path::Path;
use std::process::{Command, Stdio};

use super::{hedgerow, CommandOutput};

/// Runs the command in this folder with only these variables.
fn there(folder: &Path, variables: &[(&str, &str)], arguments: &[&str]) -> CommandOutput {
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(arguments)
        .current_dir(folder)
        .env_remove("HEDGEROW_CONFIG")
        .env_remove("POSTHOG_API_KEY")
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    CommandOutput {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).unwrap(),
        err: String::from_utf8(output.stderr).unwrap(),
    }
}

const KEY: (&str, &str) = ("POSTHOG_API_KEY", "phc_first_hour");

/// The path that `init` has written below its comment on Segment's calls.
fn prefix(yaml: &str) -> String {
    let start = yaml.find("# Segment's calls").unwrap();
    let path = yaml[start..].split("path: ").nth(1).unwrap();
    path.split_whitespace().next().unwrap().to_owned()
}

#[test]
fn each_way_to_be_installed_is_asked_first_and_known_to_the_snippet() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    for (flags, said, home) in [
        (&[][..], "must pass them on", ""),
        (
            &["--origin", "http://127.0.0.1:3000"],
            "already adds this to the site's pages",
            "",
        ),
        (
            &["--home", "https://t.example.com:8443"],
            "that host must lead to this Hedgerow",
            "https://t.example.com:8443",
        ),
    ] {
        let arguments = [&["init", "--output", "hedgerow.yaml"], flags].concat();
        let made = there(folder, &[], &arguments);
        assert_eq!(
            (made.code, made.out.as_str()),
            (Some(0), ""),
            "{}",
            made.err
        );
        let yaml = std::fs::read_to_string(folder.join("hedgerow.yaml")).unwrap();
        let prefix = prefix(&yaml);
        let asked = there(folder, &[KEY], &["snippet"]);
        assert_eq!(asked.code, Some(0), "{}", asked.err);
        assert!(asked.err.contains(said), "{flags:?}: {}", asked.err);
        let lines = format!("location ^~ {prefix} {{\n    proxy_pass http://127.0.0.1:8080;\n");
        assert_eq!(
            asked.err.contains(&lines),
            said.contains("pass them"),
            "{}",
            asked.err
        );
        assert!(
            asked.out.contains(&format!("\"{home}{prefix}")),
            "{}",
            asked.out
        );
        let injects = yaml.contains(&format!("inject: {prefix}"));
        assert_eq!(injects, flags.contains(&"--origin"), "{yaml}");
    }
    // A flag overrides the file.
    let other = ["snippet", "--home", "https://u.example.com"];
    let asked = there(folder, &[KEY], &other);
    assert!(
        asked.out.contains("https://u.example.com/"),
        "{}",
        asked.out
    );
    assert!(!asked.out.contains("t.example.com"), "{}", asked.out);
    let both = ["init", "--origin", "http://a:1", "--home", "https://b"];
    assert_eq!(there(folder, &[], &both).code, Some(2));
}

#[test]
fn init_takes_addresses_and_keys_and_names_the_flag_of_a_mistake() {
    let flags = [
        "init",
        "--listen",
        "127.0.0.1:9000",
        "--admin",
        "127.0.0.1:9001",
        "--write-key",
        "wk_one",
        "--write-key",
        "env:WK_TWO",
    ];
    let made = hedgerow(&flags, "");
    assert_eq!(made.code, Some(0), "{}", made.err);
    for line in [
        "\n  - 127.0.0.1:9000\n",
        "\nadmin: 127.0.0.1:9001\n",
        "write_keys: [wk_one, \"env:WK_TWO\"]",
    ] {
        assert!(made.out.contains(line), "{line} is not in\n{}", made.out);
    }
    let mut wrong = Vec::new();
    for (flag, value) in [
        ("--host", "mars"),
        ("--origin", "nonsense"),
        ("--origin", "http://127.0.0.1:8080"),
        ("--home", "t.example.com"),
        ("--home", "https://t.example.com/path"),
        ("--domain", "a b"),
        ("--listen", "nowhere"),
        ("--admin", "0.0.0.0:8080"),
        ("--admin", "on"),
        ("--write-key", ""),
    ] {
        let ended = hedgerow(&["init", flag, value], "");
        let told = ended.err.contains(flag) && !ended.err.contains(" | ");
        if ended.code != Some(2) || !told || !ended.out.is_empty() {
            wrong.push(format!("{flag} {value:?}: {:?} {}", ended.code, ended.err));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn a_failed_init_leaves_the_old_file_and_a_good_one_replaces_it_whole_and_keeps_it() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let file = folder.join("hedgerow.yaml");
    std::fs::write(&file, "old").unwrap();
    let ended = there(
        folder,
        &[],
        &["init", "--host", "mars", "-o", "hedgerow.yaml"],
    );
    assert_eq!(ended.code, Some(2));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "old");
    let ended = there(folder, &[], &["init", "-o", "missing/hedgerow.yaml"]);
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("missing/hedgerow.yaml"), "{}", ended.err);
    std::os::unix::fs::symlink(&file, folder.join("link.yaml")).unwrap();
    let ended = there(folder, &[], &["init", "--output", "link.yaml"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert!(folder.join("link.yaml").is_symlink());
    let first = std::fs::read_to_string(&file).unwrap();
    let last = first.lines().last().unwrap();
    assert!(
        first.ends_with('\n') && last.starts_with("  grace: 5s "),
        "{last}"
    );
    let kept = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    assert!(ended.err.contains("hedgerow.yaml.old"), "{}", ended.err);
    assert_eq!(kept("hedgerow.yaml.old"), "old");
    let ended = there(folder, &[], &["init", "-o", "hedgerow.yaml"]);
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    assert_eq!(kept("hedgerow.yaml.old"), "old");
    assert_eq!(kept("hedgerow.yaml.old2"), first);
    std::fs::write(folder.join("empty.yaml"), "").unwrap();
    let ended = there(folder, &[], &["init", "-o", "empty.yaml"]);
    assert_eq!((ended.code, &*ended.err), (Some(0), ""));
    let ended = there(folder, &[], &["init", "--output", "/dev/full"]);
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    let names = std::fs::read_dir(folder).unwrap().count();
    assert_eq!(names, 5, "nothing is left beside them");
}

#[test]
fn the_configuration_is_found_at_the_given_or_a_default_path() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let write = |name: &str| {
        let yaml = format!(
            "projects: {{p: {{host: us, api_key: phc_a}}}}\nroutes: [{{path: /from-{}/, segment: {{project: p}}}}]\n",
            name.replace(['/', '.'], "-")
        );
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), yaml).unwrap();
    };
    let read = |variables: &[(&str, &str)], arguments: &[&str]| {
        let ended = there(folder, variables, arguments);
        let from = ended.out.split("/from-").nth(1);
        from.map(|from| from.split('/').next().unwrap().to_owned())
            .ok_or(ended.err)
    };
    let none = read(&[], &["check"]).unwrap_err();
    for said in [
        "$HEDGEROW_CONFIG",
        "/etc/hedgerow/hedgerow.yaml",
        "hedgerow init",
    ] {
        assert!(none.contains(said), "{said} is not in {none}");
    }
    write("conf/hedgerow.yaml");
    write("a.yaml");
    assert_eq!(read(&[], &["check"]).as_deref(), Ok("conf-hedgerow-yaml"));
    write("hedgerow.yaml");
    assert_eq!(read(&[], &["check"]).as_deref(), Ok("hedgerow-yaml"));
    let variable = [("HEDGEROW_CONFIG", "conf/hedgerow.yaml")];
    assert_eq!(
        read(&variable, &["check"]).as_deref(),
        Ok("conf-hedgerow-yaml")
    );
    assert_eq!(
        read(&[("HEDGEROW_CONFIG", "")], &["check"]).as_deref(),
        Ok("hedgerow-yaml")
    );
    for arguments in [
        &["check", "a.yaml"][..],
        &["check", "-c", "a.yaml"],
        &["-c", "a.yaml", "check"],
        &["--config", "a.yaml", "check"],
        &["check", "a.yaml", "-c", "a.yaml"],
    ] {
        assert_eq!(
            read(&variable, arguments).as_deref(),
            Ok("a-yaml"),
            "{arguments:?}"
        );
    }
    for arguments in [
        &["check", "a.yaml", "-c", "hedgerow.yaml"][..],
        &["check", "missing.yaml"],
        &["demo", "-c", "a.yaml"],
        &["-c", "a.yaml", "init"],
    ] {
        assert_eq!(there(folder, &[], arguments).code, Some(2), "{arguments:?}");
    }
    let missing = there(folder, &[("HEDGEROW_CONFIG", "gone.yaml")], &["check"]);
    assert!(missing.err.contains("gone.yaml"), "{}", missing.err);
}

#[test]
fn looking_needs_no_key() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let yaml = "projects: {p: {host: us, api_key: env:A_KEY}, q: {host: us, api_key: 'file:missing'}}\n\
        routes:\n  - {path: /a/, segment: {project: p, write_keys: ['env:ONE', 'env:TWO', 'file:three']}}\n  \
        - {path: /b/, segment: {project: q}}\n\
        privacy: {hash: [email], secret: env:PRIVATE}\n\
        delivery: {spool: {path: spool/}}\n";
    std::fs::write(folder.join("hedgerow.yaml"), yaml).unwrap();
    let strict = there(folder, &[], &["check"]);
    assert_eq!(strict.code, Some(2));
    let spared = there(folder, &[], &["check", "--no-secrets"]);
    assert_eq!(spared.code, Some(0), "{}", spared.err);
    assert!(!folder.join("spool").exists(), "a look makes nothing");
    // The check covers the other parts as well.
    let personal = [("A_KEY", "phx_personal")];
    let refused = there(folder, &personal, &["check", "--no-secrets"]);
    assert_eq!(refused.code, Some(2), "{}", refused.out);
    let spool = there(folder, &[], &["spool", "ls"]);
    assert!(spool.err.contains("there is no spool in"), "{}", spool.err);
}

#[test]
fn check_finds_everything_that_prevents_a_start() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let pair = || {
        let key = rcgen::KeyPair::generate().unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    };
    let ((one, one_key), (_, other_key)) = (pair(), pair());
    let empty = "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n";
    let files = [
        ("one.pem", one.as_str()),
        ("one.key", &one_key),
        ("other.key", &other_key),
        ("empty.pem", empty),
        ("file", ""),
    ];
    for (name, text) in files {
        std::fs::write(folder.join(name), text).unwrap();
    }
    std::fs::create_dir(folder.join("no_library")).unwrap();
    let tls = |certificate: &str, key: &str| {
        format!("listen: [{{address: '127.0.0.1:0', tls: {{certificate: {certificate}, key: {key}}}}}]\n")
    };
    let (plain, well) = ("listen: 127.0.0.1:0\n", "http://127.0.0.1:1");
    let library = |name: &str| {
        format!(", library: {{folder: {name}, script: fq7dk2, settings: sz4mwp, chunks: ch8tvn, calls: qn5rzd}}")
    };
    let rows = [
        (plain.to_owned(), well, "", "", None),
        (tls("one.pem", "one.key"), well, "", "", None),
        (tls("one.pem", "other.key"), well, "", "", Some("one.pem")),
        (tls("empty.pem", "one.key"), well, "", "", Some("empty.pem")),
        (
            "listen: 203.0.113.9:8080\n".to_owned(),
            well,
            "",
            "",
            Some("203.0.113.9:8080"),
        ),
        (
            plain.to_owned(),
            "https://127.0.0.1:1",
            ", ca_file: empty.pem",
            "",
            Some("empty.pem"),
        ),
        (plain.to_owned(), well, "", "missing", Some("missing")),
        (plain.to_owned(), well, "", "no_library", Some("no_library")),
    ];
    let mut wrong = Vec::new();
    for (listen, host, more, folder_of_library, expected) in rows {
        let library = match folder_of_library {
            "" => String::new(),
            name => library(name),
        };
        let yaml = format!(
            "{listen}projects: {{p: {{host: '{host}', api_key: phc_a{more}}}}}\n\
             routes: [{{path: /hr/, segment: {{project: p{library}}}}}]\n"
        );
        std::fs::write(folder.join("hedgerow.yaml"), &yaml).unwrap();
        let checked = there(folder, &[], &["check"]);
        let code = if expected.is_some() { 2 } else { 0 };
        let named = expected.is_none_or(|name| checked.err.contains(name));
        if checked.code != Some(code) || !named {
            wrong.push(format!("check: {yaml}{:?} {}", checked.code, checked.err));
        }
        if expected.is_some() {
            let ran = there(folder, &[], &["run"]);
            if ran.code != Some(2) {
                wrong.push(format!("run: {yaml}{:?} {}", ran.code, ran.err));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn convert_takes_files_gzip_arrays_and_json_over_several_lines() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let text = "[{\"type\":\"track\",\"event\":\"A\",\"userId\":\"u\"}, {\"type\":\"track\",\"event\":\"none\"},\n 7]\n\
        {\n  \"type\": \"page\",\n  \"userId\": \"u\"\n}\n{\"batch\": [\n  {\"type\":\"track\",\"event\":\"B\",\"userId\":\"u\"}\n]}\n";
    std::fs::write(folder.join("a.json"), text).unwrap();
    let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    packed.write_all(text.as_bytes()).unwrap();
    // A file name with another ending works too.
    std::fs::write(folder.join("b"), packed.finish().unwrap()).unwrap();
    let ended = there(folder, &[], &["convert", "a.json", "b"]);
    let names: Vec<String> = super::lines(&ended.out)
        .iter()
        .map(|event| event["event"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["A", "$pageview", "B", "A", "$pageview", "B"]);
    assert_eq!(ended.code, Some(1));
    for name in ["a.json", "b"] {
        for said in [
            "line 1, message 2: refused: missing_distinct_id",
            "line 2, message 3: refused: not_an_object",
        ] {
            let said = format!("{name}, {said}");
            assert!(ended.err.contains(&said), "{said} is not in\n{}", ended.err);
        }
    }
    let cut = hedgerow(
        &["convert"],
        "[{\"type\":\"track\",\"event\":\"A\",\"userId\":\"u\"},",
    );
    assert_eq!((cut.code, super::lines(&cut.out).len()), (Some(1), 1));
    assert!(cut.err.contains("unclosed_array"), "{}", cut.err);
    let missing = there(folder, &[], &["convert", "missing.json"]);
    assert_eq!(missing.code, Some(2));
    assert!(missing.err.contains("missing.json: "), "{}", missing.err);
}

#[test]
fn every_command_explains_itself_and_shells_and_man_know_all_of_them() {
    let commands = [
        "run",
        "check",
        "doctor",
        "health",
        "convert",
        "spool",
        "demo",
        "init",
        "snippet",
        "completions",
        "man",
    ];
    for command in commands {
        let help = hedgerow(&[command, "--help"], "").out;
        assert!(help.contains("Example"), "{command}: {help}");
        assert!(help.contains("Exit codes:"), "{command}: {help}");
    }
    let help = hedgerow(&["--help"], "").out;
    assert!(
        help.contains("HEDGEROW_CONFIG") && help.contains("RUST_LOG"),
        "{help}"
    );
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = hedgerow(&["completions", shell], "");
        assert_eq!(script.code, Some(0), "{shell}");
        for command in commands {
            assert!(script.out.contains(command), "{command} in {shell}");
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let written = there(folder.path(), &[], &["man", "--output", "man1"]);
    assert_eq!(written.code, Some(0), "{}", written.err);
    for command in commands {
        let page = folder.path().join(format!("man1/hedgerow-{command}.1"));
        let page = std::fs::read_to_string(page).unwrap();
        assert!(page.contains("Exit codes"), "{command}");
    }
    let page = hedgerow(&["man"], "").out;
    assert!(page.contains(".TH hedgerow 1"), "{page}");
}

#[tokio::test]
async fn the_spool_is_listed_with_headings_and_units_and_as_json_without_any_key() {
    use hedgerow::delivery::{
        PeekLimit, Refusal, SpooledEvent, SqliteSettings, SqliteSpool, Store,
    };
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let yaml = "projects: {p: {host: us, api_key: env:A_KEY}}\nroutes: [{path: /a/, segment: {project: p}}]\n\
        delivery: {spool: {path: spool/}}\n";
    std::fs::write(folder.join("hedgerow.yaml"), yaml).unwrap();
    let spool = SqliteSpool::open(&folder.join("spool"), SqliteSettings::default()).unwrap();
    let event = |id: &str, filler: usize| {
        let filler = "x".repeat(filler);
        let text = format!(
            r#"{{"uuid":"{id}","event":"E {id}","distinct_id":"d","timestamp":"2026-11-23T10:00:00Z","properties":{{"f":"{filler}"}}}}"#
        );
        SpooledEvent::new(text.into(), std::time::SystemTime::now()).unwrap()
    };
    let events = vec![event("one", 10), event("two", 3000), event("three", 10)];
    spool.append("p", events).await.unwrap();
    let limit = PeekLimit {
        events: 1,
        bytes: 1 << 20,
    };
    let first = spool.peek("p", limit).await.unwrap().events.remove(0);
    let refusal = Refusal {
        status: 400,
        reason: "no".to_owned(),
    };
    spool
        .dead_letter("p", first.position, refusal)
        .await
        .unwrap();
    let listed = there(folder, &[], &["spool", "ls"]);
    assert_eq!(listed.code, Some(0), "{}", listed.err);
    for part in [
        "WAITING\tPROJECT\tAMOUNT\tSIZE\tOLDEST\n",
        "waiting\tp\t2 events\t3.1 KiB\toldest 2",
        "DEAD LETTER\tPROJECT\tARRIVED\tANSWER\tEVENT\tUUID\n",
        "dead 1\tp\t2",
        "\t400 no\tE one\tone\n",
        "in use\t",
    ] {
        assert!(
            listed.out.contains(part),
            "{part:?} is not in\n{}",
            listed.out
        );
    }
    assert!(listed.out.trim_end().ends_with("iB"), "{}", listed.out);
    for arguments in [
        &["spool", "ls", "--json"][..],
        &["-c", "hedgerow.yaml", "spool", "ls", "--json"],
        &["spool", "ls", "--json", "-c", "hedgerow.yaml"],
    ] {
        let listed = there(folder, &[], arguments);
        let json: serde_json::Value = serde_json::from_str(&listed.out).unwrap();
        assert_eq!(json["waiting"][0]["project"], "p", "{json}");
        assert_eq!(json["waiting"][0]["events"], 2, "{json}");
        assert!(json["waiting"][0]["bytes"].as_u64() > Some(3000), "{json}");
        assert_eq!(json["dead"][0]["number"], 1, "{json}");
        assert_eq!(json["dead"][0]["status"], 400, "{json}");
        assert_eq!(json["dead"][0]["event"], "E one", "{json}");
        assert!(json["bytes"].as_u64() > Some(0), "{json}");
    }
}
