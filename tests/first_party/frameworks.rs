//! `snippet --for` prints TypeScript for bundlers. It compiles in a strict project with the real
//! types of both libraries, does nothing where a server renders pages, and reports each page once
//! in a browser.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{json, Value};

use super::installed::{all_here, clients, PostHogJs, Prerequisite, Version};
use super::setup::{Setup, API_KEY, PATIENCE, USUAL};
use super::visitor::{Visitor, TURN};
use super::visits::is_here;

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

/// What `modules.mjs` reports about the modules in a folder, which it compiles to JavaScript next
/// to them.
fn looked_at(folder: &Path) -> Value {
    let output = Command::new(Prerequisite::Node.path())
        .arg("modules.mjs")
        .arg(json!({ "folder": folder }).to_string())
        .current_dir(clients())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The lines for another file in the comment of a module, if they are only code.
fn lines_for_another_file(module: &str) -> String {
    let given = module.lines().filter_map(|line| line.strip_prefix("//   "));
    let code = given.filter(|line| !line.starts_with('<'));
    code.map(|line| format!("{line}\n")).collect()
}

#[test]
fn modules_for_bundlers_compile_in_a_strict_project() {
    let needed = [
        Prerequisite::Node,
        Prerequisite::TypeScript,
        Prerequisite::AnalyticsJs(Version::Newest),
        Prerequisite::PostHogJs(PostHogJs::Newest),
    ];
    let test = "modules_for_bundlers_compile_in_a_strict_project";
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
                // The import in another file, under this file's name.
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
    // Files with a type error in each library, to show that the check finds one.
    let mistaken = "import { AnalyticsBrowser } from '@segment/analytics-next'\n\
                    import posthog from 'posthog-js'\n\
                    new AnalyticsBrowser().load({ key: 'k' })\n\
                    posthog.init(1)\n";
    std::fs::write(folder.join("mistaken.ts"), mistaken).unwrap();
    let report = looked_at(folder);
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

/// The few parts of each framework that its module uses, and the page's own script, in which
/// `window.go` changes the page as the framework's router does.
const KINDS: [(&str, &str); 5] = [
    ("npm", "import '/m/npm.mjs'"),
    (
        "next",
        "import { Analytics } from '/m/next.mjs'
         Analytics()
         window.go = (path) => { history.pushState({}, '', path); Analytics() }",
    ),
    (
        "nuxt",
        "import plugin from '/m/nuxt.mjs'
         window.after = []
         plugin()
         window.go = (path) => { history.pushState({}, '', path); for (const one of window.after) one() }",
    ),
    (
        "vue",
        "import { reportPage } from '/m/vue.mjs'
         reportPage()
         window.go = (path) => { history.pushState({}, '', path); reportPage() }",
    ),
    (
        "svelte",
        "import { reportPage } from '/m/svelte.mjs'
         reportPage()
         window.go = (path) => { history.pushState({}, '', path); reportPage() }",
    ),
];

const IMPORTED: [(&str, &str, &str); 4] = [
    (
        "@segment/analytics-next",
        "segment",
        "export const AnalyticsBrowser = window.AnalyticsNext.AnalyticsBrowser",
    ),
    (
        "react",
        "react",
        "export const useEffect = (effect) => effect()",
    ),
    (
        "next/navigation",
        "navigation",
        "export const usePathname = () => location.pathname",
    ),
    (
        "#imports",
        "imports",
        "export const defineNuxtPlugin = (plugin) => plugin
         export const useRouter = () => ({ afterEach: (after) => { window.after.push(after) } })",
    ),
];

/// The pages and scripts of a site for each framework.
fn site(yaml: &Path) -> BTreeMap<String, (&'static str, String)> {
    const SCRIPT: &str = "text/javascript; charset=utf-8";
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let yaml = yaml.to_str().unwrap();
    for (kind, _) in KINDS {
        let module = hedgerow(folder, &["snippet", "-c", yaml, "--for", kind]);
        let ending = if kind == "next" { "tsx" } else { "ts" };
        std::fs::write(folder.join(format!("{kind}.{ending}")), module).unwrap();
    }
    assert_eq!(looked_at(folder)["wrong"], json!([]));
    let package = |needed: Prerequisite, file: &str| {
        std::fs::read_to_string(needed.path().join("dist").join(file)).unwrap()
    };
    let segment = package(Prerequisite::AnalyticsJs(Version::Newest), "umd/index.js");
    let posthog = package(Prerequisite::PostHogJs(PostHogJs::Newest), "module.js");
    let mut files = BTreeMap::from([
        ("/m/umd.js".to_owned(), (SCRIPT, segment)),
        ("/m/posthog.mjs".to_owned(), (SCRIPT, posthog)),
    ]);
    let mut map = json!({ "posthog-js": "/m/posthog.mjs" });
    for (name, file, text) in IMPORTED {
        map[name] = json!(format!("/m/{file}.mjs"));
        files.insert(format!("/m/{file}.mjs"), (SCRIPT, text.to_owned()));
    }
    let map = json!({ "imports": map });
    for (kind, script) in KINDS {
        let made = std::fs::read_to_string(folder.join(format!("{kind}.mjs"))).unwrap();
        files.insert(format!("/m/{kind}.mjs"), (SCRIPT, made));
        let html = format!(
            "<!doctype html><html><head><meta charset=utf-8><title>{kind}</title>\
             <link rel=icon href=data:,><script type=importmap>{map}</script>\
             <script src=/m/umd.js></script></head><body>\
             <script type=module>{script}</script></body></html>"
        );
        files.insert(format!("/m/{kind}"), ("text/html; charset=utf-8", html));
    }
    files
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_each_framework_is_reported_once_with_its_session() {
    let test = "a_page_of_each_framework_is_reported_once_with_its_session";
    if !is_here(test, Version::Newest) || !all_here(test, &[Prerequisite::TypeScript]) {
        return;
    }
    let _turn = TURN.lock().await;
    let setup = Setup::open(USUAL).await;
    setup.pages.files.set(site(&setup.yaml)).unwrap();
    let mut visitor = Visitor::with_chromium().await;
    let site = format!("http://shop.test:{}", setup.address.port());
    let mut expected = Vec::new();
    for (tab, (kind, _)) in KINDS.into_iter().enumerate() {
        visitor.tab(tab).await;
        visitor.open(&format!("{site}/m/{kind}")).await;
        expected.push(format!("{site}/m/{kind}"));
    }
    let reported = || {
        let events = setup.stand_in.capture.events();
        let pages = events.iter().filter(|event| event.event == "$pageview");
        let mut urls = Vec::new();
        for page in pages {
            let event: Value = serde_json::from_str(&page.raw).unwrap();
            let session = &event["properties"]["$session_id"];
            assert!(session.is_string(), "{event:#}");
            urls.push(
                event["properties"]["$current_url"]
                    .as_str()
                    .unwrap()
                    .to_owned(),
            );
        }
        urls.sort();
        urls
    };
    let deadline = std::time::Instant::now() + PATIENCE;
    for round in 0..2 {
        if round == 1 {
            for (tab, (kind, _)) in KINDS.into_iter().enumerate().skip(1) {
                visitor.tab(tab).await;
                let next = format!("/m/{kind}/next");
                // A router reports its location twice.
                let twice = if kind == "next" { 1 } else { 2 };
                for _ in 0..twice {
                    visitor.run(&format!("window.go('{next}')")).await;
                }
                expected.push(format!("{site}{next}"));
            }
        }
        expected.sort();
        while reported().len() < expected.len() {
            let late = std::time::Instant::now() > deadline;
            assert!(
                !late,
                "{:#?}\n{:#?}",
                reported(),
                visitor.seen().await.errors
            );
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        assert_eq!(reported(), expected);
    }
    let report = visitor.leave().await;
    assert_eq!(report.errors, [""; 0]);
}
