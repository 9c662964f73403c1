//! Files of settings, good and bad.
