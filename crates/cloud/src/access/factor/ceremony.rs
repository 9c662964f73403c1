//! Challenges that are out: each may come back once, within five minutes, for what it was made for.
//!
//! In memory and bounded: when there are too many the oldest go, so a stranger who asks for thousands can at most make
//! others ask again. A restart forgets them.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use fieldkeep_protocol::PersonId;

use crate::keys::random;

/// Bytes of a challenge.
pub(super) const CHALLENGE: usize = 32;
const LIFE: Duration = Duration::from_secs(300);
const MOST: usize = 4_096;

/// What a challenge was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Signing in, whoever it is.
    SignIn,
    /// A person who is known already shows a passkey.
    Show(PersonId),
    /// A person adds a passkey.
    Register(PersonId),
}

#[derive(Debug, Default)]
pub(in crate::access) struct Ceremonies(Mutex<BTreeMap<[u8; CHALLENGE], (Purpose, Duration)>>);

impl Ceremonies {
    pub(super) fn begin(&self, purpose: Purpose, now: Duration) -> [u8; CHALLENGE] {
        let challenge = random();
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if out.len() >= MOST {
            out.retain(|_, (_, ends)| *ends > now);
        }
        if out.len() >= MOST {
            let mut ends: Vec<Duration> = out.values().map(|(_, ends)| *ends).collect();
            ends.sort_unstable();
            // A quarter at once, so that this is not done for each one more.
            if let Some(limit) = ends.get(MOST / 4).copied() {
                out.retain(|_, (_, ends)| *ends > limit);
            }
            if out.len() >= MOST {
                out.clear();
            }
        }
        out.insert(challenge, (purpose, now + LIFE));
        challenge
    }

    /// Takes the challenge back; what it was for, if it was out.
    pub(super) fn end(&self, challenge: &[u8], now: Duration) -> Option<Purpose> {
        let challenge: [u8; CHALLENGE] = challenge.try_into().ok()?;
        let mut out = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (purpose, ends) = out.remove(&challenge)?;
        (ends > now).then_some(purpose)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn once_in_time_and_bounded() {
        let out = Ceremonies::default();
        let one = out.begin(Purpose::SignIn, S);
        assert_eq!(out.end(&one, 2 * S), Some(Purpose::SignIn));
        assert_eq!(out.end(&one, 2 * S), None, "again");
        let late = out.begin(Purpose::SignIn, S);
        assert_eq!(out.end(&late, S + LIFE), None);
        assert_eq!(out.end(&[1; 5], S), None);
        for number in 0..3 * MOST as u32 {
            out.begin(Purpose::SignIn, number * S / 1_000);
        }
        assert!(out.0.lock().unwrap().len() <= MOST);
        for _ in 0..2 * MOST {
            out.begin(Purpose::SignIn, 9_000 * S);
        }
        assert!(out.0.lock().unwrap().len() <= MOST);
    }
}
