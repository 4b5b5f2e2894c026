//! The values of a message whose entries are not indexed.

use super::super::json::{name, Name, Value};
use super::Message;

/// The number of the first name that is not a key of a message.
const END: usize = name!("writeKey").index() + 1;

/// The values of a message under its known keys. A value is stored under the number of its key's name, so
/// that any key costs the same. The first place is for the values of unknown keys.
#[derive(Debug)]
pub(super) struct MessageFields([Option<Value>; END]);

impl Default for MessageFields {
    #[inline(always)]
    fn default() -> Self {
        Self([None; END])
    }
}

impl MessageFields {
    /// Stores a value, if it has the name of a field.
    #[inline(always)]
    pub(super) fn put(&mut self, name: Name, value: Value) {
        if let Some(place) = self.0.get_mut(name.index()) {
            *place = Some(value);
        }
    }
}

impl Message {
    /// Returns the value of a field, which must be a constant.
    #[inline(always)]
    pub(in crate::rewrite) fn field(&self, name: Name) -> &Option<Value> {
        debug_assert!(name.index() < END, "no value is stored under this name");
        self.fields.0.get(name.index()).unwrap_or(&None)
    }
}

macro_rules! fields {
    ($($field:ident = $key:literal,)*) => {
        impl Message {
            $(
                #[doc = concat!("Returns `", $key, "`.")]
                #[inline(always)]
                pub(in crate::rewrite) fn $field(&self) -> Option<Value> {
                    const { assert!(name!($key).index() < END) };
                    *self.field(name!($key))
                }
            )*
        }
    };
}

fields! {
    anonymous_id = "anonymousId",
    batch = "batch",
    category = "category",
    event = "event",
    group_id = "groupId",
    kind = "type",
    message_id = "messageId",
    metadata = "_metadata",
    name = "name",
    original_timestamp = "originalTimestamp",
    previous_id = "previousId",
    sent_at = "sentAt",
    timestamp = "timestamp",
    traits = "traits",
    user_id = "userId",
    write_key = "writeKey",
}
