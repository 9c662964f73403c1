//! How much work one device may cause: an account of cells that fills steadily, for every connection of the device.
//!
//! A batch of a few kilobytes may unfold into a million cells, so that a device is charged by what its batch announces
//! before anything is decoded. A device without credit is asked to come back; nothing of it is lost.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fieldkeep_protocol::DeviceId;

/// Cells a second and device: a twentieth of a core's decoding.
const RATE: u64 = 4_000_000;
/// The most that a device may have saved up: a month of twenty channels, once a second, is delivered in seconds.
const BURST: u64 = 40_000_000;
/// What any message costs, however little is in it.
const MESSAGE: u64 = 2_000;
/// What bytes cost that are put into quarantine: a commit of their own.
const QUARANTINED: u64 = 50_000;
/// Accounts that are full again say nothing, and are dropped when there are so many.
const ACCOUNTS: usize = 65_536;

/// The accounts of all devices.
#[derive(Debug, Default)]
pub(super) struct Quota(Mutex<HashMap<DeviceId, Account>>);

#[derive(Clone, Copy, Debug)]
struct Account {
    credit: u64,
    at: Duration,
}

impl Account {
    fn fill(&mut self, now: Duration) {
        let micros = u64::try_from(now.saturating_sub(self.at).as_micros()).unwrap_or(u64::MAX);
        let earned = micros.saturating_mul(RATE / 1_000_000);
        self.credit = self.credit.saturating_add(earned).min(BURST);
        self.at = self.at.max(now);
    }
}

impl Quota {
    /// Charges a device for a message with so many cells; `false`, and no charge, where its credit does not reach.
    pub(super) fn charge(&self, device: DeviceId, cells: u64, now: Duration) -> bool {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if accounts.len() >= ACCOUNTS && !accounts.contains_key(&device) {
            accounts.retain(|_, account| {
                account.fill(now);
                account.credit < BURST
            });
        }
        let account = accounts.entry(device).or_insert(Account {
            credit: BURST,
            at: now,
        });
        account.fill(now);
        match account.credit.checked_sub(MESSAGE.saturating_add(cells)) {
            Some(left) => {
                account.credit = left;
                true
            }
            None => false,
        }
    }
}

impl Quota {
    /// Charges a device for bytes that were put into quarantine.
    pub(super) fn fine(&self, device: DeviceId) {
        let mut accounts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(account) = accounts.get_mut(&device) {
            account.credit = account.credit.saturating_sub(QUARANTINED);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: u16) -> DeviceId {
        let mut bytes = [0; 16];
        bytes[..2].copy_from_slice(&number.to_be_bytes());
        DeviceId::from_bytes(bytes)
    }

    #[test]
    fn a_device_spends_its_own_credit_and_earns_it_back() {
        let quota = Quota::default();
        let largest = 4_096 * 257;
        let taken = (0..100).filter(|_| quota.charge(device(1), largest, Duration::ZERO));
        assert_eq!(taken.count() as u64, BURST / (largest + MESSAGE));
        assert!(
            quota.charge(device(2), largest, Duration::ZERO),
            "another's is its own"
        );
        let enough = Duration::from_micros((largest + MESSAGE).div_ceil(RATE / 1_000_000));
        assert!(quota.charge(device(1), largest, enough));
        assert!(!quota.charge(device(1), largest, enough));
        // A clock that stands still, or a very long absence, is no gift.
        assert!(!quota.charge(device(1), largest, Duration::ZERO));
        let later = Duration::from_secs(1 << 40);
        quota.fine(device(1));
        quota.fine(device(9));
        assert!(quota.charge(device(1), BURST - MESSAGE, later));
        assert!(!quota.charge(device(1), 0, later));
    }
}
