//! Identifiers: UUIDv7 in sixteen bytes inside messages, TypeID text (version 0.3) everywhere else.
//!
//! One type per thing, so that a device id cannot stand where a project id belongs. Parsing is strict: lower case, the right
//! prefix, 26 digits. Randomness and the time come from the caller.

use core::fmt;
use core::str::FromStr;

const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const SUFFIX: usize = 26;

/// A text that is not the identifier it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidId;

impl fmt::Display for InvalidId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a valid identifier")
    }
}

impl core::error::Error for InvalidId {}

macro_rules! ids {
    ($($(#[doc = $doc:literal])+ $name:ident = $prefix:literal;)+) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// What stands before the underscore.
            pub const PREFIX: &'static str = $prefix;

            /// A UUIDv7 of a time in milliseconds since 1970 (48 bits are kept) and 74 of the 80 random bits.
            pub const fn from_parts(unix_ms: u64, random: [u8; 10]) -> Self {
                Self(uuid_v7(unix_ms, random))
            }

            /// The identifier with these bytes, as they stand in messages and columns.
            pub const fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The sixteen bytes.
            pub const fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(concat!($prefix, "_"))?;
                write_suffix(self.0, f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                text.strip_prefix(concat!($prefix, "_")).and_then(parse_suffix).map(Self).ok_or(InvalidId)
            }
        }
    )+};
}

ids! {
    /// A project.
    ProjectId = "prj";
    /// A datalogger.
    DeviceId = "dev";
    /// An observed property at one place.
    ElementId = "elm";
    /// A site of a project.
    LocationId = "loc";
    /// A dated binding of a device's channel to an element.
    DeploymentId = "dpl";
    /// A one-time permission to enrol.
    ClaimId = "clm";
    /// A person.
    PersonId = "usr";
    /// An API key.
    KeyId = "key";
    /// A session of a person.
    SessionId = "ses";
    /// A passkey of a person.
    PasskeyId = "pky";
    /// An invitation into a project.
    InvitationId = "inv";
    /// A service account of a project.
    ServiceId = "svc";
    /// A credential of a service account.
    CredentialId = "crd";
}

impl DeviceId {
    /// The form in a certificate's subject alternative name, `urn:uuid:…`.
    pub const fn urn(self) -> Urn {
        Urn(self)
    }

    /// Reads the form of a certificate's subject alternative name; only lower case, as [`DeviceId::urn`] writes it.
    pub fn from_urn(text: &str) -> Result<Self, InvalidId> {
        text.strip_prefix("urn:uuid:")
            .and_then(parse_uuid)
            .map(Self)
            .ok_or(InvalidId)
    }
}

/// A device id that displays as `urn:uuid:…`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Urn(DeviceId);

impl fmt::Display for Urn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("urn:uuid:")?;
        for (position, byte) in self.0.0.iter().enumerate() {
            if matches!(position, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

const fn uuid_v7(unix_ms: u64, random: [u8; 10]) -> [u8; 16] {
    let [_, _, t0, t1, t2, t3, t4, t5] = unix_ms.to_be_bytes();
    let [r0, r1, r2, r3, r4, r5, r6, r7, r8, r9] = random;
    [
        t0,
        t1,
        t2,
        t3,
        t4,
        t5,
        0x70 | (r0 & 0x0f),
        r1,
        0x80 | (r2 & 0x3f),
        r3,
        r4,
        r5,
        r6,
        r7,
        r8,
        r9,
    ]
}

fn write_suffix(bytes: [u8; 16], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut value = u128::from_be_bytes(bytes);
    let mut text = [0u8; SUFFIX];
    for digit in text.iter_mut().rev() {
        *digit = DIGITS.get((value & 31) as usize).copied().unwrap_or(b'0');
        value >>= 5;
    }
    f.write_str(core::str::from_utf8(&text).map_err(|_| fmt::Error)?)
}

fn parse_suffix(text: &str) -> Option<[u8; 16]> {
    if text.len() != SUFFIX {
        return None;
    }
    let mut value = 0u128;
    for byte in text.bytes() {
        let digit = DIGITS.iter().position(|&known| known == byte)?;
        if value >> 123 != 0 {
            return None;
        }
        value = value << 5 | digit as u128;
    }
    Some(value.to_be_bytes())
}

fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let text = text.as_bytes();
    if text.len() != 36 {
        return None;
    }
    let mut value = 0u128;
    for (position, &byte) in text.iter().enumerate() {
        if matches!(position, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return None;
            }
            continue;
        }
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u128::from(digit);
    }
    Some(value.to_be_bytes())
}

#[cfg(test)]
mod tests;
