//! Writes the context's values under `segment_`.

use super::super::explain::ValueOrigin;
use super::super::json::{name, write_string, Name, Shape, Value};
use super::{MessageSource, Properties, SEGMENT};

impl Properties<'_, '_, '_, '_> {
    /// Writes `segment_*` (mapping 1.3, point 4).
    pub(super) fn write_context(&mut self) {
        if let Some(value) = self.source.context.value {
            self.write_context_of(value);
        }
        if let Some(user_agent) = self.settled.user_agent {
            if !self.caller_has(name!("segment_userAgent")) {
                self.key(
                    name!("segment_userAgent"),
                    ValueOrigin::Fixed("the request's user agent"),
                );
                write_string(self.out, user_agent);
            }
        }
    }

    fn write_context_of(&mut self, value: Value) {
        let MessageSource {
            context,
            context_text,
            ..
        } = *self.source;
        let campaign_is_moved = self.campaign().is_some();
        const CAMPAIGN: Name = name!("campaign");
        const CONTEXT_IP: Name = name!("ip");
        const USER_AGENT: Name = name!("userAgent");
        let unknown_keys = self.unknown_keys(&SEGMENT, value, &context.entries);
        for entry in &context.entries {
            let is_replaced = match entry.name {
                CAMPAIGN => campaign_is_moved,
                CONTEXT_IP => self.settled.ip.is_some(),
                USER_AGENT => self.settled.user_agent.is_some(),
                _ => false,
            };
            if !is_replaced && !unknown_keys.contains(entry.key.of(context_text)) {
                self.entry_of(&SEGMENT, entry, "context");
            }
        }
        if value.shape != Shape::Object {
            self.spread(b"segment_", &unknown_keys, context_text, value);
        }
    }
}
