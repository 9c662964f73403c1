//! Refusals over real sockets.
