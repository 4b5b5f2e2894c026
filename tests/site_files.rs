//! The real analytics.js packages, rewritten: no address of the vendor is left that a browser could
//! request, and the library finds each of its parts.
//!
//! `HEDGEROW_ANALYTICS_JS` names one or more folders `dist/umd` of the npm package
//! `@segment/analytics-next` (`npm pack @segment/analytics-next@1.84.3`, unpacked), separated by
//! colons. Without it the tests print that they were skipped.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use hedgerow::site::{names, Layout, Library, LibraryError, PageSessions, Sha256};

fn folders() -> Vec<PathBuf> {
    let Some(list) = std::env::var_os("HEDGEROW_ANALYTICS_JS") else {
        eprintln!(
            "SKIPPED: HEDGEROW_ANALYTICS_JS names no folder of @segment/analytics-next; \
             nothing was tested against the real library"
        );
        return Vec::new();
    };
    let folders: Vec<PathBuf> = std::env::split_paths(&list).collect();
    assert!(!folders.is_empty(), "HEDGEROW_ANALYTICS_JS is empty");
    folders
}

fn layout() -> Layout {
    Layout::new("/k3v9x2mn/", "fq7dk2", "sz4mwp", "ch8tvn", "qn5rzd").unwrap()
}

#[test]
fn every_known_version_loads_and_names_no_vendor_host() {
    for folder in folders() {
        let library = Library::load(&folder, &layout(), PageSessions::Off).unwrap();
        let code = std::str::from_utf8(library.script().bytes()).unwrap();
        for gone in [
            "segment.io",
            "\"https://cdn.segment.com",
            "cdnjs.cloudflare.com",
            "/analytics-next/",
            "/v1/projects/",
            "sourceMappingURL",
            "\"auto-track\"",
            "\".bundle.\"",
        ] {
            assert!(
                !code.contains(gone),
                "{gone} is left in {}",
                folder.display()
            );
        }
        assert_eq!(
            code.matches("servedFrom.seen(").count(),
            1,
            "failures are told"
        );
        let manifest = folder.join("../../package.json");
        let manifest: serde_json::Value =
            serde_json::from_slice(&fs::read(manifest).unwrap()).unwrap();
        assert_eq!(manifest["version"], library.version());
    }
}

#[test]
fn every_chunk_of_the_package_is_served_under_a_neutral_name_with_its_own_code() {
    for folder in folders() {
        let library = Library::load(&folder, &layout(), PageSessions::Off).unwrap();
        let code = String::from_utf8(library.script().bytes().to_vec()).unwrap();
        let names: Vec<&str> = library.chunk_names().collect();
        let (old, neutral): (Vec<&str>, Vec<&str>) =
            names.iter().partition(|name| name.contains(".bundle."));
        assert_eq!(old.len(), 8, "{old:?}");
        assert_eq!(neutral.len(), old.len());
        for name in &neutral {
            let hash = name.split('.').nth(1).unwrap();
            assert_eq!(code.matches(&format!("\"{hash}\"")).count(), 1, "{name}");
            assert_eq!(names::forbidden_word(name), None, "{name}");
        }
        for name in old {
            let source = fs::read_to_string(folder.join(name)).unwrap();
            let served = std::str::from_utf8(library.chunk(name).unwrap().bytes()).unwrap();
            assert!(source.starts_with(served), "{name}");
            let twin = neutral
                .iter()
                .any(|name| library.chunk(name).unwrap().bytes() == served.as_bytes());
            assert!(twin, "{name} has no neutral name");
        }
    }
}

#[test]
fn the_whole_package_as_one_file_is_its_folder() {
    for folder in folders() {
        let packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut tar = tar::Builder::new(packer);
        tar.append_dir_all("package", folder.join("../..")).unwrap();
        let archive = tar.into_inner().unwrap().finish().unwrap();
        let pinned = Sha256::of(&archive);
        let library =
            Library::from_archive(&archive, &pinned, &layout(), PageSessions::Off).unwrap();
        let same = Library::load(&folder, &layout(), PageSessions::Off).unwrap();
        assert_eq!(library.script().bytes(), same.script().bytes());
        let names = |library: &Library| -> Vec<String> {
            library.chunk_names().map(str::to_owned).collect()
        };
        assert_eq!(names(&library), names(&same));
    }
}

#[test]
fn brotli_and_gzip_make_the_loader_a_third_or_less() {
    for folder in folders() {
        let library = Library::load(&folder, &layout(), PageSessions::Off).unwrap();
        let plain = library.script().choose(None, None).body().len();
        for encoding in ["gzip", "br"] {
            let small = library.script().choose(Some(encoding), None).body().len();
            assert!(small * 3 < plain, "{encoding}: {small} of {plain}");
        }
    }
}

#[test]
fn a_real_file_with_one_literal_changed_is_refused_by_name() {
    for folder in folders() {
        let mut files = BTreeMap::new();
        for entry in fs::read_dir(&folder).unwrap() {
            let entry = entry.unwrap();
            files.insert(
                entry.file_name().into_string().unwrap(),
                fs::read(entry.path()).unwrap(),
            );
        }
        let loader = String::from_utf8(files["standalone.js"].clone()).unwrap();
        for (literal, other) in [
            ("\"api.segment.io/v1\"", "\"api.segment.io/v2\""),
            ("\"https://cdn.segment.com\"", "\"https://cdn.segment.net\""),
            ("\"/settings\"", "\"/config\""),
        ] {
            assert!(loader.contains(literal));
            files.insert(
                "standalone.js".to_owned(),
                loader.replace(literal, other).into_bytes(),
            );
            match Library::from_files(&files, &layout(), PageSessions::Off) {
                Err(LibraryError::Literal { literal: named, .. }) => assert_eq!(named, literal),
                other => panic!("{literal}: {other:?}"),
            }
        }
    }
}

#[test]
fn the_loader_has_sessions_only_if_pages_keep_them() {
    for folder in folders() {
        let script = |sessions| {
            let library = Library::load(&folder, &layout(), sessions).unwrap();
            String::from_utf8(library.script().bytes().to_vec()).unwrap()
        };
        let (without, with) = (script(PageSessions::Off), script(PageSessions::Kept));
        let (front, loader) = with.split_at(with.len() - without.len());
        assert_eq!(loader, without);
        assert!(front.len() < 4_000, "{}", front.len());
        assert!(front.contains("edge_page"));
        for word in ["segment.", "posthog.com", "http"] {
            assert!(!front.contains(word), "{word} in {front}");
        }
    }
}
