//! Bodies as clients send them, for tests of facts that hold for every body.

use super::vectors::vectors;
use super::*;

/// Returns the bodies recorded from real SDKs, with the call that their path names.
pub(super) fn recordings() -> Vec<(String, Call, Vec<u8>)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/recordings");
    let mut recordings = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(entry.unwrap().path()).unwrap();
        let file: Json = serde_json::from_str(&text).unwrap();
        let (Some(path), Some(body)) = (file["path"].as_str(), file["body"].as_str()) else {
            continue;
        };
        let tail = path.rsplit('/').next().unwrap();
        let call = match tail {
            "batch" | "b" | "import" => Call::Batch,
            "m" => continue,
            name => match Kind::of_path(name) {
                Some(kind) => Call::One(kind),
                None => continue,
            },
        };
        if !body.is_empty() {
            recordings.push((path.to_owned(), call, body.as_bytes().to_vec()));
        }
    }
    recordings
}

/// Returns all bodies of real clients and of the reference's vectors, and one body with difficult values.
pub(super) fn bodies() -> Vec<(String, Call, Vec<u8>)> {
    const NASTY: &str = r#"{"type":"track","event":"a?gclid=1","userId":"u","messageId":"m","properties":{
        "a" : [ { "b" :[1,2,{"c":"x"}], "email":"e1"} ,[], {}, [[{"email":null}]] ],"empty":"","nil":null,"n":-1.50,"t":true,
        "q\"uo\\te":{"email":"e2","a.b":3},"url":"https:\/\/a.test\/?x=1\u0026gclid=G\u003f#h","gclid":"G2","$ip":"198.51.100.9",
        "ip":"not one","net":{"ip":" 198.51.100.10 ","ips":["198.51.100.11"]},"$set":{"$initial_gclid":"G3","email":"e3"},
        "é":{"ü":{"email":"e4"}},"deep":{"deep":{"deep":{"deep":{"email":"e5"}}}}},"context":{"ip":"203.0.113.9","traits":{"email":"e6"}}}"#;
    let mut bodies: Vec<_> = vectors()
        .into_iter()
        .map(|vector| (vector.name, Call::Batch, vector.message.into_bytes()))
        .collect();
    bodies.extend(recordings());
    bodies.push(("nasty".to_owned(), Call::Batch, NASTY.into()));
    bodies
}
