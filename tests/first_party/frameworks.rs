//! What `snippet --for` prints for bundlers is TypeScript that a strict project takes, with the real
//! types of both libraries, and does no harm where pages are rendered without a browser.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{json, Value};

use super::house::API_KEY;
use super::installed::{all_here, clients, Needed, PostHogJs, Version};

fn hedgerow(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_hedgerow"))
        .args(arguments)
        .current_dir(folder)
        .env("POSTHOG_API_KEY", API_KEY)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

/// The lines that the head of a module gives for another file, where they are code alone.
fn lines_for_another_file(module: &str) -> String {
    let given = module.lines().filter_map(|line| line.strip_prefix("//   "));
    let code = given.filter(|line| !line.starts_with('<'));
    code.map(|line| format!("{line}\n")).collect()
}

#[test]
fn what_is_printed_for_bundlers_is_taken_by_a_strict_project() {
    let needed = [
        Needed::Node,
        Needed::TypeScript,
        Needed::AnalyticsJs(Version::Newest),
        Needed::PostHogJs(PostHogJs::Newest),
    ];
    let test = "what_is_printed_for_bundlers_is_taken_by_a_strict_project";
    if !all_here(test, &needed) {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut written = 0;
    for (way, flags) in [
        ("same", &[][..]),
        ("home", &["--home", "https://t.example.com:8443"]),
    ] {
        let init = [&["init", "--output", "hedgerow.yaml"], flags].concat();
        hedgerow(folder, &init);
        for libraries in ["all", "analytics", "posthog"] {
            for kind in ["npm", "next", "nuxt", "vue", "svelte"] {
                let flags = ["snippet", "--for", kind, "--libraries", libraries];
                let module = hedgerow(folder, &flags);
                let ending = if kind == "next" { "tsx" } else { "ts" };
                let name = format!("{way}-{libraries}-{kind}");
                std::fs::write(folder.join(format!("{name}.{ending}")), &module).unwrap();
                let more = lines_for_another_file(&module);
                // What a file beside it would write, by the name that the file has here.
                let more = more.replace("'./analytics'", &format!("'./{name}'"));
                let more = more.replace("'$lib/analytics'", &format!("'$lib/{name}'"));
                if kind == "next" {
                    assert!(more.contains("import { Analytics }"), "{module}");
                } else {
                    assert_eq!(more.is_empty(), kind == "nuxt", "{module}");
                    std::fs::write(folder.join(format!("{name}-use.ts")), more).unwrap();
                }
                written += 1;
            }
        }
    }
    assert_eq!(written, 30);
    // One with a mistake in a type of each library, so that silence means something.
    let mistaken = "import { AnalyticsBrowser } from '@segment/analytics-next'\n\
                    import posthog from 'posthog-js'\n\
                    new AnalyticsBrowser().load({ key: 'k' })\n\
                    posthog.init(1)\n";
    std::fs::write(folder.join("mistaken.ts"), mistaken).unwrap();
    let output = Command::new(Needed::Node.path())
        .arg("modules.mjs")
        .arg(json!({ "folder": folder }).to_string())
        .current_dir(clients())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let wrong: Vec<&str> = report["wrong"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    let (meant, wrong): (Vec<_>, Vec<_>) = wrong
        .into_iter()
        .partition(|one| one.starts_with("mistaken"));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for place in ["mistaken.ts:3: ", "mistaken.ts:4: "] {
        assert!(
            meant.iter().any(|one| one.starts_with(place)),
            "{place}: {meant:?}"
        );
    }
}
