//! Passwords: which are accepted, and argon2id on a bounded pool.
//!
//! Rules after SP 800-63B-4: at least 15 characters, no rules of composition, nothing cut off, a block list. A hash
//! costs 19 MiB and some 30 ms, so at most [`WORKERS`] run at once and at most [`QUEUE`] wait: a flood of sign-ins
//! takes a bounded share of the machine.

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::{AccessError, Failure};
use crate::keys::random;

/// The shortest password, in characters, while there is no second factor.
const SHORTEST: usize = 15;
/// The longest, in characters. Hashing takes any length; a limit keeps requests small.
const LONGEST: usize = 256;
const MEMORY_KIB: u32 = 19 * 1_024;
const ROUNDS: u32 = 2;
const LANES: u32 = 1;
const WORKERS: usize = 2;
const QUEUE: usize = 64;

/// Lower-case entries of at least 15 characters that people choose because a rule asks for 15.
const BLOCKED: &str = include_str!("blocklist.txt");

/// What is wrong with a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// Fewer than 15 characters.
    #[error("it needs at least 15 characters")]
    TooShort,
    /// More than 256 characters.
    #[error("it may have at most 256 characters")]
    TooLong,
    /// It is, or mostly repeats, the e-mail address.
    #[error("it must not be the e-mail address")]
    IsEmail,
    /// One that attackers try first.
    #[error("it is too easy to guess")]
    TooCommon,
    /// The password so far was not given, or is another.
    #[error("the current password is wrong")]
    CurrentWrong,
}

/// Checks a new password of the person with `email`.
pub(super) fn check(password: &str, email: &str) -> Result<(), PasswordFault> {
    let length = password.chars().count();
    if length < SHORTEST {
        return Err(PasswordFault::TooShort);
    }
    if length > LONGEST {
        return Err(PasswordFault::TooLong);
    }
    let plain = password.trim().to_lowercase();
    if plain == email {
        return Err(PasswordFault::IsEmail);
    }
    if BLOCKED.lines().any(|blocked| blocked == plain) || repeats(&plain) {
        return Err(PasswordFault::TooCommon);
    }
    Ok(())
}

/// Whether the text is one piece of up to four characters over and over (`abcabcabc…`).
fn repeats(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    (1..=4).any(|piece| {
        letters
            .iter()
            .zip(letters.iter().skip(piece))
            .all(|(a, b)| a == b)
    })
}

/// Hashes and compares passwords.
#[derive(Debug)]
pub(super) struct Hasher {
    workers: Arc<Semaphore>,
    queue: Arc<Semaphore>,
    /// Compared with when there is no such person, so that the answer takes as long.
    decoy: String,
}

impl Hasher {
    pub(super) async fn start() -> Result<Self, Failure> {
        let mut hasher = Self {
            workers: Arc::new(Semaphore::new(WORKERS)),
            queue: Arc::new(Semaphore::new(QUEUE)),
            decoy: String::new(),
        };
        let nobodys: [u8; 32] = random();
        let nobodys = Zeroizing::new(nobodys.to_vec());
        hasher.decoy = tokio::task::spawn_blocking(move || hash(&nobodys))
            .await
            .map_err(|_| Failure::Hashing("the worker ended"))??;
        Ok(hasher)
    }

    /// The PHC string of a password, under a fresh salt.
    pub(super) async fn hash(&self, password: &str) -> Result<String, AccessError> {
        let password = Zeroizing::new(password.as_bytes().to_vec());
        self.work(move || hash(&password)).await
    }

    /// Whether the password is the one behind the PHC string; without one it takes as long and is never right.
    pub(super) async fn verify(
        &self,
        password: &str,
        stored: Option<&str>,
    ) -> Result<bool, AccessError> {
        let known = stored.is_some();
        let stored = stored.unwrap_or(&self.decoy).to_owned();
        // No password is that long, and hashing must not be a way to spend our time.
        let fits = password.chars().count() <= LONGEST;
        let password = if fits { password } else { "" };
        let password = Zeroizing::new(password.as_bytes().to_vec());
        let right = self
            .work(move || {
                let stored =
                    PasswordHash::new(&stored).map_err(|_| Failure::Unknown("person.password"))?;
                Ok(Argon2::default()
                    .verify_password(&password, &stored)
                    .is_ok())
            })
            .await?;
        Ok(right && known && fits)
    }

    async fn work<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, Failure> + Send + 'static,
    ) -> Result<T, AccessError> {
        let Ok(_place) = self.queue.try_acquire() else {
            return Err(AccessError::Throttled { retry_after_s: 2 });
        };
        // The permit moves into the job: a caller that goes away must not let one more job start.
        let permit = Arc::clone(&self.workers)
            .acquire_owned()
            .await
            .map_err(|_| Failure::Hashing("the pool is closed"))?;
        let done = tokio::task::spawn_blocking(move || {
            let done = job();
            drop(permit);
            done
        });
        Ok(done
            .await
            .map_err(|_| Failure::Hashing("the worker ended"))??)
    }
}

/// Whether a stored hash was made at another cost than today's.
pub(super) fn is_outdated(stored: &str) -> bool {
    let Ok(hash) = PasswordHash::new(stored) else {
        return true;
    };
    Params::try_from(&hash).map_or(true, |params| {
        (params.m_cost(), params.t_cost(), params.p_cost()) != (MEMORY_KIB, ROUNDS, LANES)
    })
}

fn hash(password: &[u8]) -> Result<String, Failure> {
    let params = Params::new(MEMORY_KIB, ROUNDS, LANES, None)
        .map_err(|_| Failure::Hashing("its parameters are refused"))?;
    let salt: [u8; 16] = random();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password, &salt)
        .map(|hash: PasswordHash| hash.to_string())
        .map_err(|_| Failure::Hashing("argon2 failed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        let email = "anna.andersen@example.org";
        let check = |password: &str| check(password, email);
        assert_eq!(check("fourteen chars"), Err(PasswordFault::TooShort));
        assert_eq!(check("fifteen  chars!"), Ok(()));
        assert_eq!(check("ååååååååææææææø"), Ok(()));
        assert_eq!(check(&"a long one ".repeat(23)), Ok(()));
        assert_eq!(check(&"x y z".repeat(52)), Err(PasswordFault::TooLong));
        assert_eq!(
            check("Anna.Andersen@example.org"),
            Err(PasswordFault::IsEmail)
        );
        assert_eq!(check("aaaaaaaaaaaaaaaa"), Err(PasswordFault::TooCommon));
        assert_eq!(check("abcabcabcabcabca"), Err(PasswordFault::TooCommon));
    }

    #[test]
    fn every_blocked_entry_is_refused_and_could_be_tried() {
        for entry in BLOCKED.lines() {
            assert_eq!(check(entry, ""), Err(PasswordFault::TooCommon), "{entry}");
            assert_eq!(entry, entry.to_lowercase());
        }
    }

    #[tokio::test]
    async fn hashes_say_their_cost_and_differ_by_salt() {
        let hasher = Hasher::start().await.unwrap();
        let one = hasher.hash("correct horse battery").await.unwrap();
        let two = hasher.hash("correct horse battery").await.unwrap();
        assert!(one.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{one}");
        assert_ne!(one, two);
        assert!(!is_outdated(&one));
        assert!(is_outdated(
            "$argon2id$v=19$m=8192,t=2,p=1$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"
        ));
        let is = async |password, stored| hasher.verify(password, stored).await.unwrap();
        assert!(is("correct horse battery", Some(&one)).await);
        assert!(!is("correct horse batterz", Some(&one)).await);
        assert!(!is("correct horse battery", None).await);
        assert!(!is(&"x".repeat(300), Some(&one)).await);
    }
    #[tokio::test]
    async fn a_flood_waits_in_a_bounded_queue() {
        let hasher = Hasher::start().await.unwrap();
        let flood = (0..QUEUE + 10).map(|_| hasher.verify("a river in spring", None));
        let answers = futures_util::future::join_all(flood).await;
        let turned_away = answers.iter().filter(|answer| answer.is_err()).count();
        assert_eq!(turned_away, 10);
        assert!(matches!(hasher.verify("again", None).await, Ok(false)));
    }
}
