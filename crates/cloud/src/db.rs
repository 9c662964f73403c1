//! The catalogue database and its migrations.
