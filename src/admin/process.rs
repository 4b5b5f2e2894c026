//! The state of the process itself, for the metrics.

/// The resources that the process uses, as the operating system reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ProcessState {
    /// The processor time of all threads, in seconds.
    pub cpu_seconds: f64,
    /// The memory in RAM, in bytes.
    pub resident_bytes: u64,
    /// The size of the address space, in bytes.
    pub virtual_bytes: u64,
    /// The number of open file descriptors.
    pub open_descriptors: u64,
    /// The limit of open file descriptors; `None` if there is no limit.
    pub most_descriptors: Option<u64>,
    /// The number of threads.
    pub threads: u64,
    /// The number of tasks that are alive on the runtimes of the listeners.
    pub tasks: u64,
    /// The time at which the process started, in seconds since 1970.
    pub started: f64,
}
