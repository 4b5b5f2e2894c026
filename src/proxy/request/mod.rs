//! A client's request: its connection, its body and its sender.

pub(crate) mod body;
pub(crate) mod exchange;
pub(crate) mod visitor;
