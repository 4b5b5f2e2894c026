//! What is known about the clock of the machine without asking others.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A time before this program was written: the beginning of 2025, in seconds since 1970.
const WRITTEN: Duration = Duration::from_secs(1_735_689_600);

/// Returns whether a clock that shows this time must be wrong. A machine without a hardware clock starts with
/// such a time and corrects it later over the network.
pub fn is_wrong(now: SystemTime) -> bool {
    now < UNIX_EPOCH + WRITTEN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_this_program_is_wrong() {
        assert!(is_wrong(UNIX_EPOCH));
        assert!(is_wrong(UNIX_EPOCH - Duration::from_secs(1)));
        assert!(is_wrong(UNIX_EPOCH + WRITTEN - Duration::from_secs(1)));
        assert!(!is_wrong(UNIX_EPOCH + WRITTEN));
        assert!(!is_wrong(SystemTime::now()));
    }
}
