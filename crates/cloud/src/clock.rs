//! The only readings of time.
