//! The datalogger of Fieldkeep on Linux.

pub mod config;
pub mod folder;
pub mod journal;
pub mod ranges;
pub mod sample;
