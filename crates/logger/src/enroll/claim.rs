//! Owns the claim line, `fk1:HOST:PORT:CODE:FINGERPRINT`: one line that holds all a new device needs.

use std::{fmt, str::FromStr};

use crate::folder::Endpoint;

/// A claim as it is copied from the cloud.
#[derive(Clone, PartialEq, Eq)]
pub struct ClaimLine {
    /// The cloud's device port.
    pub endpoint: Endpoint,
    /// The permission to enrol, good once.
    pub code: String,
    /// SHA-256 of the cloud's root certificate.
    pub fingerprint: [u8; 32],
}

impl fmt::Debug for ClaimLine {
    /// Leaves the code out: it is a secret until it is used.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimLine({})", self.endpoint)
    }
}

/// What is wrong with a claim line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadClaim {
    /// It does not begin as claim lines do.
    #[error("a claim line begins with fk1:")]
    Prefix,
    /// It has not all parts.
    #[error(
        "a claim line has the form fk1:HOST:PORT:CODE:FINGERPRINT; this one is cut short or has a part too many"
    )]
    Parts,
    /// Its address is none.
    #[error("HOST:PORT in the claim line is not an address")]
    Address,
    /// Its code has characters that no code has.
    #[error("the code in the claim line has characters that no code has")]
    Code,
    /// Its fingerprint is none.
    #[error(
        "the fingerprint in the claim line is not 64 hexadecimal digits: it is cut short or changed"
    )]
    Fingerprint,
}

impl FromStr for ClaimLine {
    type Err = BadClaim;

    fn from_str(text: &str) -> Result<ClaimLine, BadClaim> {
        let rest = text.trim().strip_prefix("fk1:").ok_or(BadClaim::Prefix)?;
        let (rest, fingerprint) = rest.rsplit_once(':').ok_or(BadClaim::Parts)?;
        let (address, code) = rest.rsplit_once(':').ok_or(BadClaim::Parts)?;
        let host = address.rsplit_once(':').ok_or(BadClaim::Parts)?.0;
        if host.contains(':') && !host.starts_with('[') {
            return Err(BadClaim::Parts);
        }
        let endpoint = address.parse().map_err(|_| BadClaim::Address)?;
        Ok(ClaimLine {
            endpoint,
            code: check_code(code).ok_or(BadClaim::Code)?,
            fingerprint: parse_hex(fingerprint).ok_or(BadClaim::Fingerprint)?,
        })
    }
}

/// A code that could be one.
pub(super) fn check_code(code: &str) -> Option<String> {
    let known = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    ((1..=128).contains(&code.len()) && code.chars().all(known)).then(|| code.to_owned())
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut bytes = [0; 32];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let nibble = |digit: u8| char::from(digit).to_digit(16);
        *byte = u8::try_from(nibble(pair[0])? << 4 | nibble(pair[1])?).ok()?;
    }
    Some(bytes)
}

/// A fingerprint as people compare it.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_and_addresses() {
        let print = "0f".repeat(32);
        for host in ["cloud.example", "10.0.0.1", "[2001:db8::1]"] {
            let claim: ClaimLine = format!("fk1:{host}:8443:ABCD-1234:{print}\n")
                .parse()
                .unwrap();
            assert_eq!(claim.endpoint.to_string(), format!("{host}:8443"));
            assert_eq!(hex(&claim.fingerprint), print);
            assert_eq!(format!("{claim:?}"), format!("ClaimLine({host}:8443)"));
        }
    }

    #[test]
    fn says_what_is_wrong() {
        let print = "0f".repeat(32);
        let cases = [
            ("hello".to_owned(), BadClaim::Prefix),
            ("fk1:cloud".to_owned(), BadClaim::Parts),
            (format!("fk1:cloud:CODE:{print}"), BadClaim::Parts),
            (format!("fk1:2001:db8::1:1:CODE:{print}"), BadClaim::Parts),
            (format!("fk1:cloud:port:CODE:{print}"), BadClaim::Address),
            (format!("fk1:cloud:1:CO DE:{print}"), BadClaim::Code),
            ("fk1:cloud:1:CODE:0f0f".to_owned(), BadClaim::Fingerprint),
        ];
        for (line, expected) in cases {
            assert_eq!(line.parse::<ClaimLine>().unwrap_err(), expected, "{line}");
        }
    }
}
