use super::*;

use std::path::Path;

use crate::config::{Config, Environment};
use crate::site::PathPrefix;

/// Returns a configuration with an action of each kind.
fn config() -> Config {
    let yaml = "projects:\n  shop: {host: us, api_key: phc_test}\n\
                routes:\n  - {path: /a, segment: {project: shop}}\n  \
                - {path: /b, posthog: {project: shop}}\n  \
                - {path: /c, origin: 'http://127.0.0.1:3000'}\n";
    Config::parse(yaml, &Environment::new(Path::new(".")))
        .unwrap()
        .0
}

/// Pseudo-random numbers that are the same in each run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) as usize % bound
    }

    fn one_of<'t>(&mut self, texts: &[&'t str]) -> &'t str {
        texts[self.below(texts.len())]
    }

    fn path(&mut self, segments: &[&str], slashes: &[&str]) -> String {
        let mut path = String::new();
        for _ in 0..self.below(5) {
            path.push_str(self.one_of(slashes));
            path.push_str(self.one_of(segments));
        }
        path.push_str(self.one_of(&["", slashes[0]]));
        path
    }
}

#[test]
fn the_table_finds_the_same_route_as_a_linear_search() {
    let mut config = config();
    let actions: Vec<Action> = config
        .routes
        .iter()
        .map(|route| route.action.clone())
        .collect();
    let mut numbers = Numbers(7);
    let (mut found, mut mismatches) = (0, 0);
    for _ in 0..300 {
        config.routes.clear();
        for _ in 0..1 + numbers.below(12) {
            let path = numbers.path(&["a", "b", "ab", "v1"], &["/"]);
            let path = if path.is_empty() { "/" } else { &path };
            let host = numbers.one_of(&["", "", "one.example", "two.example", "::1"]);
            config.routes.push(Route {
                host: (!host.is_empty()).then(|| host.parse().unwrap()),
                path: PathPrefix::new(path).unwrap(),
                home: None,
                action: actions[numbers.below(actions.len())].clone(),
            });
        }
        let table = RouteTable::new(&config.routes);
        for _ in 0..200 {
            let path = numbers.path(&["a", "b", "ab", "v1", "A", ""], &["/", "/", "/", "//", ""]);
            let host = numbers.one_of(&[
                "",
                "one.example",
                "ONE.example:80",
                "two.example.",
                "[::1]:8080",
                "x.example",
            ]);
            let host = (!host.is_empty()).then_some(host);
            let expected = config.route(host, &path).map(|(route, tail)| {
                let same = |other: &Route| std::ptr::eq(other, route);
                (config.routes.iter().position(same).unwrap(), tail)
            });
            found += usize::from(expected.is_some());
            let by_table = table.find(host, &path);
            if by_table != expected {
                eprintln!("{host:?} {path:?}: expected {expected:?}, found {by_table:?}");
                mismatches += 1;
            }
        }
    }
    assert!(found > 5_000, "only {found} requests were on a route");
    assert_eq!(mismatches, 0);
}
