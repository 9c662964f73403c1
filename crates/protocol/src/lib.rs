//! The language that loggers and the cloud speak: ids, records, batches, seals and messages.
//!
//! Owns every byte format between a device and the cloud (`docs/PROTOCOL.md` is its manual) and the limits on both sides.
//! Promises: `no_std` without an allocator; no input can make it panic; decoding allocates nothing and accepts each
//! structure in exactly one CBOR form; what a `decode` returned can be read afterwards without further errors.
//! Does not do: sockets, clocks, random numbers, signatures. Those come in as arguments, so that the same code runs in a
//! microcontroller, in the logger and in the cloud.
//!
//! Formats are for ever: a version, once released, is decoded by every later release. The golden bytes of each version are
//! in `tests/golden`.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod batch;
mod cbor;
pub mod channels;
mod error;
pub mod exchange;
pub mod id;
pub mod limits;
pub mod message;
pub mod puback;
pub mod record;
pub mod seal;
pub mod time;
pub mod topic;
pub mod version;

pub use error::{DecodeError, EncodeError};
pub use id::{
    ClaimId, CredentialId, DeploymentId, DeviceId, ElementId, InvitationId, KeyId, LocationId,
    PasskeyId, PersonId, ProjectId, ServiceId, SessionId,
};
pub use record::{ClockQuality, Epoch, Flag, Reason, RecordRange, Span, Spans};
pub use time::Timestamp;
