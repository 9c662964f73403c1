//! The front door for devices over in-memory connections: sessions, poison, enrolment over HTTP.

pub(crate) mod client;
mod enrolment;
mod exchange;
mod poison;
mod sessions;
pub(crate) mod station;
