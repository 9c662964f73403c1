//! Refusals over real sockets: everything that is not TLS 1.3 with the right certificate, each with a logged reason.

mod interop;
mod kit;
mod listener;
mod refusals;
mod resumption;
