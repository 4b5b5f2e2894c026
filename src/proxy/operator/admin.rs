//! The admin pages and health of a Hedgerow.

use std::sync::Arc;

use crate::admin::{Admin, Health, ProxyState, Unready};

use crate::proxy::hedgerow::Hedgerow;
use crate::proxy::state::{current_state, unready};

impl Hedgerow {
    /// Returns the admin pages, or `None` if `admin` is off. The `hedgerow` binary serves them on their
    /// address; another proxy serves them with [`HandlerApp`](crate::proxy::HandlerApp), where it wants
    /// them.
    pub fn admin(&self) -> Option<Arc<Admin>> {
        self.current().admin.clone()
    }

    /// Returns the current state for the admin page.
    #[doc(hidden)]
    pub fn state(&self) -> ProxyState {
        current_state(&self.current())
    }

    /// Returns the reasons why this process should get no requests now. The list is empty when it should
    /// get them.
    pub fn unready(&self) -> Vec<Unready> {
        unready(&self.current())
    }

    /// Returns the handler for health checks on a separate address, without the pages of the admin
    /// address.
    pub fn health(&self) -> Arc<Health> {
        let hedgerow = self.clone();
        Arc::new(Health::new(move || hedgerow.unready()))
    }
}
