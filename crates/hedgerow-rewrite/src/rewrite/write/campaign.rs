//! Writes `utm_*` from the context's campaign (mapping 1.3, point 2).

use super::super::explain::ValueOrigin;
use super::super::json::{is_truthy, name, Marks, Name, Shape, Value};
use super::super::message::ContextObject;
use super::super::usable;
use super::{Properties, UTM};

/// The pass in which a value of the campaign is written. Empty values are written in the last pass, if
/// no other value has replaced them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum CampaignPass {
    First,
    Left,
}

impl Properties<'_, '_, '_, '_> {
    /// Writes `utm_*` (mapping 1.3, point 2).
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

    pub(super) fn write_campaign_values(&mut self, campaign: Value, pass: CampaignPass) {
        let text = self.source.context_text;
        let taken = match pass {
            CampaignPass::First => None,
            CampaignPass::Left => self.campaign_left.take(),
        };
        let entries = self.source.context.inner(ContextObject::Campaign);
        let unknown_keys = self.unknown_keys(&UTM, campaign, entries);
        for (index, entry) in entries.iter().enumerate() {
            let property = campaign_property(entry.name);
            let is_campaign = IS_CAMPAIGN.has(entry.name);
            let twice = is_campaign && {
                let mut later = entries.iter().skip(index + 1);
                later.any(|later| IS_CAMPAIGN.has(later.name))
            };
            let overridden = is_campaign && self.moved.utm_name.is_some();
            let is_unusable = self.is_enriched() && usable::is_missing(entry.value, text);
            let is_due = match pass {
                CampaignPass::First if is_unusable => {
                    self.campaign_left.get_or_insert_default();
                    false
                }
                CampaignPass::First => {
                    self.note_campaign(entry.name, property);
                    true
                }
                CampaignPass::Left => {
                    let is_left =
                        property == Name::OTHER || !taken.is_some_and(|taken| taken.has(property));
                    is_unusable && is_left && !usable::is_undefined_text(entry.value, text)
                }
            };
            if !is_due || twice || overridden {
                continue;
            }
            if is_campaign {
                if !unknown_keys.contains(b"campaign") {
                    let key = entry.key.of(text);
                    let origin = ValueOrigin::Under("context.campaign", key);
                    self.key(name!("utm_campaign"), origin);
                    self.out.span(text, entry.value.span);
                }
            } else if !unknown_keys.contains(entry.key.of(text)) {
                self.entry_of(&UTM, entry, "context.campaign");
            }
        }
    }

    /// Records that the campaign gives a property.
    #[inline(always)]
    fn note_campaign(&mut self, key: Name, property: Name) {
        if property == Name::OTHER {
            return;
        }
        self.taken.add(property);
        // The campaign's `name` does not become `utm_name`, but no other source may add `utm_name`.
        if key == name!("name") {
            self.taken.add(name!("utm_name"));
        }
    }

    /// Returns the campaign if its values become properties.
    pub(super) fn campaign(&self) -> Option<Value> {
        let text = self.source.context_text;
        let campaign = self.source.context.named(name!("campaign"))?;
        is_truthy(campaign, text).then_some(campaign)
    }
}

/// The keys under which a campaign's name is given.
static IS_CAMPAIGN: Marks = Marks::of(&["name", "campaign"]);

/// Returns the property that a value of the campaign becomes (mapping 1.3, point 2), or [`Name::OTHER`]
/// if Hedgerow does not know that property by name.
#[inline(always)]
fn campaign_property(key: Name) -> Name {
    PROPERTIES.get(key.index()).copied().unwrap_or(Name::OTHER)
}

#[allow(clippy::indexing_slicing)]
static PROPERTIES: [Name; Name::COUNT] = {
    const OF: [(&str, &str); 7] = [
        ("name", "utm_campaign"),
        ("campaign", "utm_campaign"),
        ("source", "utm_source"),
        ("medium", "utm_medium"),
        ("content", "utm_content"),
        ("term", "utm_term"),
        ("id", "utm_id"),
    ];
    let mut properties = [Name::OTHER; Name::COUNT];
    let mut index = 0;
    while index < OF.len() {
        let (value, property) = OF[index];
        properties[Name::known(value).index()] = Name::known(property);
        index += 1;
    }
    properties
};
