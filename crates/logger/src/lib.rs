//! The datalogger of Fieldkeep on Linux.

pub mod backoff;
pub mod books;
pub mod clock;
pub mod config;
pub mod driver;
pub mod enroll;
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
