//! The judgement of this machine's own clock, from what the system says of it and from what is stored.
//!
//! Devices take their time from the cloud and records are measured against it, so a clock in doubt hands out nothing and
//! calls nothing wrong. Pure: reads no clock and no file.

use fieldkeep_protocol::time::Timestamp;

/// 2026-01-01: this program did not exist before.
pub const FIRST_US: i64 = 1_767_225_600_000_000;
/// Records were at most a day ahead when they came.
const AHEAD_US: i64 = 86_400 * 1_000_000;

/// Why this machine's clock is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Doubt {
    /// It shows a time at which this program did not exist.
    #[error("it shows a time before this program existed: set the time (`timedatectl set-time`)")]
    BeforeProgram,
    /// The system's time service runs and has not found the time yet.
    #[error(
        "the time service has not found the time yet: give it a server it reaches (/etc/systemd/timesyncd.conf), or set \
         the time by hand and `timedatectl set-ntp false`"
    )]
    Unsynchronised,
    /// Stored records are more than a day ahead of it.
    #[error(
        "the newest stored record is more than a day ahead of it: set the time, or set that device's records right on its \
         page"
    )]
    BehindRecords,
}

/// Whether the clock can be believed: `synchronised` as far as the system tells, `newest` stored record.
pub fn doubt(
    now: Timestamp,
    synchronised: Option<bool>,
    newest: Option<Timestamp>,
) -> Option<Doubt> {
    if now.as_micros() < FIRST_US {
        Some(Doubt::BeforeProgram)
    } else if synchronised == Some(false) {
        Some(Doubt::Unsynchronised)
    } else if newest.is_some_and(|newest| newest.saturating_since(now) > AHEAD_US) {
        Some(Doubt::BehindRecords)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_evidence_counts_and_their_absence_is_trust() {
        let now = Timestamp::from_micros(FIRST_US + AHEAD_US);
        let ahead = |by| now.checked_add_micros(by);
        let early = Timestamp::from_micros(FIRST_US - 1);
        for (now, synchronised, newest, expected) in [
            (now, None, None, None),
            (now, Some(true), ahead(AHEAD_US), None),
            (now, None, ahead(AHEAD_US + 1), Some(Doubt::BehindRecords)),
            (
                now,
                Some(true),
                ahead(AHEAD_US + 1),
                Some(Doubt::BehindRecords),
            ),
            (now, Some(false), None, Some(Doubt::Unsynchronised)),
            (early, Some(true), None, Some(Doubt::BeforeProgram)),
        ] {
            assert_eq!(doubt(now, synchronised, newest), expected);
        }
    }
}
