//! The content for a page: the tag for plain HTML, and the modules for bundlers and frameworks.
//!
//! All of this text is our own. It names no vendor's host, except PostHog's app, which links and
//! the toolbar open and which is never requested otherwise.

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
