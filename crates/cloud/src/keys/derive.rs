//! The three primitives that keys are made with: chance, HKDF-SHA-256, AES-256 key wrap (RFC 3394).

use std::fmt;

use aws_lc_rs::hkdf;
use aws_lc_rs::key_wrap::{AES_256, AesKek, KeyWrap as _};
use zeroize::Zeroizing;

use crate::clock::Clock;

/// 32 secret bytes: cleared when dropped, never printed.
#[derive(Clone)]
pub struct Secret(Zeroizing<[u8; 32]>);

impl Secret {
    /// Takes the bytes.
    pub fn new(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for a cryptographic operation.
    pub fn expose(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// Unpredictable bytes from the system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes)
        .expect("AWS-LC aborts the process itself when the system has no random bytes to give");
    bytes
}

/// A new id of any kind: `new_id(&clock, ProjectId::from_parts)`.
pub fn new_id<T>(clock: &Clock, from_parts: fn(u64, [u8; 10]) -> T) -> T {
    let unix_ms = u64::try_from(clock.now().as_micros() / 1_000).unwrap_or(0);
    from_parts(unix_ms, random())
}

/// A subkey for one purpose. `context` parts are length-prefixed, so that no two lists read alike.
pub(super) fn derive(key: &Secret, label: &'static str, context: &[&[u8]]) -> Secret {
    let mut info = b"fieldkeep/1/".to_vec();
    for part in std::iter::once(label.as_bytes()).chain(context.iter().copied()) {
        // Parts are labels and ids of a few bytes.
        info.extend_from_slice(&(part.len() as u64).to_be_bytes());
        info.extend_from_slice(part);
    }
    let mut out = [0; 32];
    hkdf::Salt::new(hkdf::HKDF_SHA256, &[])
        .extract(key.expose())
        .expand(&[&info], hkdf::HKDF_SHA256)
        .and_then(|okm| okm.fill(&mut out))
        .expect("32 bytes are the length of this HKDF's hash");
    Secret::new(out)
}

pub(super) fn wrap(wrapping: &Secret, key: &Secret) -> Vec<u8> {
    let mut out = vec![0; 40];
    AesKek::new(&AES_256, wrapping.expose())
        .and_then(|kek| kek.wrap(key.expose(), &mut out).map(|_| ()))
        .expect("RFC 3394 wraps any 32 bytes into 40");
    out
}

/// None when `wrapped` was not wrapped under this key.
pub(super) fn unwrap(wrapping: &Secret, wrapped: &[u8]) -> Option<Secret> {
    if wrapped.len() != 40 {
        return None;
    }
    let mut out = Zeroizing::new([0; 40]);
    let key = AesKek::new(&AES_256, wrapping.expose())
        .ok()?
        .unwrap(wrapped, out.as_mut_slice())
        .ok()?;
    let key: [u8; 32] = (&*key).try_into().ok()?;
    Some(Secret::new(key))
}

/// Two lower-case digits a byte.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    text.as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
