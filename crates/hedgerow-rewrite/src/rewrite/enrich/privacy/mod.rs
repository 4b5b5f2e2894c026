//! Masks addresses and click ids, and matches the patterns with which a site names events and
//! properties.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::url::{Parameter, ParameterPrivacy};

mod matcher;
mod pattern;

pub(in crate::rewrite) use matcher::{Indexes, PatternMatcher};
pub use pattern::{Hit, NamePattern, PathPattern, PatternError, PatternProgress};

/// The text that posthog-js writes instead of a masked parameter's value.
pub const MASKED: &str = "<masked>";

/// How much of an address leaves the edge.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IpMask {
    /// All of it.
    #[default]
    Off,
    /// The network: an IPv4 address without the last of its four numbers, or an IPv6 address
    /// without its last 64 bits, which identify the device.
    LastOctet,
    /// Nothing. PostHog would fill in an absent `$ip` (posthog-ingestion 2.2), so it is `0.0.0.0`,
    /// as Segment's users write (segment-tracking 4.3).
    All,
}

impl IpMask {
    /// Returns the masked address. A text that is not an address is returned only if nothing is
    /// masked.
    pub fn apply(self, address: &str) -> Cow<'_, str> {
        match self {
            Self::Off => Cow::Borrowed(address),
            Self::All => Cow::Borrowed("0.0.0.0"),
            Self::LastOctet => match address.trim().parse::<IpAddr>() {
                Ok(address) => Cow::Owned(network(address.to_canonical()).to_string()),
                Err(_) => Cow::Borrowed("0.0.0.0"),
            },
        }
    }
}

impl IpMask {
    /// Masks an address that is already parsed.
    pub fn apply_to(self, address: IpAddr) -> IpAddr {
        match self {
            Self::Off => address,
            Self::LastOctet => network(address.to_canonical()),
            Self::All => Ipv4Addr::UNSPECIFIED.into(),
        }
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(address) => {
            let [a, b, c, _] = address.octets();
            Ipv4Addr::new(a, b, c, 0).into()
        }
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
    }
}

/// Masks the ids of single clicks ([`ParameterPrivacy::Personal`]) in the query of a URL, as
/// posthog-js does with `mask_personal_data_properties`.
pub fn mask_click_ids(url: &str) -> Cow<'_, str> {
    let (whole, fragment) = match url.find('#') {
        Some(at) => url.split_at(at),
        None => (url, ""),
    };
    let Some((head, query)) = whole.split_once('?') else {
        return Cow::Borrowed(url);
    };
    if query
        .split(['&', '?'])
        .all(|part| personal_name(part).is_none())
    {
        return Cow::Borrowed(url);
    }
    let mut masked = String::with_capacity(url.len() + MASKED.len());
    masked.push_str(head);
    for (at, part) in query.split('&').enumerate() {
        masked.push(if at == 0 { '?' } else { '&' });
        // A second question mark may also begin a parameter, whose value must not remain.
        for (at, piece) in part.split('?').enumerate() {
            if at > 0 {
                masked.push('?');
            }
            if let Some(name) = personal_name(piece) {
                masked.push_str(name);
                masked.push('=');
                masked.push_str(MASKED);
                break;
            }
            masked.push_str(piece);
        }
    }
    masked.push_str(fragment);
    Cow::Owned(masked)
}

/// Returns whether a property of this name holds the id of one click: `gclid`, PostHog's
/// `$initial_gclid`, or `utm_gclid`, which the reference builds from `context.campaign.gclid`.
pub fn is_click_id(property: &str) -> bool {
    let name = ["$initial_", "utm_"]
        .iter()
        .find_map(|prefix| property.strip_prefix(prefix))
        .unwrap_or(property);
    Parameter::privacy_of(name) == Some(ParameterPrivacy::Personal)
}

/// Returns the name of a parameter if its value is the id of one click.
fn personal_name(parameter: &str) -> Option<&str> {
    let name = parameter.split('=').next()?;
    (Parameter::privacy_of(name) == Some(ParameterPrivacy::Personal)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_masked_down_to_its_network() {
        for (address, network) in [
            ("203.0.113.77", "203.0.113.0"),
            (" 203.0.113.77 ", "203.0.113.0"),
            ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
            ("::ffff:203.0.113.77", "203.0.113.0"),
            ("::1", "::"),
            ("203.0.113.77:443", "0.0.0.0"),
            ("unknown", "0.0.0.0"),
            ("", "0.0.0.0"),
        ] {
            assert_eq!(IpMask::LastOctet.apply(address), network, "{address}");
            if let Ok(address) = address.trim().parse() {
                assert_eq!(IpMask::LastOctet.apply_to(address).to_string(), network);
                assert_eq!(IpMask::All.apply_to(address).to_string(), "0.0.0.0");
                assert_eq!(IpMask::Off.apply_to(address), address);
            }
            assert_eq!(IpMask::All.apply(address), "0.0.0.0");
            assert_eq!(IpMask::Off.apply(address), address);
        }
    }

    #[test]
    fn a_property_with_a_click_id_is_known_by_its_name() {
        for name in ["gclid", "$initial_fbclid", "utm_gclid", "_kx"] {
            assert!(is_click_id(name), "{name}");
        }
        for name in [
            "gclids",
            "utm_source",
            "$initial_utm_source",
            "gad_source",
            "",
        ] {
            assert!(!is_click_id(name), "{name}");
        }
    }

    #[test]
    fn a_url_without_click_ids_is_unchanged() {
        for url in [
            "",
            "?",
            "/p#?gclid=1",
            "https://a.test/?utm_source=gclid&gad_source=1&x=gclid",
        ] {
            assert!(
                matches!(mask_click_ids(url), Cow::Borrowed(same) if same == url),
                "{url}"
            );
        }
    }
}
