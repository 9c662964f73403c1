//! The datalogger of Fieldkeep on Linux.

pub mod clock;
pub mod config;
pub mod driver;
pub mod folder;
pub mod journal;
pub mod ranges;
pub mod sample;
pub mod shell;
