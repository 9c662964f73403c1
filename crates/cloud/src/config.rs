//! Settings: one TOML file, defaults and manual in one.
