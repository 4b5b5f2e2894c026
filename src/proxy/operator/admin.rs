//! The admin pages and health of a Hedgerow.

use std::sync::Arc;

use crate::admin::{Admin, Health, ProxyState, Unready};

use crate::proxy::hedgerow::Hedgerow;

impl Hedgerow {
    /// The pages of `admin`, unless it is off. The `hedgerow` binary serves them on their address;
    /// another proxy does it with [`HandlerApp`](crate::proxy::Plain), where it wants them.
    pub fn admin(&self) -> Option<Arc<Admin>> {
        self.current().admin.clone()
    }

    /// The current state for the admin page.
    #[doc(hidden)]
    pub fn state(&self) -> ProxyState {
        self.current().state()
    }

    /// Why no requests should come here now; empty when they should.
    pub fn unready(&self) -> Vec<Unready> {
        self.current().unready()
    }

    /// Health on a separate address, without the pages of the admin address.
    pub fn health(&self) -> Arc<Health> {
        let hedgerow = self.clone();
        Arc::new(Health::new(move || hedgerow.unready()))
    }
}
