//! Values of the machine for the metrics: the process, its disk, its certificates.

use std::path::Path;

use crate::admin::metrics::ProcessState;
use crate::admin::CertificateState;
use crate::config::Config;

/// The current state of the process; `None` if the system has no `/proc`, and in a host proxy's
/// build, because the process belongs to the host.
#[cfg(all(feature = "server", target_os = "linux"))]
pub(crate) fn state() -> Option<ProcessState> {
    use procfs::process::{LimitValue, Process};
    let process = Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let ticks = procfs::ticks_per_second().max(1) as f64;
    let limit = process.limits().ok()?.max_open_files.soft_limit;
    Some(ProcessState {
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        resident_bytes: stat.rss * procfs::page_size(),
        virtual_bytes: stat.vsize,
        open_descriptors: process.fd_count().ok()? as u64,
        most_descriptors: match limit {
            LimitValue::Unlimited => None,
            LimitValue::Value(limit) => Some(limit),
        },
        threads: u64::try_from(stat.num_threads).unwrap_or_default(),
        tasks: super::tasks::alive(),
        started: procfs::boot_time_secs().ok()? as f64 + stat.starttime as f64 / ticks,
    })
}

/// Always `None`: there is no `/proc`, or the process belongs to a host proxy.
#[cfg(not(all(feature = "server", target_os = "linux")))]
pub(crate) fn state() -> Option<ProcessState> {
    None
}

/// The bytes that are free for this process on the disk of a folder.
#[cfg(any(feature = "server", feature = "sqlite"))]
pub(crate) fn free_of(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Always `None`: without SQLite no folder is used.
#[cfg(not(any(feature = "server", feature = "sqlite")))]
pub(crate) fn free_of(_folder: &Path) -> Option<u64> {
    None
}

/// The expiry of each certificate file of the listeners: the earliest date in its chain. A file
/// that several listeners use is listed once.
#[cfg(feature = "server")]
pub(crate) fn certificates(config: &Config) -> Vec<CertificateState> {
    use std::collections::BTreeSet;
    use x509_parser::pem::Pem;
    let listeners = config.listen.iter();
    let tls = listeners.flat_map(|listener| listener.certificate_files());
    let files: BTreeSet<&Path> = tls.map(|tls| tls.certificate.as_path()).collect();
    let ends = files.into_iter().filter_map(|file| {
        let pem = std::fs::read(file).ok()?;
        let chain = Pem::iter_from_buffer(&pem).filter_map(|pem| {
            let pem = pem.ok()?;
            let certificate = pem.parse_x509().ok()?;
            Some(certificate.validity().not_after.timestamp())
        });
        Some(CertificateState {
            file: file.display().to_string(),
            expires: chain.min()?,
        })
    });
    ends.collect()
}

/// None: a host proxy has its own listeners.
#[cfg(not(feature = "server"))]
pub(crate) fn certificates(_config: &Config) -> Vec<CertificateState> {
    Vec::new()
}
