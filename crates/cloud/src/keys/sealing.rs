//! Sealed columns: AES-256-GCM-SIV with a random nonce, bound to column, row and scope; keyed hashes for look-up.
//!
//! Format 1: `01 ‖ nonce (12) ‖ ciphertext ‖ tag (16)`. The associated data is the format, the column, the
//! row's key and the scope (the project's or the instance's id), each with its length: a value moved to another
//! row, column or project does not open. GCM-SIV because a repeated nonce then shows no more than that two
//! values are equal.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::hmac;
use zeroize::Zeroizing;

use super::derive::{Secret, derive, random};

const FORMAT: u8 = 1;
const NONCE: usize = 12;
const TAG: usize = 16;

/// A sealed value does not open: it was damaged, exchanged, or sealed under another key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a sealed value of {column} does not open")]
pub struct Unsealable {
    /// The column, as `table.column`.
    pub column: &'static str,
}

/// Seals and hashes the columns of one scope: a project, or the instance.
#[derive(Clone)]
pub struct SealingKey {
    scope: [u8; 16],
    seal: Secret,
    lookup: Secret,
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SealingKey")
    }
}

impl SealingKey {
    pub(super) fn derive(key: &Secret, scope: &[u8; 16]) -> Self {
        Self {
            scope: *scope,
            seal: derive(key, "seal", &[scope]),
            lookup: derive(key, "lookup", &[scope]),
        }
    }

    /// Encrypts `plain` for one cell: `column` is `table.column`, `row` the row's key.
    pub fn seal(&self, column: &'static str, row: &[u8], plain: &[u8]) -> Vec<u8> {
        let nonce: [u8; NONCE] = random();
        let mut sealed = Vec::with_capacity(1 + NONCE + plain.len() + TAG);
        sealed.push(FORMAT);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = self
            .cipher()
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(self.associated(column, row)),
                &mut sealed[1 + NONCE..],
            )
            .expect("AES-256-GCM-SIV takes every text that fits in memory");
        sealed.extend_from_slice(tag.as_ref());
        sealed
    }

    /// Decrypts what [`seal`](Self::seal) made for the same cell.
    ///
    /// # Errors
    /// [`Unsealable`] without saying why: damage, another cell and another key look alike.
    pub fn open(
        &self,
        column: &'static str,
        row: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, Unsealable> {
        let fault = Unsealable { column };
        let (&format, rest) = sealed.split_first().ok_or(fault)?;
        let (nonce, body) = rest.split_at_checked(NONCE).ok_or(fault)?;
        if format != FORMAT {
            return Err(fault);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| fault)?;
        let mut plain = Zeroizing::new(body.to_vec());
        let length = self
            .cipher()
            .open_in_place(nonce, Aad::from(self.associated(column, row)), &mut plain)
            .map_err(|_| fault)?
            .len();
        plain.truncate(length);
        Ok(plain)
    }

    /// Like [`open`](Self::open), for text.
    pub fn open_text(
        &self,
        column: &'static str,
        row: &[u8],
        sealed: &[u8],
    ) -> Result<String, Unsealable> {
        let plain = self.open(column, row, sealed)?;
        String::from_utf8(plain.to_vec()).map_err(|_| Unsealable { column })
    }

    /// A keyed hash of `plain`, equal for equal values of one column in this scope.
    pub fn lookup(&self, column: &'static str, plain: &[u8]) -> [u8; 32] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.lookup.expose());
        let mut context = hmac::Context::with_key(&key);
        context.update(&(column.len() as u64).to_be_bytes());
        context.update(column.as_bytes());
        context.update(plain);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.sign().as_ref());
        hash
    }

    fn cipher(&self) -> LessSafeKey {
        UnboundKey::new(&AES_256_GCM_SIV, self.seal.expose())
            .map(LessSafeKey::new)
            .expect("32 bytes are an AES-256 key")
    }

    fn associated(&self, column: &'static str, row: &[u8]) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        for part in [column.as_bytes(), row, &self.scope] {
            bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
            bytes.extend_from_slice(part);
        }
        bytes
    }
}
