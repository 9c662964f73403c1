//! Passwords: which are accepted, and argon2id on a bounded pool.
//!
//! Rules after SP 800-63B-4: at least 15 characters (8 beside a second factor), up to 256, no rules of composition,
//! nothing cut off, a block list and the words of the person's surroundings. Text is brought to NFC first, so that the
//! same characters are the same password on every keyboard. A hash costs 19 MiB and some 30 ms, so at most [`WORKERS`]
//! run at once and at most [`QUEUE`] wait: a flood of sign-ins takes a bounded share of the machine.

mod blocklist;

use std::sync::Arc;

use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use unicode_normalization::UnicodeNormalization as _;
use zeroize::Zeroizing;

use super::{AccessError, Failure};
use crate::keys::random;

/// The shortest password, in characters, while there is no second factor.
pub(super) const SHORTEST: usize = 15;
/// And beside one.
const SHORTEST_BESIDE_FACTOR: usize = 8;
/// The longest, in characters. Hashing takes any length; a limit keeps requests small.
const LONGEST: usize = 256;
/// How many characters must be left when the words of the surroundings are taken out.
const OWN_LEAST: usize = 8;
const MEMORY_KIB: u32 = 19 * 1_024;
const ROUNDS: u32 = 2;
const LANES: u32 = 1;
const WORKERS: usize = 2;
const QUEUE: usize = 64;

/// What is wrong with a new password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordFault {
    /// Fewer than 15 characters.
    #[error("it needs at least 15 characters, or 8 once a second factor is set up")]
    TooShort,
    /// Fewer than 8 characters, beside a second factor.
    #[error("it needs at least 8 characters")]
    TooShortBesideFactor,
    /// More than 256 characters.
    #[error("it may have at most 256 characters")]
    TooLong,
    /// Hardly more than the e-mail address, a name, a project or the product.
    #[error("it is little more than your name, e-mail address, a project or this product")]
    Surroundings,
    /// One that attackers try first.
    #[error(
        "it is on the list of passwords that are guessed first, or hardly more than one of them"
    )]
    TooCommon,
    /// The password so far was not given, or is another.
    #[error("the current password is wrong")]
    CurrentWrong,
}

/// The one form of a password that is checked, hashed and compared.
pub(super) fn normal(password: &str) -> Zeroizing<String> {
    Zeroizing::new(password.nfc().collect())
}

/// Whether a password is too short to stand alone.
pub(super) fn is_short(password: &str) -> bool {
    normal(password).chars().count() < SHORTEST
}

/// Checks a new password. `surroundings` are texts whose words a guesser would try: e-mail address, name, projects.
pub(super) fn check(
    password: &str,
    surroundings: &[&str],
    beside_factor: bool,
) -> Result<(), PasswordFault> {
    let password = normal(password);
    let length = password.chars().count();
    if beside_factor && length < SHORTEST_BESIDE_FACTOR {
        return Err(PasswordFault::TooShortBesideFactor);
    }
    if !beside_factor && length < SHORTEST {
        return Err(PasswordFault::TooShort);
    }
    if length > LONGEST {
        return Err(PasswordFault::TooLong);
    }
    let plain = Zeroizing::new(password.trim().to_lowercase());
    if left_without(&plain, surroundings) < OWN_LEAST.min(length) {
        return Err(PasswordFault::Surroundings);
    }
    if blocklist::holds(&plain) {
        return Err(PasswordFault::TooCommon);
    }
    Ok(())
}

/// How many letters and digits are left when the words of the surroundings are taken out.
fn left_without(plain: &str, surroundings: &[&str]) -> usize {
    let mut rest = Zeroizing::new(plain.to_owned());
    let mut words: Vec<String> = std::iter::once("fieldkeep")
        .chain(surroundings.iter().copied())
        .map(str::to_lowercase)
        .flat_map(|text| {
            let parts: Vec<String> = text
                .split(|c: char| !c.is_alphanumeric())
                .map(str::to_owned)
                .collect();
            std::iter::once(text).chain(parts)
        })
        .filter(|word| word.chars().count() >= 4)
        .collect();
    words.sort_by_key(|word| std::cmp::Reverse(word.len()));
    let before = rest.len();
    for word in &words {
        rest = Zeroizing::new(rest.replace(word.as_str(), ""));
    }
    if rest.len() == before {
        // Nothing of them is in it.
        return usize::MAX;
    }
    rest.chars().filter(|c| c.is_alphanumeric()).count()
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
        let password = normal(password);
        self.work(move || hash(password.as_bytes())).await
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
        let fits = password.chars().count() <= 4 * LONGEST;
        let password = normal(if fits { password } else { "" });
        let right = self
            .work(move || {
                let stored =
                    PasswordHash::new(&stored).map_err(|_| Failure::Unknown("person.password"))?;
                Ok(Argon2::default()
                    .verify_password(password.as_bytes(), &stored)
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

    fn plain(password: &str) -> Result<(), PasswordFault> {
        let surroundings = ["anna.andersen@example.org", "Anna Andersen", "Tide gauges"];
        check(password, &surroundings, false)
    }

    #[test]
    fn lengths_are_counted_in_characters_and_nothing_is_composed() {
        assert_eq!(plain("fourteen chars"), Err(PasswordFault::TooShort));
        assert_eq!(plain("fifteen  chars!"), Ok(()));
        assert_eq!(plain("blåbærgrød på ø"), Ok(()));
        assert_eq!(plain(&"a long one ".repeat(23)), Ok(()));
        assert_eq!(plain(&"x y z".repeat(52)), Err(PasswordFault::TooLong));
        let beside = |password| check(password, &[], true);
        assert_eq!(beside("kvx 7 q"), Err(PasswordFault::TooShortBesideFactor));
        assert_eq!(beside("kvx 7 qp"), Ok(()));
        assert!(is_short("kvx 7 qp") && !is_short("fifteen  chars!"));
    }

    #[test]
    fn words_of_the_surroundings_do_not_make_a_password() {
        for password in [
            "Anna.Andersen@example.org",
            "AndersenAndersen7",
            "fieldkeep-fieldkeep",
            "Tide gauges 2026!",
            "anna andersen fieldkeep",
        ] {
            assert_eq!(
                plain(password),
                Err(PasswordFault::Surroundings),
                "{password}"
            );
        }
        assert_eq!(plain("andersen ate nine blue crabs"), Ok(()));
    }

    #[test]
    fn the_same_characters_are_the_same_password() {
        // å as one character and as a with a ring.
        assert_eq!(
            *normal("a\u{30a}ben d\u{f8}r"),
            *normal("\u{e5}ben d\u{f8}r")
        );
        let composed = "\u{e5}".repeat(14);
        let parted = "a\u{30a}".repeat(14);
        assert_eq!(plain(&parted), plain(&composed));
        assert_eq!(plain(&parted), Err(PasswordFault::TooShort));
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
    async fn a_password_is_right_in_either_form() {
        let hasher = Hasher::start().await.unwrap();
        let stored = hasher.hash("gr\u{f8}n \u{e5}ben d\u{f8}r").await.unwrap();
        let typed = "gr\u{f8}n a\u{30a}ben d\u{f8}r";
        assert!(hasher.verify(typed, Some(&stored)).await.unwrap());
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
