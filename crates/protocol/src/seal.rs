//! Seals: a device's signature over its chain of batches so far, as COSE_Sign1 (RFC 9052) with ES256.
//!
//! Owns the bytes: the payload, what is to be signed, and the finished message. Signing and verifying need a key and a
//! cryptographic library and stay with the callers. The signing certificate is named by `x5t` (RFC 9360), its SHA-256.

use crate::cbor::{Reader, Writer};
use crate::error::{DecodeError, EncodeError};
use crate::limits;
use crate::message::open;
use crate::record::{Epoch, Spans};
use crate::time::Timestamp;

/// Length of the protected headers.
pub const PROTECTED_BYTES: usize = PROTECTED_START.len() + 32;
/// Length of an ES256 signature, r and s of 32 bytes each.
pub const SIGNATURE_BYTES: usize = 64;

const COSE_SIGN1: u64 = 18;
const CONTEXT: &str = "Signature1";
/// `{1: -7 (ES256), 34 (x5t): [-16 (SHA-256), bytes of 32` — the hash follows.
const PROTECTED_START: [u8; 9] = [0xa2, 0x01, 0x26, 0x18, 0x22, 0x82, 0x2f, 0x58, 0x20];

/// What a seal says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Payload<'a> {
    /// The epoch whose chain is sealed.
    pub epoch: Epoch,
    /// The last record number of the last batch that the seal covers.
    pub last: u64,
    /// SHA-256 of that batch, which covers all before it through their chain.
    pub hash: [u8; 32],
    /// When it was sealed, by the device's clock.
    pub time: Timestamp,
    /// Record numbers of the epoch lost for want of space, never to come; the newest, when there are more than the limit.
    pub dropped: Spans<'a>,
}

impl<'a> Payload<'a> {
    /// Writes the payload and returns its length.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut writer = Writer::limited(out, limits::SEAL_PAYLOAD_BYTES);
        writer.array(6)?;
        writer.version()?;
        writer.uint(self.epoch.0)?;
        writer.record_number(self.last)?;
        writer.bytes(&self.hash)?;
        writer.timestamp(self.time)?;
        self.dropped.write(limits::DROPPED_RANGES, &mut writer)?;
        Ok(writer.position())
    }

    /// Reads and checks a payload.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = open(bytes, limits::SEAL_PAYLOAD_BYTES, 6)?;
        let payload = Self {
            epoch: Epoch(reader.uint()?),
            last: reader.record_number()?,
            hash: *reader.bytes_of()?,
            time: reader.timestamp()?,
            dropped: Spans::read(limits::DROPPED_RANGES, &mut reader)?,
        };
        reader.end()?;
        Ok(payload)
    }
}

/// The protected headers for a signing certificate, given the SHA-256 of its DER.
pub fn protected(x5t: &[u8; 32]) -> [u8; PROTECTED_BYTES] {
    let mut headers = [0; PROTECTED_BYTES];
    let (start, hash) = headers.split_at_mut(PROTECTED_START.len());
    start.copy_from_slice(&PROTECTED_START);
    hash.copy_from_slice(x5t);
    headers
}

/// Writes the bytes that the device signs (RFC 9052, 4.4) and returns their length.
pub fn to_be_signed(x5t: &[u8; 32], payload: &[u8], out: &mut [u8]) -> Result<usize, EncodeError> {
    let mut writer = Writer::new(out);
    writer.array(4)?;
    writer.text(CONTEXT)?;
    writer.bytes(&protected(x5t))?;
    writer.bytes(&[])?;
    writer.bytes(payload)?;
    Ok(writer.position())
}

/// Writes the finished seal and returns its length.
pub fn assemble(
    x5t: &[u8; 32],
    payload: &[u8],
    signature: &[u8; SIGNATURE_BYTES],
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    let mut writer = Writer::limited(out, limits::SEAL_BYTES);
    writer.tag(COSE_SIGN1)?;
    writer.array(4)?;
    writer.bytes(&protected(x5t))?;
    writer.empty_map()?;
    writer.bytes(payload)?;
    writer.bytes(signature)?;
    Ok(writer.position())
}

/// A seal, borrowed from its bytes. Its signature is not verified here.
#[derive(Clone, Copy, Debug)]
pub struct Seal<'a> {
    x5t: &'a [u8; 32],
    payload_bytes: &'a [u8],
    payload: Payload<'a>,
    signature: &'a [u8; SIGNATURE_BYTES],
}

impl<'a> Seal<'a> {
    /// Reads a seal and checks its form.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.len() > limits::SEAL_BYTES {
            return Err(DecodeError::TooLong);
        }
        let mut reader = Reader::new(bytes);
        if reader.tag()? != COSE_SIGN1 {
            return Err(DecodeError::Cose);
        }
        reader.array_of(4)?;
        let x5t = reader
            .bytes()?
            .strip_prefix(&PROTECTED_START)
            .ok_or(DecodeError::Cose)?;
        let x5t = x5t.try_into().map_err(|_| DecodeError::Cose)?;
        reader.empty_map()?;
        let payload_bytes = reader.bytes()?;
        let signature = reader.bytes_of()?;
        reader.end()?;
        Ok(Self {
            x5t,
            payload_bytes,
            payload: Payload::decode(payload_bytes)?,
            signature,
        })
    }

    /// What the seal says.
    pub fn payload(&self) -> &Payload<'a> {
        &self.payload
    }

    /// SHA-256 of the certificate whose key signed.
    pub fn x5t(&self) -> &'a [u8; 32] {
        self.x5t
    }

    /// The ES256 signature over [`Seal::signed_bytes`].
    pub fn signature(&self) -> &'a [u8; SIGNATURE_BYTES] {
        self.signature
    }

    /// Writes the bytes that were signed and returns their length; [`limits::SEAL_BYTES`] is always enough.
    pub fn signed_bytes(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        to_be_signed(self.x5t, self.payload_bytes, out)
    }
}
