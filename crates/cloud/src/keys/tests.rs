//! Keys over real folders.
