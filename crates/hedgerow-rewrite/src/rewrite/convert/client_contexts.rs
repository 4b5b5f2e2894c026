//! Stores the last context of each client for the client's next request.
//!
//! Most messages that a browser sends from one page have the same context, and so do the messages of a
//! server. The requests of one client arrive soon after each other, so the context of its last request
//! is stored as it was scanned and written. A message with another context is scanned as if none were
//! stored.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::arrival::Recipient;
use super::super::message::Context;
use super::super::write::ContextCache;

/// A context, and the properties that were written from it.
#[derive(Debug, Default)]
pub(in crate::rewrite) struct ClientContext {
    pub(super) context: Box<Context>,
    pub(super) cache: Box<ContextCache>,
    /// The recipient for whose events the properties were written: each recipient has its own constant
    /// properties.
    pub(super) recipient: Option<Arc<Recipient>>,
}

impl ClientContext {
    /// The largest context that is stored, in bytes.
    const LARGEST: usize = 12 * 1024;

    /// Whether the context is small enough to be stored.
    pub(super) fn fits(&self) -> bool {
        self.held() <= Self::LARGEST
    }

    /// The memory that the context holds, in bytes.
    pub(super) fn held(&self) -> usize {
        self.context.held() + self.cache.held()
    }
}

/// The slot in which a client's context is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::rewrite) struct ClientSlot(usize);

/// The last contexts of clients. A client replaces another one that has the same slot.
#[derive(Debug)]
pub(in crate::rewrite) struct ClientContexts(Box<[Option<ClientContext>]>);

impl Default for ClientContexts {
    fn default() -> Self {
        let slots = (0..Self::SLOTS).map(|_| None);
        Self(slots.collect())
    }
}

impl ClientContexts {
    /// The number of clients whose contexts are stored. They take 6 MiB at most, and usually less than
    /// 2 MiB.
    const SLOTS: usize = 512;
    /// Returns the slot of the client with this address.
    pub(in crate::rewrite) fn slot(client_ip: IpAddr) -> ClientSlot {
        let bits = match client_ip {
            IpAddr::V4(address) => u64::from(address.to_bits()),
            IpAddr::V6(address) => {
                let bits = address.to_bits();
                (bits >> 64) as u64 ^ (bits as u64).rotate_left(32)
            }
        };
        let hash = bits.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ClientSlot((hash >> (u64::BITS - Self::SLOTS.trailing_zeros())) as usize)
    }

    /// Takes out the context of a client. Until it is put back, other requests find none.
    pub(in crate::rewrite) fn take(
        &mut self,
        ClientSlot(slot): ClientSlot,
    ) -> Option<ClientContext> {
        self.0.get_mut(slot).and_then(Option::take)
    }

    /// Stores a context for the client's next request. Returns the one that it replaces.
    pub(in crate::rewrite) fn put(
        &mut self,
        ClientSlot(slot): ClientSlot,
        context: ClientContext,
    ) -> Option<ClientContext> {
        match self.0.get_mut(slot) {
            Some(slot) => slot.replace(context),
            None => Some(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_spread_over_all_places() {
        let mut taken = [0; ClientContexts::SLOTS];
        for number in 0..ClientContexts::SLOTS as u32 * 8 {
            let ClientSlot(slot) =
                ClientContexts::slot(IpAddr::from((0xc000_0200 + number).to_be_bytes()));
            taken[slot] += 1;
            let v6 = (0x2001_0db8_u128 << 96) | u128::from(number) << 64 | 1;
            let ClientSlot(slot) = ClientContexts::slot(IpAddr::from(v6.to_be_bytes()));
            taken[slot] += 1;
        }
        let most = taken.iter().max().unwrap();
        assert!(
            taken.iter().all(|count| *count > 0) && *most < 48,
            "{taken:?}"
        );
    }

    #[test]
    fn one_client_pushes_out_another() {
        let mut contexts = ClientContexts::default();
        let slot = ClientContexts::slot(IpAddr::from([203, 0, 113, 7]));
        assert!(contexts.take(slot).is_none());
        assert!(contexts.put(slot, ClientContext::default()).is_none());
        assert!(contexts.put(slot, ClientContext::default()).is_some());
        assert!(contexts.take(slot).is_some());
        assert!(contexts.take(slot).is_none(), "it was taken");
    }
}
