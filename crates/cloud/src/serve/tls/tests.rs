//! Refusals over real sockets: everything that is not TLS 1.3 with the right certificate, each with a logged reason.

mod kit;
mod refusals;
mod resumption;
