//! Master key, keyring, project keys and sealed columns.
