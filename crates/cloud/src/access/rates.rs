//! How many requests one key or account may send, and how often a proof may be tried.
//!
//! One instant per name in memory: when its bucket is full again. A burst of the whole quota, then a steady flow. A
//! restart forgets; other nodes have their own. Bounded: newcomers beyond the bound share a bucket.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Names kept apart.
const NAMES: usize = 50_000;

/// A keyed hash or an id: names of people and addresses are not kept.
type Name = [u8; 32];

const OVERFLOW: Name = [0; 32];

/// What is left of a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowance {
    /// Requests of a whole quota.
    pub quota: u32,
    /// Within how many seconds it fills.
    pub window_s: u64,
    /// Requests that may follow at once.
    pub left: u32,
    /// In how many seconds it is whole again.
    pub whole_in_s: u64,
}

#[derive(Debug)]
pub(super) struct Rates {
    quota: u32,
    window: Duration,
    full_at: Mutex<BTreeMap<Name, Duration>>,
}

impl Rates {
    pub(super) fn new(quota: u32, window: Duration) -> Self {
        Self {
            quota: quota.max(1),
            window,
            full_at: Mutex::new(BTreeMap::new()),
        }
    }

    /// Takes one, or tells how many seconds until there is one.
    pub(super) fn take(&self, name: Name, now: Duration) -> Result<Allowance, u64> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= NAMES {
            full_at.retain(|_, full| *full > now);
        }
        let name = if full_at.len() < NAMES || full_at.contains_key(&name) {
            name
        } else {
            OVERFLOW
        };
        let each = self.each();
        let full = full_at.entry(name).or_insert(now);
        let taken = (*full).max(now) + each;
        let limit = now + self.window;
        if taken > limit {
            return Err(seconds(taken - limit).max(1));
        }
        *full = taken;
        let left = (limit - taken).as_nanos() / each.as_nanos().max(1);
        Ok(Allowance {
            quota: self.quota,
            window_s: self.window.as_secs(),
            left: u32::try_from(left).unwrap_or(self.quota),
            whole_in_s: seconds(taken - now),
        })
    }

    /// Gives one back: only what fails shall count.
    pub(super) fn give_back(&self, name: Name) {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(full) = full_at.get_mut(&name) {
            *full = full.saturating_sub(self.each());
        }
    }

    fn each(&self) -> Duration {
        self.window / self.quota
    }
}

/// Whole seconds, rounded up.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_quota_at_once_then_a_flow() {
        let rates = Rates::new(60, 60 * S);
        for left in (0..60).rev() {
            let allowance = rates.take([1; 32], 5 * S).unwrap();
            assert_eq!((allowance.left, allowance.quota), (left, 60));
            assert_eq!(allowance.whole_in_s, u64::from(60 - left));
        }
        assert_eq!(rates.take([1; 32], 5 * S), Err(1));
        assert!(rates.take([2; 32], 5 * S).is_ok(), "each has its own");
        assert!(rates.take([1; 32], 6 * S).is_ok());
        assert_eq!(rates.take([1; 32], 6 * S), Err(1));
        rates.give_back([1; 32]);
        assert!(rates.take([1; 32], 6 * S).is_ok());
    }

    #[test]
    fn memory_is_bounded_and_a_full_table_still_limits() {
        let rates = Rates::new(1, 10 * S);
        for number in 0..NAMES as u64 {
            let mut name = [9; 32];
            name[..8].copy_from_slice(&number.to_be_bytes());
            assert!(rates.take(name, S).is_ok());
        }
        assert!(rates.take([1; 32], S).is_ok());
        assert_eq!(rates.take([2; 32], S), Err(10));
        assert!(rates.full_at.lock().unwrap().len() <= NAMES + 1);
        assert!(rates.take([2; 32], 20 * S).is_ok());
        assert_eq!(rates.full_at.lock().unwrap().len(), 1);
    }
}
