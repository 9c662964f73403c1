//! The cloud of Fieldkeep as rooms; `docs/ARCHITECTURE.md` holds the table of who may use whom.

pub mod access;
pub mod api;
pub mod backup;
pub mod clock;
pub mod command;
pub mod config;
pub mod db;
pub mod fleet;
pub mod ingest;
pub mod keys;
pub mod mail;
pub mod pki;
pub mod projects;
pub mod series;
pub mod serve;
pub mod space;
pub mod telemetry;
pub mod trail;
