//! The command line: serve, demo, admin.
