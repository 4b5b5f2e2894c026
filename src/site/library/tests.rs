//! Tests of the rewriting with small files of the same structure. `tests/site_files.rs` uses the
//! real packages.

use super::*;

fn layout() -> Layout {
    Layout::new("/k3v9x2mn/", "fq7dk2", "sz4mwp", "ch8tvn", "qn5rzd").unwrap()
}

/// The few parts of analytics.js that the rewriting inspects.
const TINY: &str = concat!(
    "!function(){var v=\"9.8.7\",a=\"api.segment.io/v1\";",
    "function cdn(){return window.c||\"https://cdn.segment.com\"}",
    "function old(k){return\"https://cdn.segment.com/analytics.js/v1/\".concat(k)}",
    "var p=cdn()?cdn()+\"/analytics-next/bundles/\":\"https://cdn.segment.com/analytics-next/bundles/\";",
    "function s(k){return cdn().concat(\"/v1/projects/\").concat(k,\"/settings\")}",
    "var u=function(t){return({248:\"auto-track\"}[t]||t)+\".bundle.\"+",
    "{248:\"f131ce01a05e3a33a8c1\",407:\"61efa1acb302134c434b\"}[t]+\".js\"};",
    "var f=\"https://cdnjs.cloudflare.com/ajax/libs/babel-polyfill/7.7.0/polyfill.min.js\";",
    "}();\n//# sourceMappingURL=standalone.js.map\n",
);

fn tiny() -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut put = |name: &str, text: &str| files.insert(name.to_owned(), text.as_bytes().to_vec());
    put("standalone.js", TINY);
    put("index.js", "not served");
    put(
        "auto-track.bundle.f131ce01a05e3a33a8c1.js",
        "one()\n//# sourceMappingURL=x.map",
    );
    put("407.bundle.61efa1acb302134c434b.js", "two()");
    files
}

fn script(library: &Library) -> String {
    String::from_utf8(library.script().bytes().to_vec()).unwrap()
}

#[test]
fn no_vendor_host_and_no_source_map_is_left_and_every_chunk_is_found() {
    let library = Library::from_files(&tiny(), &layout(), PageSessions::Off).unwrap();
    let code = script(&library);
    for gone in [
        "segment.io",
        "segment.com",
        "cdnjs",
        "analytics-next",
        "sourceMapping",
        ".bundle.",
        "auto-track",
    ] {
        assert!(!code.contains(gone), "{gone} is left in {code}");
    }
    assert_eq!(library.version(), "9.8.7");
    let neutral: Vec<&str> = library
        .chunk_names()
        .filter(|name| !name.contains(".bundle."))
        .collect();
    assert_eq!(neutral.len(), 2);
    for name in neutral {
        let hash = name.split('.').nth(1).unwrap();
        assert!(code.contains(&format!("\"{hash}\"")), "{name}");
    }
    let old = library
        .chunk("auto-track.bundle.f131ce01a05e3a33a8c1.js")
        .unwrap();
    assert_eq!(&old.bytes()[..], b"one()");
    assert!(library.chunk("index.js").is_none());
    assert!(library.chunk("standalone.js").is_none());
}

#[test]
fn another_deployment_has_other_chunk_names() {
    let other = Layout::new("/w8k2z4tr/", "fq7dk2", "sz4mwp", "ch8tvn", "qn5rzd").unwrap();
    let one = Library::from_files(&tiny(), &layout(), PageSessions::Off).unwrap();
    let two = Library::from_files(&tiny(), &other, PageSessions::Off).unwrap();
    for name in one.chunk_names().filter(|name| name.len() < 20) {
        assert!(two.chunk(name).is_none(), "{name}");
    }
}

#[test]
fn a_version_whose_literals_are_missing_or_doubled_is_refused_by_name() {
    for literal in [
        "\"https://cdn.segment.com\"",
        "\"https://cdn.segment.com/analytics-next/bundles/\"",
        "\"https://cdn.segment.com/analytics.js/v1/\"",
        "\"api.segment.io/v1\"",
        "\"/analytics-next/bundles/\"",
        "\"/v1/projects/\"",
        "\"/settings\"",
        "\"https://cdnjs.cloudflare.com/ajax/libs/babel-polyfill/7.7.0/polyfill.min.js\"",
    ] {
        for (count, replacement) in [(0, "0".to_owned()), (2, format!("{literal}+{literal}"))] {
            let mut files = tiny();
            files.insert(
                "standalone.js".to_owned(),
                TINY.replace(literal, &replacement).into_bytes(),
            );
            let error = Library::from_files(&files, &layout(), PageSessions::Off).unwrap_err();
            let text = error.to_string();
            match error {
                LibraryError::Literal {
                    literal: named,
                    found,
                    ..
                } => {
                    assert_eq!(named, literal);
                    assert_eq!(found, count);
                }
                other => panic!("{literal}: {other:?}"),
            }
            assert!(text.contains(literal), "{text}");
        }
    }
}

#[test]
fn a_chunk_that_the_loader_names_and_the_folder_lacks_is_refused_by_its_hash() {
    let mut files = tiny();
    files.remove("407.bundle.61efa1acb302134c434b.js");
    let text = Library::from_files(&files, &layout(), PageSessions::Off)
        .unwrap_err()
        .to_string();
    assert!(text.contains("61efa1acb302134c434b"), "{text}");
    files.remove("standalone.js");
    let text = Library::from_files(&files, &layout(), PageSessions::Off)
        .unwrap_err()
        .to_string();
    assert!(text.contains("standalone.js"), "{text}");
}

#[test]
fn a_chunk_of_another_version_is_refused() {
    let mut files = tiny();
    files.insert(
        "auto-track.bundle.0000000000000000aaaa.js".to_owned(),
        b"old()".to_vec(),
    );
    assert!(matches!(
        Library::from_files(&files, &layout(), PageSessions::Off),
        Err(LibraryError::Literal { .. })
    ));
}

#[test]
fn an_unknown_host_is_refused_whatever_it_is() {
    let mut files = tiny();
    files.insert(
        "standalone.js".to_owned(),
        TINY.replace("var f=", "var z=\"https://new.example/x\",f=")
            .into_bytes(),
    );
    let text = Library::from_files(&files, &layout(), PageSessions::Off)
        .unwrap_err()
        .to_string();
    assert!(text.contains("https://new.example/x"), "{text}");
}

fn header<'a>(served: &'a http::Response<bytes::Bytes>, name: &str) -> Option<&'a str> {
    let value = served.headers().get(name);
    value.map(|value| value.to_str().unwrap())
}

fn asset() -> Asset {
    Asset::script(b"var a = 1;\n".repeat(200), CachePolicy::Immutable)
}

#[test]
fn the_encoding_is_the_best_the_client_takes() {
    for (accept, expected) in [
        (None, None),
        (Some(""), None),
        (Some("gzip"), Some("gzip")),
        (Some("x-gzip"), Some("gzip")),
        (Some("gzip, deflate, br, zstd"), Some("br")),
        (Some("GZIP;q=1.0, br;q=0.5"), Some("gzip")),
        (Some("br;q=0, gzip;q=0.001"), Some("gzip")),
        (Some("br;q=0"), None),
        (Some("*"), Some("br")),
        (Some("*;q=0.5, gzip;q=0.6"), Some("gzip")),
        (Some("identity, *;q=0"), None),
        (Some("identity;q=0, *;q=0"), None),
        (Some("deflate"), None),
        (Some("br;q=nonsense"), None),
    ] {
        let served = asset().choose(accept, None);
        assert_eq!(served.status(), 200);
        assert_eq!(header(&served, "content-encoding"), expected, "{accept:?}");
        let length = header(&served, "content-length")
            .unwrap()
            .parse::<usize>()
            .unwrap();
        assert_eq!(length, served.body().len());
        assert_eq!(header(&served, "vary"), Some("Accept-Encoding"));
    }
}

#[test]
fn both_compressed_forms_are_the_plain_bytes_again() {
    let asset = asset();
    let mut plain = Vec::new();
    flate2::read::GzDecoder::new(&asset.choose(Some("gzip"), None).body()[..])
        .read_to_end(&mut plain)
        .unwrap();
    assert_eq!(plain, &asset.bytes()[..]);
    plain.clear();
    brotli::BrotliDecompress(&mut &asset.choose(Some("br"), None).body()[..], &mut plain).unwrap();
    assert_eq!(plain, &asset.bytes()[..]);
}

#[test]
fn etags_are_strong_differ_by_encoding_and_answer_304_without_a_body() {
    let asset = asset();
    let tags: Vec<String> = [None, Some("gzip"), Some("br")]
        .iter()
        .map(|accept| {
            header(&asset.choose(*accept, None), "etag")
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(tags.iter().all(|tag| tag.starts_with('"')));
    assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2]);
    for condition in [
        tags[2].clone(),
        format!("W/{}", tags[2]),
        format!("\"x\", {}", tags[2]),
        "*".to_owned(),
    ] {
        let served = asset.choose(Some("br"), Some(&condition));
        assert_eq!(served.status(), 304, "{condition}");
        assert!(served.body().is_empty());
        assert_eq!(header(&served, "etag"), Some(tags[2].as_str()));
        assert!(header(&served, "cache-control").is_some());
        assert_eq!(header(&served, "content-length"), None);
    }
    assert_eq!(asset.choose(Some("br"), Some(&tags[0])).status(), 200);
    assert_eq!(asset.choose(Some("br"), Some("\"x\"")).status(), 200);
}

#[test]
fn a_small_file_that_compression_would_enlarge_is_served_plain() {
    let asset = Asset::script(b"a".to_vec(), CachePolicy::Loader);
    let served = asset.choose(Some("br, gzip"), None);
    assert_eq!(header(&served, "content-encoding"), None);
    assert_eq!(&served.body()[..], b"a");
    assert!(header(&served, "cache-control")
        .unwrap()
        .contains("max-age=600"));
}

#[test]
fn no_header_of_an_answer_names_a_product() {
    for served in [asset().choose(None, None), asset().choose(None, Some("*"))] {
        for (name, value) in served.headers() {
            let line = format!("{name}: {}", value.to_str().unwrap()).to_ascii_lowercase();
            for word in ["segment", "posthog", "pingora", "hedgerow"] {
                assert!(!line.contains(word), "{line}");
            }
        }
    }
}

/// Builds an archive of these entries.
fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
    let packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut tar = tar::Builder::new(packer);
    for (path, bytes) in entries {
        let mut header = tar::Header::new_ustar();
        // The path is written directly, because the crate refuses a path that leaves the folder.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        tar.append(&header, *bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap()
}

fn packed() -> Vec<u8> {
    let files = tiny();
    let named: Vec<(String, &[u8])> = files
        .iter()
        .map(|(name, bytes)| (format!("package/dist/umd/{name}"), bytes.as_slice()))
        .collect();
    let mut entries: Vec<(&str, &[u8])> = named
        .iter()
        .map(|(name, bytes)| (name.as_str(), *bytes))
        .collect();
    // Other builds, and paths that leave the folder: all of them are ignored.
    entries.push(("package/package.json", b"{}"));
    entries.push(("package/dist/cjs/standalone.js", b"other"));
    entries.push(("package/dist/umd/../../../evil/standalone.js", b"evil"));
    entries.push(("/etc/standalone.js", b"evil"));
    archive(&entries)
}

#[test]
fn a_package_as_one_file_is_the_folder_in_it() {
    let packed = packed();
    let pinned = Sha256::of(&packed);
    assert_eq!(pinned.to_string().parse(), Ok(pinned));
    let library = Library::from_archive(&packed, &pinned, &layout(), PageSessions::Off).unwrap();
    let folder = Library::from_files(&tiny(), &layout(), PageSessions::Off).unwrap();
    assert_eq!(script(&library), script(&folder));
    let names =
        |library: &Library| -> Vec<String> { library.chunk_names().map(str::to_owned).collect() };
    assert_eq!(names(&library), names(&folder));
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &packed).unwrap();
    let loaded = Library::load_archive(file.path(), &pinned, &layout(), PageSessions::Off).unwrap();
    assert_eq!(script(&loaded.unwrap()), script(&folder));
    let nothing = Library::load_archive(
        &file.path().join("x"),
        &pinned,
        &layout(),
        PageSessions::Off,
    );
    assert!(matches!(nothing, Ok(None) | Err(LibraryError::Read { .. })));
}

#[test]
fn an_archive_with_another_hash_or_none_at_all_is_refused() {
    let mut packed = packed();
    let pinned = Sha256::of(&packed);
    packed.push(0);
    let error = Library::from_archive(&packed, &pinned, &layout(), PageSessions::Off).unwrap_err();
    assert!(matches!(error, LibraryError::Hash { .. }), "{error}");
    assert!(error.to_string().contains(&pinned.to_string()), "{error}");
    let large = vec![b' '; MAX_FILE as usize + 1];
    for (what, bytes) in [
        ("the archive cannot be used", b"no archive".to_vec()),
        ("is missing", archive(&[("package/dist/umd/other.js", b"")])),
        (
            "larger than",
            archive(&[("package/dist/umd/standalone.js", &large)]),
        ),
        ("the archive cannot be used", {
            let whole = archive(&[("package/dist/umd/standalone.js", TINY.as_bytes())]);
            whole[..whole.len() / 2].to_vec()
        }),
    ] {
        let pinned = Sha256::of(&bytes);
        let error =
            Library::from_archive(&bytes, &pinned, &layout(), PageSessions::Off).unwrap_err();
        assert!(error.to_string().contains(what), "{what}: {error}");
    }
}

#[test]
fn pages_from_before_an_upgrade_find_their_chunks() {
    let old = Library::from_files(&tiny(), &layout(), PageSessions::Off).unwrap();
    let mut files = tiny();
    files.insert(
        "407.bundle.61efa1acb302134c434b.js".to_owned(),
        b"three()".to_vec(),
    );
    let mut new = Library::from_files(&files, &layout(), PageSessions::Off).unwrap();
    let gone: Vec<&str> = old
        .chunk_names()
        .filter(|name| new.chunk(name).is_none())
        .collect();
    assert_eq!(gone.len(), 1, "{gone:?}");
    let gone = gone[0].to_owned();
    new.add_chunks_of(&old);
    assert_eq!(new.chunk(&gone).unwrap().bytes(), "two()".as_bytes());
    let same = new.chunk("407.bundle.61efa1acb302134c434b.js").unwrap();
    assert_eq!(same.bytes(), "three()".as_bytes(), "today's come first");
}
