//! A client's request: its connection, its body and who sends it.

pub(crate) mod body;
pub(crate) mod exchange;
pub(crate) mod visitor;
