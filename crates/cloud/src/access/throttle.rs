//! How often sign-in may be tried, per account and per source.
//!
//! Token buckets in memory: a burst, then a steady trickle. Both known and unknown e-mails have a bucket, so that the
//! limit tells nothing. A sign-in link is not limited here (its token cannot be guessed), so nobody can lock an owner out.
//! A restart forgets the buckets; other nodes have their own.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::config;

/// Distinct accounts or sources kept apart; beyond, newcomers share one bucket until old ones are full again.
const BUCKETS: usize = 50_000;

/// A keyed hash: names of people and addresses are not kept.
type Key = [u8; 32];

const OVERFLOW: Key = [0; 32];

#[derive(Debug)]
pub(super) struct Throttle {
    clock: Clock,
    account: Buckets,
    source: Buckets,
}

impl Throttle {
    pub(super) fn new(clock: Clock, rules: &config::Sessions) -> Self {
        Self {
            clock,
            account: Buckets::new(rules.attempts_per_account, rules.attempt_every_s),
            source: Buckets::new(rules.attempts_per_source, rules.attempt_every_s),
        }
    }

    /// Takes one attempt from both, or tells how many seconds until there is one.
    pub(super) fn attempt(&self, account: Key, source: Key) -> Result<(), u64> {
        let now = self.clock.elapsed();
        self.source.take(source, now)?;
        self.account.take(account, now)
    }

    /// A right password: the account's earlier slips do not count on.
    pub(super) fn forgive(&self, account: Key) {
        self.account.clear(account);
    }
}

#[derive(Debug)]
struct Buckets {
    burst: u32,
    every: Duration,
    /// Per key, the moment when its bucket is (or was) full again.
    full_at: Mutex<BTreeMap<Key, Duration>>,
}

impl Buckets {
    fn new(burst: u32, every_s: u32) -> Self {
        Self {
            burst,
            every: Duration::from_secs(every_s.into()),
            full_at: Mutex::new(BTreeMap::new()),
        }
    }

    fn take(&self, key: Key, now: Duration) -> Result<(), u64> {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        if full_at.len() >= BUCKETS {
            full_at.retain(|_, full| *full > now);
        }
        let key = if full_at.len() < BUCKETS || full_at.contains_key(&key) {
            key
        } else {
            OVERFLOW
        };
        let full = full_at.entry(key).or_insert(now);
        let taken = (*full).max(now) + self.every;
        let limit = now + self.every * self.burst;
        if taken > limit {
            return Err((taken - limit).as_secs().max(1));
        }
        *full = taken;
        Ok(())
    }

    fn clear(&self, key: Key) {
        let mut full_at = self.full_at.lock().unwrap_or_else(PoisonError::into_inner);
        full_at.remove(&key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn a_burst_then_a_trickle() {
        let buckets = Buckets::new(3, 10);
        for _ in 0..3 {
            assert_eq!(buckets.take([1; 32], S), Ok(()));
        }
        assert_eq!(buckets.take([1; 32], S), Err(10));
        assert_eq!(buckets.take([2; 32], S), Ok(()));
        assert_eq!(buckets.take([1; 32], 11 * S), Ok(()));
        assert_eq!(buckets.take([1; 32], 11 * S), Err(10));
        buckets.clear([1; 32]);
        assert_eq!(buckets.take([1; 32], 11 * S), Ok(()));
    }

    #[test]
    fn memory_is_bounded_and_a_full_table_still_limits() {
        let buckets = Buckets::new(1, 10);
        for number in 0..BUCKETS as u64 {
            let mut key = [9; 32];
            key[..8].copy_from_slice(&number.to_be_bytes());
            assert_eq!(buckets.take(key, S), Ok(()));
        }
        assert_eq!(buckets.take([1; 32], S), Ok(()));
        assert_eq!(buckets.take([2; 32], S), Err(10));
        assert!(buckets.full_at.lock().unwrap().len() <= BUCKETS + 1);
        assert_eq!(buckets.take([2; 32], 20 * S), Ok(()));
        assert_eq!(buckets.full_at.lock().unwrap().len(), 1);
    }
}
