use super::{read, SHORTEST};
use hedgerow::config::{render_table, Action, Config, UpstreamHttp};
use hedgerow::segment::WriteKey;

const ROUTES: &str = "\
projects:
  shop: {host: us, api_key: env:KEY, http: 2}
  europe: {host: eu, api_key: file:key}
routes:
  - path: /hr
    segment: {write_keys: {wk_one: shop, wk_two: europe, wk_three: shop}}
  - {host: Blog.example.com, path: /, origin: https://one.internal}
  - {host: shop.example.com, path: /api/, origin: [http://127.0.0.1:3000, 'http://[::1]:3001']}
  - {host: shop.example.com, path: /, origin: http://127.0.0.1:4000}
";

fn config() -> Config {
    read(ROUTES).unwrap().0
}

#[test]
fn the_first_route_that_matches_has_the_request() {
    let config = config();
    let mut mismatches = 0;
    for (host, path, expected) in [
        (None, "/hr", Some((0, ""))),
        (None, "/hr/", Some((0, ""))),
        (Some("blog.example.com"), "/hr/v1/t", Some((0, "v1/t"))),
        (Some("BLOG.example.com:443"), "/hrx", Some((1, "hrx"))),
        (Some("shop.example.com:8080"), "/api", Some((2, ""))),
        (Some("shop.example.com"), "/api/x/", Some((2, "x/"))),
        (Some("shop.example.com"), "/apis", Some((3, "apis"))),
        (Some("shop.example.com"), "/%68r/", Some((3, "%68r/"))),
        (Some("other.example.com"), "/", None),
        (None, "/", None),
        (Some("shop.example.com"), "*", None),
    ] {
        let found = config.route(host, path).map(|(route, tail)| {
            let index = config
                .routes
                .iter()
                .position(|other| std::ptr::eq(other, route));
            (index.unwrap(), tail)
        });
        if found != expected {
            eprintln!("{host:?} {path}: expected {expected:?}, found {found:?}");
            mismatches += 1;
        }
    }
    assert_eq!(mismatches, 0);
}

#[test]
fn a_write_key_leads_to_its_project() {
    let config = config();
    let (route, _) = config.route(None, "/hr/").unwrap();
    let Action::Segment { write_keys, .. } = &route.action else {
        panic!("{route:?}");
    };
    let target = |key: &str| {
        let key = WriteKey::new(key);
        write_keys
            .target(key.as_ref())
            .map(|project| project.name.as_str())
    };
    assert_eq!(target("wk_two"), Some("europe"));
    assert_eq!(target("wk_three"), Some("shop"));
    assert_eq!(target("wk_four"), None);
    let shop = config.project("shop").unwrap();
    assert_eq!(shop.http, UpstreamHttp::Http2);
    assert_eq!(shop.api_key.expose(), super::VARIABLE);
    assert_eq!(
        config.project("europe").unwrap().api_key.expose(),
        super::FILE
    );
}

#[test]
fn a_list_of_write_keys_leads_to_the_routes_project() {
    let keys = "segment: {project: shop, write_keys: [wk_a, 12345]}";
    let text = SHORTEST.replace("segment: {project: shop}", keys);
    let (config, _) = read(&text).unwrap();
    let Action::Segment { write_keys, .. } = &config.routes[0].action else {
        panic!("{config:?}");
    };
    for (key, expected) in [("wk_a", true), ("12345", true), ("wk_b", false)] {
        let key = WriteKey::new(key);
        assert_eq!(
            write_keys.target(key.as_ref()).is_some(),
            expected,
            "{key:?}"
        );
    }
    assert!(write_keys.target(None).is_none());
}

#[test]
fn a_route_that_can_never_match_is_a_mistake() {
    let rows = [
        ("/hr/", "/hr", true),
        ("/hr", "/hr/v1/", true),
        ("/", "/hr/", true),
        ("/hr/", "/hrx/", false),
        ("/hr/v1/", "/hr/", false),
        ("/HR/", "/hr/", false),
        ("HOST /", "host /hr", true),
        ("host:80 /", "HOST /", true),
        ("host /", "/", false),
        ("/", "host /", true),
        ("host /", "other /", false),
    ];
    let route = |text: &str| match text.split_once(' ') {
        Some((host, path)) => format!("  - {{host: '{host}', path: {path}, origin: http://a}}\n"),
        None => format!("  - {{path: {text}, origin: http://a}}\n"),
    };
    for (first, second, never) in rows {
        let text = format!("routes:\n{}{}", route(first), route(second));
        match read(&text) {
            Ok(_) => assert!(!never, "{first} then {second}"),
            Err(problems) => {
                assert!(never, "{first} then {second}: {problems}");
                assert_eq!(problems.count(), 1);
                let problem = problems.iter().next().unwrap();
                assert_eq!(
                    (problem.position.line, problem.path.as_str()),
                    (3, "routes[1].path")
                );
                assert!(problem.message.contains("routes[0] (line 2)"), "{problem}");
            }
        }
    }
}

#[test]
fn the_table_shows_each_route_and_its_target() {
    let table = render_table(&config());
    let rows: Vec<Vec<&str>> = table
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for expected in [
        "1 any /hr/ segment europe https://eu.i.posthog.com 1",
        "1 any /hr/ segment shop https://us.i.posthog.com 2",
        "2 blog.example.com / origin - https://one.internal -",
        "3 shop.example.com /api/ origin - http://127.0.0.1:3000 -",
        "3 shop.example.com /api/ origin - http://[::1]:3001 -",
        "4 shop.example.com / origin - http://127.0.0.1:4000 -",
        "http://127.0.0.1:8080",
    ] {
        let expected: Vec<&str> = expected.split(' ').collect();
        assert!(
            rows.contains(&expected),
            "{expected:?} is missing in\n{table}"
        );
    }
}

#[test]
fn convert_has_one_project_and_the_defaults_of_a_file() {
    let convert = Config::default_for_convert();
    let (file, _) = read(SHORTEST).unwrap();
    assert_eq!(convert.project("default").unwrap().name, "default");
    assert_eq!(convert.projects.len(), 1);
    assert_eq!(convert.listen, file.listen);
    assert_eq!(convert.mapping, file.mapping);
    assert_eq!(convert.bounds, file.bounds);
    assert_eq!(convert.limits, file.limits);
}
