//! Enrolment, renewal and states over a real catalogue; the bench that tests of other rooms build on.

mod bench;
mod enrolment;
mod server;

pub(crate) use bench::{Bench, HERE, Identity, chain, csr, peer, private_key};
