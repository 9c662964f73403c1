//! Owns what touches the world: clocks, sockets, the status file, rejected batches. Decisions are made elsewhere.

pub mod clock;
mod desk;
pub(crate) mod exchange;
pub(crate) mod link;
pub(crate) mod rejected;
pub(crate) mod sampling;
pub(crate) mod transport;
