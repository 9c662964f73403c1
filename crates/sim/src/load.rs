//! The bench: real programs on loopback under load, measured from outside, beside their peers.
//!
//! Owns the made-up data that everybody gets ([`walk`]), the clients that send and ask ([`mqtt`], [`http`]), the
//! programs under test ([`fleet`], [`peers`], [`tls`]), and the order of a run ([`course`]) with its table
//! ([`report`]). Promises that a program's time is read from the kernel and is its own alone, that what was asked was
//! also answered, and that nothing is left running or on disk. Judges no code: what misses its target is said, not failed.

pub mod bound;
pub mod course;
pub mod fleet;
pub mod http;
pub mod journal;
pub mod mqtt;
pub mod peers;
pub mod process;
pub mod questions;
pub mod real;
pub mod report;
pub mod size;
pub mod tls;
pub mod traffic;
pub mod walk;
