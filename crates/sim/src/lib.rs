//! Fieldkeep sim.
