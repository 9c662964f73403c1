//! The datalogger of Fieldkeep on Linux: it measures, keeps what it measured, and delivers it to its cloud.
//!
//! What decides does no I/O and is told the time, the bytes and the chance it needs: `clock` judges the clock, `sample` and
//! `driver` make records, `journal` keeps them, `session` (over `mqtt` or `exchange`) decides the course of a session, `books` ties
//! them together. What touches the world decides little: `shell` has clocks and sockets, `reach`, `tls` and `http` the way to
//! a server, `folder`, `identity` and `status` the files. `enroll` makes a device, `renew` keeps its certificate
//! fresh, `logger` runs the whole.
//!
//! It dials out and never listens.

pub mod backoff;
pub mod books;
pub mod clock;
pub mod config;
pub mod driver;
pub mod enroll;
pub mod exchange;
pub mod folder;
pub mod http;
pub mod identity;
pub mod journal;
pub mod logger;
pub mod mqtt;
pub mod ranges;
pub mod reach;
pub mod renew;
pub mod sample;
pub mod seal;
pub mod session;
pub mod shell;
pub mod status;
pub mod tls;
