//! Fieldkeep protocol.
