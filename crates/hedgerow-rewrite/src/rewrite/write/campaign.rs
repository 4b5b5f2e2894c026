//! `utm_*`, of the context's campaign (mapping 1.3, point 2).

use super::super::explain::ValueOrigin;
use super::super::json::{is_truthy, name, Name, Shape, Value};
use super::super::message::ContextObject;
use super::super::usable;
use super::{Properties, UTM};

/// When the context's values are written: empty ones come last, if no other value has replaced them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CampaignPass {
    First,
    Left,
}

impl Properties<'_, '_, '_, '_> {
    /// `utm_*` (mapping 1.3, point 2).
    pub(super) fn write_campaign(&mut self) {
        let Some(campaign) = self.campaign() else {
            return;
        };
        self.write_campaign_values(campaign, CampaignPass::First);
        if campaign.shape != Shape::Object {
            let unknown_keys = self.unknown_keys(&UTM, campaign, &[]);
            self.spread(b"utm_", &unknown_keys, self.source.context_text, campaign);
        }
    }

    pub(super) fn write_campaign_values(&mut self, campaign: Value, turn: CampaignPass) {
        let text = self.source.context_text;
        let taken = match turn {
            CampaignPass::First => None,
            CampaignPass::Left => self.campaign_left.take(),
        };
        let entries = self.source.context.inner(ContextObject::Campaign);
        let unknown_keys = self.unknown_keys(&UTM, campaign, entries);
        for (index, entry) in entries.iter().enumerate() {
            let (is_campaign, property) = campaign_property(entry.name);
            let twice = is_campaign == Is::Campaign
                && entries
                    .iter()
                    .skip(index + 1)
                    .any(|later| campaign_property(later.name).0 == Is::Campaign);
            let outdone = is_campaign == Is::Campaign && self.given.utm_name.is_some();
            let gives_way = self.is_enriched() && usable::is_missing(entry.value, text);
            let is_due = match turn {
                CampaignPass::First if gives_way => {
                    self.campaign_left.get_or_insert_default();
                    false
                }
                CampaignPass::First => {
                    self.note_campaign(entry.name, property);
                    true
                }
                CampaignPass::Left => {
                    let is_left = property
                        .is_none_or(|property| !taken.is_some_and(|taken| taken.has(property)));
                    gives_way && is_left && !usable::says_undefined(entry.value, text)
                }
            };
            if !is_due || twice || outdone {
                continue;
            }
            if is_campaign == Is::Campaign {
                if !unknown_keys.hold(b"campaign") {
                    let key = entry.key.of(text);
                    let origin = ValueOrigin::Under("context.campaign", key);
                    self.key(name!("utm_campaign"), origin);
                    self.out.span(text, entry.value.span);
                }
            } else if !unknown_keys.hold(entry.key.of(text)) {
                self.entry_of(&UTM, entry, "context.campaign");
            }
        }
    }

    /// Notes that the campaign gives a property.
    fn note_campaign(&mut self, key: Name, property: Option<Name>) {
        if let Some(property) = property {
            self.taken.add(property);
            // Under its own name it is no property, but it still prevents one.
            if key == name!("name") {
                self.taken.add(name!("utm_name"));
            }
        }
    }

    /// The campaign, if its values become properties.
    pub(super) fn campaign(&self) -> Option<Value> {
        let text = self.source.context_text;
        let campaign = self.source.context.named(name!("campaign"))?;
        is_truthy(campaign, text).then_some(campaign)
    }
}

/// Whether a value of the campaign is its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Is {
    Campaign,
    Else,
}

/// The property that a value of the campaign becomes (mapping 1.3, point 2), if it is a
/// known one.
fn campaign_property(key: Name) -> (Is, Option<Name>) {
    const NAME: Name = name!("name");
    const CAMPAIGN: Name = name!("campaign");
    const SOURCE: Name = name!("source");
    const MEDIUM: Name = name!("medium");
    const CONTENT: Name = name!("content");
    const TERM: Name = name!("term");
    const ID: Name = name!("id");
    let property = match key {
        NAME | CAMPAIGN => return (Is::Campaign, Some(name!("utm_campaign"))),
        SOURCE => name!("utm_source"),
        MEDIUM => name!("utm_medium"),
        CONTENT => name!("utm_content"),
        TERM => name!("utm_term"),
        ID => name!("utm_id"),
        _ => return (Is::Else, None),
    };
    (Is::Else, Some(property))
}
