//! The findings about this machine: its clock, disk, files and certificates.

use super::finding::Finding;

/// Checks this machine's clock. `ahead` is how far it is ahead of PostHog's, in seconds.
pub fn clock(ahead: i64) -> Finding {
    const ABOUT: &str = "clock";
    let off = ahead.unsigned_abs();
    let observation = match ahead {
        // `Date` has a resolution of one second, and the answer needs some time to arrive.
        -2..=2 => return Finding::ok(ABOUT, "agrees with PostHog's"),
        3.. => format!("{off} seconds ahead of PostHog's"),
        _ => format!("{off} seconds behind PostHog's"),
    };
    let advice = "set it by NTP, because Hedgerow corrects the times of all events by it";
    match off {
        0..30 => Finding::note(ABOUT, observation, advice),
        _ => Finding::bad(ABOUT, observation, advice),
    }
}

/// Checks a certificate. `left` is the time until it expires, and `since` the time since it became valid,
/// both in seconds.
pub fn certificate(file: &str, left: i64, since: i64) -> Finding {
    const DAY: i64 = 24 * 3600;
    let about = format!("certificate {file}");
    if since < 0 {
        let advice = "check this machine's clock, or use another certificate";
        return Finding::bad(about, "is not valid yet", advice);
    }
    let advice = "renew it: the process reads the new file by itself, or after `hedgerow reload`";
    match left {
        ..=0 => Finding::bad(about, format!("expired {} days ago", -left / DAY), advice),
        1..=1_209_600 => Finding::note(about, format!("expires in {} days", left / DAY), advice),
        _ => Finding::ok(about, format!("expires in {} days", left / DAY)),
    }
}

/// Checks the disk of a spool. `free` is the free space of the disk, and `max_size` the limit of the spool,
/// both in bytes.
pub fn space(folder: &str, free: u64, max_size: u64) -> Finding {
    let about = format!("spool {folder}, disk");
    let mebibytes = |bytes: u64| bytes >> 20;
    let observation = format!(
        "{} MiB are free, and `max_size` is {} MiB",
        mebibytes(free),
        mebibytes(max_size)
    );
    let advice = "free some space, or lower `delivery.spool.max_size`: on a full disk clients get \
        503";
    match free {
        _ if free >= max_size => Finding::ok(about, observation),
        _ if mebibytes(free) < 64 => Finding::bad(about, observation, advice),
        _ => Finding::note(about, observation, advice),
    }
}

/// Checks how many files the process may open. `None` means that there is no limit.
pub fn files(limit: Option<u64>) -> Finding {
    const ABOUT: &str = "open files";
    match limit {
        None => Finding::ok(ABOUT, "no limit"),
        Some(limit) if limit >= 4096 => Finding::ok(ABOUT, format!("up to {limit}")),
        Some(limit) => Finding::note(
            ABOUT,
            format!("up to {limit}"),
            "each connection needs one: raise it (ulimit -n, LimitNOFILE of systemd) to 65536",
        ),
    }
}
