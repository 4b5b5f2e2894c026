//! The settings that packages bring, in each kind of file.

use super::{file, hedgerow, said};

/// The text below `hedgerow.yaml: |` of a ConfigMap.
fn of_manifest(text: &str) -> String {
    let (_, rest) = text.split_once("  hedgerow.yaml: |\n").expect(text);
    let lines = rest.lines().take_while(|line| line.starts_with("    "));
    lines.map(|line| format!("{}\n", &line[4..])).collect()
}

#[test]
fn all_of_them_are_right() {
    let folder = tempfile::tempdir().unwrap();
    let mut wrong = Vec::new();
    for name in [
        "packaging/debian/hedgerow.yaml",
        "packaging/docker/hedgerow.yaml",
        "packaging/kubernetes/disk.yaml",
        "packaging/kubernetes/nats.yaml",
    ] {
        let text = match name.contains("kubernetes") {
            true => of_manifest(&file(name)),
            false => file(name),
        };
        let settings = folder.path().join("hedgerow.yaml");
        std::fs::write(&settings, &text).unwrap();
        let output = hedgerow(&["check", "--no-secrets", settings.to_str().unwrap()]);
        let said = said(&output);
        // `check` warns that the admin address is open; here it is open only within the container's
        // network.
        let warned = said
            .lines()
            .any(|line| line.contains("warning") && !line.contains("warning: admin"));
        if !output.status.success() || warned {
            wrong.push(format!("{name}:\n{said}\n{text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_chart_the_manifests_and_the_crate_have_one_version() {
    let version = format!("appVersion: {}\n", env!("CARGO_PKG_VERSION"));
    let chart = file("packaging/helm/hedgerow/Chart.yaml");
    assert!(chart.contains(&version), "{version} is not in\n{chart}");
    for name in ["disk", "nats"] {
        let manifest = file(&format!("packaging/kubernetes/{name}.yaml"));
        let image = format!("image: \"hedgerow:{}\"", env!("CARGO_PKG_VERSION"));
        assert!(manifest.contains(&image), "{image} is not in {name}.yaml");
    }
}

/// Cargo reads the whole manifest, so the build's folder must contain every file that it names.
#[test]
fn the_image_is_built_from_all_that_the_manifest_names() {
    let ignored = file(".dockerignore");
    let allowed: Vec<&str> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let is_there = |path: &str| {
        let mut starts = allowed.iter().filter(|start| path.starts_with(**start));
        starts.next().is_some()
    };
    let manifest = file("Cargo.toml");
    let mut wrong: Vec<String> = manifest
        .split("[[")
        .skip(1)
        .filter_map(|section| {
            let (kind, rest) = section.split_once("]]")?;
            let of = |key: &str| {
                let value = rest.split_once(&format!("{key} = \""))?.1;
                Some(value.split_once('"')?.0.to_owned())
            };
            let folder = match kind {
                "test" => "tests",
                "bench" => "benches",
                _ => "examples",
            };
            Some(of("path").unwrap_or(format!("{folder}/{}.rs", of("name")?)))
        })
        .filter(|path| !is_there(path))
        .collect();
    let copied = [
        "Cargo.lock",
        "src/main.rs",
        "packaging/docker/hedgerow.yaml",
    ];
    wrong.extend(
        copied
            .iter()
            .filter(|path| !is_there(path))
            .map(ToString::to_string),
    );
    assert!(wrong.is_empty(), "{wrong:?} is not in .dockerignore");
}
