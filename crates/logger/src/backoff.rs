//! Owns how long to wait before the next attempt: doubling, capped, and spread by chance so that a fleet does not come
//! back at once.

use std::time::Duration;

/// The shortest wait.
const LEAST: Duration = Duration::from_secs(1);

/// The wait between attempts.
#[derive(Clone, Debug)]
pub struct Backoff {
    most: Duration,
    failures: u32,
}

impl Backoff {
    /// Waits that never exceed `most`.
    pub fn new(most: Duration) -> Backoff {
        Backoff { most, failures: 0 }
    }

    /// An attempt went well.
    pub fn reset(&mut self) {
        self.failures = 0;
    }

    /// An attempt failed: how long to wait. `chance` is between 0 and 1.
    pub fn next(&mut self, chance: f64) -> Duration {
        let ceiling = LEAST
            .saturating_mul(2u32.saturating_pow(self.failures))
            .min(self.most);
        self.failures = self.failures.saturating_add(1).min(30);
        ceiling
            .mul_f64(chance.clamp(0.0, 1.0))
            .max(LEAST.min(self.most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap_and_never_below_a_second() {
        let mut backoff = Backoff::new(Duration::from_secs(300));
        let waits: Vec<u64> = (0..12).map(|_| backoff.next(1.0).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300, 300]);
        assert_eq!(backoff.next(0.0), Duration::from_secs(1));
        backoff.reset();
        assert_eq!(backoff.next(1.0), Duration::from_secs(1));
    }
}
