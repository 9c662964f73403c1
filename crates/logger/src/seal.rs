//! Owns the making of seals: the device's signature over its chain of batches as far as the cloud has it.
//! Does not decide when one is due.

use fieldkeep_protocol::{
    Epoch, Spans, Timestamp, limits,
    record::Span,
    seal::{self, Payload},
};

use crate::identity::Identity;

/// What a seal covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The epoch.
    pub epoch: u64,
    /// The last record of the newest batch that is covered.
    pub last: u64,
    /// That batch's hash.
    pub hash: [u8; 32],
    /// When it is sealed.
    pub time_us: i64,
    /// Ranges that were given up.
    pub dropped: Vec<Span>,
}

/// The seal's bytes; `None` if it cannot be encoded or signed.
pub fn make(claim: &Claim, identity: &Identity) -> Option<Vec<u8>> {
    let payload = Payload {
        epoch: Epoch(claim.epoch),
        last: claim.last,
        hash: claim.hash,
        time: Timestamp::from_micros(claim.time_us),
        dropped: Spans::new(&claim.dropped),
    };
    let mut bytes = vec![0; limits::SEAL_PAYLOAD_BYTES];
    let length = payload.encode(&mut bytes).ok()?;
    bytes.truncate(length);
    let mut signed = vec![0; limits::SEAL_BYTES];
    let length = seal::to_be_signed(&identity.x5t, &bytes, &mut signed).ok()?;
    let signature = identity.sign(signed.get(..length)?)?;
    let mut out = vec![0; limits::SEAL_BYTES];
    let length = seal::assemble(&identity.x5t, &bytes, &signature, &mut out).ok()?;
    out.truncate(length);
    Some(out)
}
