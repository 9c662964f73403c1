//! What the verifier has proved once and need not prove again: issuing authorities, and leaves.
//!
//! Promises: an authority counts as an anchor of its own only after webpki has built a path through it to a root, and
//! only for times within its own life; a leaf is remembered by the SHA-256 of all its bytes, with the lives of itself and of its
//! authority, and is taken for proved only at times within both. Nothing is remembered of what was refused. Signatures do
//! not change with time, so what is left to ask is what does: dates here, rows in [`session`](super::session).

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustls::pki_types::{CertificateDer, TrustAnchor};
use webpki::anchor_from_trusted_cert;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::verify::Verified;

/// Leaves of each of two generations: twice this many are remembered at most, some 200 bytes each.
const LEAVES: usize = 32_768;

/// Seconds since 1970.
pub(super) type Life = RangeInclusive<i64>;

/// The life that a certificate says it has.
pub(super) fn life(certificate: &X509Certificate<'_>) -> Life {
    let validity = certificate.validity();
    validity.not_before.timestamp()..=validity.not_after.timestamp()
}

/// An issuing authority whose certificate this cloud holds.
#[derive(Debug)]
pub(super) struct Issuing {
    pub(super) certificate: CertificateDer<'static>,
    anchor: [TrustAnchor<'static>; 1],
    pub(super) life: Life,
    is_proven: AtomicBool,
}

impl Issuing {
    pub(super) fn new(certificate: CertificateDer<'static>) -> Result<Self, webpki::Error> {
        let anchor = anchor_from_trusted_cert(&certificate)?.to_owned();
        let (_, parsed) =
            X509Certificate::from_der(&certificate).map_err(|_| webpki::Error::BadDer)?;
        let life = life(&parsed);
        Ok(Self {
            certificate,
            anchor: [anchor],
            life,
            is_proven: AtomicBool::new(false),
        })
    }

    /// The authority as an anchor, where it was proved and lives at that time.
    pub(super) fn anchor_at(&self, at_s: i64) -> Option<&[TrustAnchor<'static>]> {
        let usable = self.is_proven.load(Ordering::Acquire) && self.life.contains(&at_s);
        usable.then_some(self.anchor.as_slice())
    }

    /// A path through it to a root was verified.
    pub(super) fn prove(&self) {
        self.is_proven.store(true, Ordering::Release);
    }
}

/// A leaf that was verified under an authority of ours.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) verified: Verified,
    /// When leaf and authority are both alive.
    pub(super) life: Life,
}

/// Leaves in two generations: when the younger is full it takes the place of the older, so that those who come again
/// stay and the others go.
#[derive(Debug, Default)]
pub(super) struct Leaves(Mutex<Generations>);

#[derive(Debug, Default)]
struct Generations {
    younger: HashMap<[u8; 32], Leaf>,
    older: HashMap<[u8; 32], Leaf>,
}

impl Leaves {
    /// The leaf with this fingerprint, where it was proved and is alive at a time (which no leaf outlives: who asks at
    /// the end of a leaf's life at the latest may renew it).
    pub(super) fn find(&self, fingerprint: &[u8; 32], now_s: i64) -> Option<Verified> {
        let mut leaves = self.lock();
        let leaf = match leaves.younger.get(fingerprint) {
            Some(leaf) => leaf.clone(),
            None => {
                let leaf = leaves.older.remove(fingerprint)?;
                leaves.keep(leaf.clone());
                leaf
            }
        };
        let end_s = leaf.verified.not_after.as_micros().div_euclid(1_000_000);
        leaf.life
            .contains(&now_s.min(end_s))
            .then_some(leaf.verified)
    }

    pub(super) fn remember(&self, leaf: Leaf) {
        self.lock().keep(leaf);
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn keep(&mut self, leaf: Leaf) {
        if self.younger.len() >= LEAVES {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(leaf.verified.fingerprint, leaf);
    }
}

#[cfg(test)]
mod tests {
    use fieldkeep_protocol::{DeviceId, Timestamp};

    use super::*;

    fn leaf(number: usize, life: Life) -> Leaf {
        let mut fingerprint = [0; 32];
        fingerprint[..8].copy_from_slice(&number.to_be_bytes());
        Leaf {
            verified: Verified {
                device: DeviceId::from_bytes([1; 16]),
                serial: vec![1],
                fingerprint,
                not_after: Timestamp::from_micros(200 * 1_000_000),
            },
            life,
        }
    }

    #[test]
    fn a_leaf_is_found_within_both_lives_only() {
        let leaves = Leaves::default();
        // The leaf lives to 200, its authority to 300 in one case and to 150 in the other.
        leaves.remember(leaf(1, 100..=200));
        leaves.remember(leaf(2, 100..=150));
        let found = |number, now_s| {
            let fingerprint = leaf(number, 0..=0).verified.fingerprint;
            leaves.find(&fingerprint, now_s).is_some()
        };
        assert!(!found(1, 99) && found(1, 100) && found(1, 200));
        assert!(found(1, 5_000), "expired, for who judges the end of life");
        assert!(found(2, 150) && !found(2, 151) && !found(2, 5_000));
        assert!(!found(3, 150));
    }

    #[test]
    fn memory_is_bounded_and_who_comes_again_stays() {
        let leaves = Leaves::default();
        let regular = leaf(usize::MAX, 0..=200).verified.fingerprint;
        leaves.remember(leaf(usize::MAX, 0..=200));
        for number in 0..5 * LEAVES {
            leaves.remember(leaf(number, 0..=200));
            if number % (LEAVES / 2) == 0 {
                assert!(leaves.find(&regular, 100).is_some());
            }
        }
        let first = leaf(0, 0..=200).verified.fingerprint;
        assert!(leaves.find(&first, 100).is_none());
        let held = leaves.lock();
        assert!(held.younger.len() + held.older.len() <= 2 * LEAVES);
    }
}
