//! Measurement store of Fieldkeep over SQL: batches, ledger, scans.
//!
//! Knows no HTTP and no users: callers prove access before they call, and say
//! which device channels an element is read from. Also lends its SQL layer
//! ([`sql`]) to the catalogue, so that one place knows the engines.

pub mod sql;
