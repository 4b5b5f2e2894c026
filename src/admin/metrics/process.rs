//! The metrics of the process itself.

/// The process as its system sees it.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessState {
    /// Time of all its threads on processors, in seconds.
    pub cpu_seconds: f64,
    /// Its memory in RAM, in bytes.
    pub resident_bytes: u64,
    /// Its address space, in bytes.
    pub virtual_bytes: u64,
    /// Its open descriptors.
    pub open_descriptors: u64,
    /// The descriptors that it may have open; none without a bound.
    pub most_descriptors: Option<u64>,
    /// Its threads.
    pub threads: u64,
    /// The tasks that are alive on the runtimes of its listeners.
    pub tasks: u64,
    /// When it began, in seconds since 1970.
    pub started: f64,
}
