//! One-time codes of an authenticator app (RFC 6238: SHA-1, six digits, thirty seconds).
//!
//! Pure: the time comes from the caller, who also remembers which step was used. The parameters are the ones that every
//! app understands; the hash is HMAC-SHA-1, whose known weaknesses do not touch this use.

use aws_lc_rs::hmac;
use zeroize::Zeroizing;

/// Bytes of a secret, as RFC 4226 recommends.
pub(super) const SECRET: usize = 20;
const STEP_S: i64 = 30;
const DIGITS: usize = 6;
/// How many steps a clock may be off, either way.
const SLACK: i64 = 1;
const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// The step in which a moment lies.
pub(super) fn step(now_us: i64) -> i64 {
    now_us.div_euclid(STEP_S * 1_000_000)
}

/// The newest step near `now` whose code this is, if it is one's at all and later than `used`.
pub(super) fn matching(secret: &[u8], code: &str, now_us: i64, used: i64) -> Option<i64> {
    let now = step(now_us);
    let mut found = None;
    // Every step is compared, and in constant time, so that the answer's time tells nothing.
    for candidate in now - SLACK..=now + SLACK {
        let right = aws_lc_rs::constant_time::verify_slices_are_equal(
            self::code(secret, candidate).as_bytes(),
            code.as_bytes(),
        );
        if right.is_ok() && candidate > used {
            found = Some(candidate);
        }
    }
    found
}

/// The code of a step.
pub(super) fn code(secret: &[u8], step: i64) -> String {
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let tag = tag.as_ref();
    let offset = usize::from(tag.last().copied().unwrap_or_default() & 0x0f);
    let number = tag
        .get(offset..)
        .and_then(|rest| rest.first_chunk::<4>())
        .map_or(0, |four| u32::from_be_bytes(*four) & 0x7fff_ffff);
    format!("{:0DIGITS$}", number % 1_000_000)
}

/// The secret as people type it, and the address behind the QR code.
pub(super) fn address(
    secret: &[u8],
    account: &str,
    issuer: &str,
) -> (Zeroizing<String>, Zeroizing<String>) {
    let text = Zeroizing::new(base32(secret));
    let (issuer, account) = (escaped(issuer), escaped(account));
    let address = Zeroizing::new(format!(
        "otpauth://totp/{issuer}:{account}?secret={}&issuer={issuer}&algorithm=SHA1&digits={DIGITS}&period={STEP_S}",
        *text
    ));
    (text, address)
}

fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for group in bytes.chunks(5) {
        let mut word = [0; 8];
        for (slot, byte) in word[3..].iter_mut().zip(group) {
            *slot = *byte;
        }
        let bits = u64::from_be_bytes(word);
        for place in 0..(group.len() * 8).div_ceil(5) {
            // Five bits of forty, the highest first.
            let index = usize::try_from((bits >> (35 - 5 * place)) & 31).unwrap_or_default();
            text.push(char::from(BASE32[index]));
        }
    }
    text
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &[u8] = b"12345678901234567890";

    /// RFC 6238, appendix B, the last six of its eight digits.
    #[test]
    fn the_vectors_of_the_standard() {
        for (second, expected) in [
            (59, "287082"),
            (1_111_111_109, "081804"),
            (1_111_111_111, "050471"),
            (1_234_567_890, "005924"),
            (2_000_000_000, "279037"),
            (20_000_000_000, "353130"),
        ] {
            assert_eq!(code(SECRET, step(second * 1_000_000)), expected);
        }
    }

    #[test]
    fn a_code_counts_once_and_near_its_time() {
        let now_us = 1_111_111_111_000_000;
        let now = step(now_us);
        for off in -1..=1 {
            let code = code(SECRET, now + off);
            assert_eq!(matching(SECRET, &code, now_us, 0), Some(now + off));
            assert_eq!(matching(SECRET, &code, now_us, now + off), None, "used");
        }
        for off in [-2, 2] {
            assert_eq!(matching(SECRET, &code(SECRET, now + off), now_us, 0), None);
        }
        for wrong in ["", "05047", "0504711", "05047a", "000000"] {
            assert_eq!(matching(SECRET, wrong, now_us, 0), None, "{wrong}");
        }
    }

    /// RFC 4648, section 10.
    #[test]
    fn base32_is_the_standards() {
        for (plain, expected) in [
            ("f", "MY"),
            ("fo", "MZXQ"),
            ("foo", "MZXW6"),
            ("foobar", "MZXW6YTBOI"),
        ] {
            assert_eq!(base32(plain.as_bytes()), expected);
        }
        let (text, address) = address(SECRET, "a b@example.org", "Fieldkeep: tide");
        assert_eq!(*text, "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        assert!(
            address
                .starts_with("otpauth://totp/Fieldkeep%3A%20tide:a%20b%40example.org?secret=GEZ")
        );
    }
}
