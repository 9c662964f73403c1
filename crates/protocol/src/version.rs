//! The version of the protocol, as it stands in topics and as the first item of every message.
//!
//! A message whose first item is greater than what the reader knows is refused with `DecodeError::Version`. A newer logger
//! writes the older version to an older cloud; the cloud reads every version ever released.

/// The only version so far.
pub const PROTOCOL: u64 = 1;
