//! Mounts both front doors on their listeners.

pub mod tls;
