//! The byte formats seen from outside: golden bytes, damaged inputs, other people's encoders.
//!
//! Uses the public interface only. Bytes that no encoder of ours would write are put together by `cbor`, which shares no
//! code with the crate.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cbor;
mod corpus;
mod damage;
mod golden;
mod plain;
mod samples;
mod seals;
