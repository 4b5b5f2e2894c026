//! Checks this machine: the requirements of a start, the disk, the certificates, the limits.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use rustix::process::{getrlimit, Resource};

use crate::config::{Config, SpoolConfig};
use crate::delivery::{Examination, SpoolHealth, SpoolTrouble};
use crate::doctor::{self, Finding};

use crate::proxy::acme;
use crate::proxy::build_error::BuildError;
use crate::proxy::lifecycle::start_check::check_server;
use crate::proxy::server_error::ServerError;

/// Examines this machine. Opens no connection, except to a spool that several machines share.
pub(super) fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let start = check_server(config.clone());
    const START: &str = "start";
    for refusal in &start.refusals {
        findings.push(Finding::bad(START, refusal.to_string(), remedy(refusal)));
    }
    if start.refusals.is_empty() {
        let observation = "`hedgerow run` would start with this configuration";
        findings.push(Finding::ok(START, observation));
    }
    match &config.delivery.spool {
        Some(spool) => findings.extend(self::spool(spool, config.bounds.event)),
        None => findings.push(Finding::note(
            "spool",
            "off",
            "set `delivery.spool`, so that events wait during an outage of PostHog",
        )),
    }
    let mut ordered = Vec::new();
    for listener in &config.listen {
        for tls in listener.certificate_files() {
            findings.extend(certificate(&tls.certificate));
        }
        for settings in listener.ordered_certificates() {
            // Several listeners may use the same certificate.
            if !ordered.contains(&settings) {
                ordered.push(settings);
                findings.extend(acme::examine(settings));
            }
        }
    }
    findings.push(doctor::files(getrlimit(Resource::Nofile).current));
    findings
}

/// Returns the advice for a failed start.
fn remedy(refusal: &ServerError) -> &'static str {
    match refusal {
        ServerError::Build(BuildError::Library { .. }) => {
            "run `npm install @segment/analytics-next` in the folder of the configuration, or set \
             `library.folder` to the folder of the package"
        }
        ServerError::Build(BuildError::Authorities { .. }) => "install ca-certificates",
        ServerError::Build(BuildError::CaFile { .. }) => {
            "`ca_file` must contain the certificate of the authority, as PEM"
        }
        ServerError::Build(BuildError::Spool(_)) => {
            "start the version that wrote it, or set another folder in `delivery.spool`"
        }
        ServerError::Certificate { .. } => {
            "`tls.key` must be the key of `tls.certificate`, both as PEM"
        }
        ServerError::Listen { .. } => "`listen` and `admin` must be free addresses of this machine",
        _ => "`hedgerow run` would not start: correct this part of the configuration",
    }
}

fn spool(spool: &SpoolConfig, largest_event: usize) -> Vec<Finding> {
    // This needs a separate thread: the check of a shared spool opens a connection, which needs its own
    // runtime.
    let examined = std::thread::scope(|scope| {
        let backend = || spool.place.backend().examine(spool.limits(), largest_event);
        scope.spawn(backend).join()
    });
    let Ok(examined) = examined else {
        let what = "the check ended in a panic";
        return vec![Finding::bad("spool", what, "report it")];
    };
    let finding = |Examination { about, found }| match found {
        SpoolHealth::Well(well) => Finding::ok(about, well),
        SpoolHealth::Unknown(SpoolTrouble { what, advice }) => Finding::note(about, what, advice),
        SpoolHealth::Bad(SpoolTrouble { what, advice }) => Finding::bad(about, what, advice),
    };
    let mut findings: Vec<Finding> = examined.into_iter().map(finding).collect();
    if let Some(folder) = spool.place.backend().folder() {
        let ancestor = folder.ancestors().find(|folder| folder.exists());
        let disk = rustix::fs::statvfs(ancestor.unwrap_or(Path::new(".")));
        if let Ok(disk) = disk {
            let free = disk.f_bavail.saturating_mul(disk.f_frsize);
            let name = folder.display().to_string();
            findings.push(doctor::space(&name, free, spool.max_size));
        }
    }
    findings
}

/// Examines the first certificate of a file, which is the listener's own.
fn certificate(file: &Path) -> Option<Finding> {
    let pem = std::fs::read(file).ok()?;
    let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let valid = certificate.validity();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let now = i64::try_from(now.as_secs()).ok()?;
    Some(doctor::certificate(
        &file.display().to_string(),
        valid.not_after.timestamp() - now,
        now - valid.not_before.timestamp(),
    ))
}
