//! Fieldkeep cloud.
