//! Owns what touches the world: clocks, sockets, signals, the status file. It decides nothing.

pub mod clock;
pub(crate) mod rejected;
