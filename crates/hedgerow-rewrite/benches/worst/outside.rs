//! Cases outside a plain body: cookies, pixels, and gzip bodies.

use base64::Engine;
use hedgerow_rewrite::{Call, Mapping};

use super::cases::*;

pub fn outside(cases: &mut Vec<Case>) {
    let cookies = |name: &str, header: String| {
        let text = ordinary_batch(1);
        with(
            name,
            (Call::Batch, Some(header)),
            Mapping::default(),
            text.into(),
        )
    };
    cases.push(cookies("60 kB of cookies", "a=b; ".repeat(12_000)));
    cases.push(cookies(
        "60 kB of cookies of one name",
        "_fbc=fb.1.1; ".repeat(5_000),
    ));
    cases.push(cookies(
        "posthog-js's cookie nested",
        format!("ph_phc_worst_posthog={}", "[".repeat(16_000)),
    ));
    cases.push(cookies(
        "posthog-js's cookie in escapes",
        format!("ph_phc_worst_posthog={}", "%5B".repeat(5_400)),
    ));
    cases.push(pixel(
        "a pixel with 7,000 parameters",
        list(7_000, |n| format!("k{n}=1")).replace(',', "&"),
    ));
    cases.push(pixel(
        "a pixel with 16,000 times one name",
        "a=1&".repeat(16_000),
    ));
    cases.push(pixel(
        "a pixel with names of eight levels",
        list(2_800, |n| format!("a.b.c.d.e.f.g.k{n}=1")).replace(',', "&"),
    ));
    cases.push(pixel(
        "a pixel with eight levels, all new",
        list(3_000, |n| format!("{n:04}.1.1.1.1.1.1.1=")).replace(',', "&"),
    ));
    cases.push(pixel(
        "a pixel that nests anew each time",
        "a=1&a.b=1&".repeat(6_000),
    ));
    cases.push(pixel("a pixel in escapes", "%61=%C3%A4&".repeat(5_900)));
    let data = base64::engine::general_purpose::STANDARD
        .encode(track(&list(3_500, |n| format!(r#""k{n}":1"#))));
    cases.push(pixel("a pixel's message in `data`", format!("data={data}")));
    let plain = ordinary_batch(300);
    cases.push(inflated(
        "gzip: an ordinary batch of 300",
        gzip(plain.as_bytes()),
        plain.len(),
    ));
    let ones = batch(5_242_000, |_| "1".to_owned());
    cases.push(inflated(
        "gzip: 5,242,000 times `1`",
        gzip(ones.as_bytes()),
        ones.len(),
    ));
    let zeros = vec![b' '; 10 << 20];
    cases.push(inflated(
        "gzip: ten million spaces",
        gzip(&zeros),
        zeros.len(),
    ));
    let members = gzip(b"").repeat(50_000);
    let wire = members.len();
    cases.push(inflated("gzip: 50,000 empty members", members, wire));
    let members = gzip(b" ").repeat(50_000);
    let wire = members.len();
    cases.push(inflated("gzip: 50,000 members of a byte", members, wire));
    let mut stored = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];
    stored.extend([0, 0, 0, 255, 255].repeat(200_000));
    let wire = stored.len();
    cases.push(inflated("gzip: 200,000 empty blocks", stored, wire));
    let tables = gzip(&plain.as_bytes()[..300]).repeat(5_000);
    let wire = tables.len();
    cases.push(inflated(
        "gzip: 5,000 members with tables of their own",
        tables,
        wire,
    ));
    let mut name = vec![0x1f, 0x8b, 8, 8, 0, 0, 0, 0, 0, 255];
    name.extend(vec![b'n'; 5 << 20]);
    let wire = name.len();
    cases.push(inflated("gzip: a file name of 5 MB", name, wire));
}
