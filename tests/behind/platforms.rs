//! Platforms that cannot run here. A stand-in (`tests/clients/behind.mjs`) runs the recipe's code
//! or rules; other recipes are checked for their form.

use std::net::SocketAddr;

use serde_json::{json, Value};

use super::installed::{all_here, clients, Prerequisite};
use super::script::{Script, WhenDropped};
use super::support::proxy::PostHog;
use super::{block, exchange, hedgerow, holds};

/// The stand-in for a platform, and its address.
async fn platform(name: &str, language: &str, hedgerow: SocketAddr) -> (Script, SocketAddr) {
    let order = json!({
        "platform": name,
        "code": block(name, language),
        "hedgerow": hedgerow.to_string(),
    });
    let mut script = Script::start("behind.mjs", &order, WhenDropped::Killed);
    let port = script.line("its start").await;
    let port: u16 = port.parse().unwrap();
    (script, ([127, 0, 0, 1], port).into())
}

async fn stands_in_for(test: &str, name: &str, language: &str, needed: &[Prerequisite]) {
    if !all_here(test, needed) {
        return;
    }
    let posthog = PostHog::start().await;
    let folder = tempfile::tempdir().unwrap();
    let (_served, address) = hedgerow(name, &posthog, folder.path()).await;
    let (_platform, front) = platform(name, language, address).await;
    holds(front, &posthog).await;
}

macro_rules! platforms {
    ($($test:ident: $name:literal, $language:literal, $needed:expr;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() {
            stands_in_for(stringify!($test), $name, $language, $needed).await;
        }
    )*};
}

platforms! {
    a_worker_of_cloudflare_hands_over_a_path_as_its_recipe_says: "cloudflare", "js", &[Prerequisite::Node];
    a_rewrite_of_vercel_hands_over_a_path_as_its_recipe_says: "vercel", "json", &[Prerequisite::Node];
    a_rewrite_of_netlify_hands_over_a_path_as_its_recipe_says: "netlify", "text", &[Prerequisite::Node];
    a_rewrite_of_next_hands_over_a_path_as_its_recipe_says: "next", "js", &[Prerequisite::Node];
    a_route_of_nuxt_hands_over_a_path_as_its_recipe_says: "nuxt", "js", &[Prerequisite::Node, Prerequisite::H3];
}

/// The YAML blocks of a recipe, as JSON.
fn forms(name: &str, language: &str) -> Vec<Value> {
    let path = format!("{}/docs/behind/{name}.md", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(path).unwrap();
    let start = format!("```yaml {language}\n");
    let blocks = text.split(&start).skip(1);
    let blocks = blocks.map(|rest| rest.split("```").next().unwrap());
    let read = |block: &str| {
        let script = "const yaml = require('yaml'); \
             console.log(JSON.stringify(yaml.parse(process.argv[1], { strict: true })))";
        let output = std::process::Command::new(Prerequisite::Node.path())
            .args(["-e", script, block])
            .current_dir(clients())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}\n{block}");
        serde_json::from_slice(&output.stdout).unwrap()
    };
    blocks.map(read).collect()
}

#[test]
fn the_files_for_other_platforms_have_the_right_form() {
    let test = "the_files_for_other_platforms_have_the_right_form";
    if !all_here(test, &[Prerequisite::Node, Prerequisite::Yaml]) {
        return;
    }
    let traefik = &forms("traefik", "traefik")[0]["http"];
    let routers = traefik["routers"].as_object().unwrap();
    let length = |router: &str| routers[router]["rule"].as_str().unwrap().len();
    assert!(length("hedgerow") > length("shop"), "the longer rule wins");
    assert_eq!(routers.len(), 2);
    for (name, router) in routers {
        let service = &traefik["services"][router["service"].as_str().unwrap()];
        let url = service["loadBalancer"]["servers"][0]["url"].as_str();
        assert!(
            url.is_some_and(|url| url.starts_with("http://127.0.0.1:")),
            "{name}"
        );
    }
    let kubernetes = forms("kubernetes", "kubernetes");
    let [route, ingress] = kubernetes.as_slice() else {
        panic!("{kubernetes:#?}");
    };
    let rule = &route["spec"]["rules"][0];
    assert_eq!(route["kind"], "HTTPRoute");
    assert_eq!(
        rule["matches"][0]["path"],
        json!({"type": "PathPrefix", "value": "/hr/"})
    );
    assert_eq!(
        rule["backendRefs"],
        json!([{"name": "hedgerow", "port": 8080}])
    );
    assert_eq!(ingress["kind"], "Ingress");
    let path = &ingress["spec"]["rules"][0]["http"]["paths"][0];
    assert_eq!(path["path"], "/hr/");
    let service = json!({"name": "hedgerow", "port": {"number": 8080}});
    assert_eq!(path["backend"]["service"], service);
    let annotations = ingress["metadata"]["annotations"].as_object().unwrap();
    assert!(
        annotations.values().all(Value::is_string),
        "{annotations:?}"
    );
    let cloudfront = &forms("cloudfront", "cloudfront")[0];
    let behaviour = &cloudfront["CacheBehaviors"][0];
    assert_eq!(behaviour["TargetOriginId"], cloudfront["Origins"][0]["Id"]);
    assert_eq!(behaviour["PathPattern"], "/hr/*");
    assert_eq!(behaviour["AllowedMethods"].as_array().unwrap().len(), 7);
}

/// Hedgerow's block of the recipes whose servers cannot run here.
#[tokio::test(flavor = "multi_thread")]
async fn hedgerow_accepts_calls_with_the_other_documented_configurations() {
    for name in ["traefik", "kubernetes", "cloudfront"] {
        let posthog = PostHog::start().await;
        let folder = tempfile::tempdir().unwrap();
        let (_served, address) = hedgerow(name, &posthog, folder.path()).await;
        let message = br#"{"event":"Behind","userId":"u-1"}"#;
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let (head, body) = exchange(&mut stream, "POST /hr/v1/t", message).await;
        assert!(head.starts_with("HTTP/1.1 200"), "{name}: {head}\n{body}");
        posthog.events(1).await;
    }
}
