//! Fieldkeep logger.
