//! The content for a page: the tag for plain HTML, and the modules for bundlers and frameworks.
//!
//! None of this text is copied from a vendor. It names no vendor's host except that of PostHog's app,
//! which only links and the toolbar open.

mod csp;
mod html;
mod literal;
mod modules;
mod options;
mod page;
mod places;

pub use csp::content_security_policy;
pub use html::{script, tag, tag_of_template};
pub use page::{AnalyticsPart, Page, PostHogPart, ProxyAddress};
pub use places::{snippet_for, PageKind};

#[cfg(test)]
mod tests;
