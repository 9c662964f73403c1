//! Logs to standard error.
