//! Owns the walk over a TOML table that notes every error with its key instead of stopping at the first.
//! Does not know what the keys mean.

use std::time::Duration;

use toml::{Table, Value};

use super::duration::{parse_duration, parse_size};

/// One table of the file; what is not taken out of it is an unknown key.
pub(super) struct Section<'a> {
    path: String,
    table: Table,
    errors: &'a mut Vec<String>,
}

impl<'a> Section<'a> {
    pub(super) fn new(path: &str, table: Table, errors: &'a mut Vec<String>) -> Self {
        Section {
            path: path.to_owned(),
            table,
            errors,
        }
    }

    pub(super) fn note(&mut self, key: &str, message: impl std::fmt::Display) {
        self.errors.push(format!("{}{key}: {message}", self.path));
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.table.remove(key)
    }

    pub(super) fn text(&mut self, key: &str) -> Option<String> {
        match self.take(key)? {
            Value::String(text) => Some(text),
            other => {
                self.note(key, format_args!("must be text, not {other}"));
                None
            }
        }
    }

    pub(super) fn duration(
        &mut self,
        key: &str,
        least: Duration,
        most: Duration,
    ) -> Option<Duration> {
        let text = self.text(key)?;
        match parse_duration(&text) {
            Some(value) if (least..=most).contains(&value) => Some(value),
            Some(_) => {
                self.note(
                    key,
                    format_args!("must be between {least:?} and {most:?}, not \"{text}\""),
                );
                None
            }
            None => {
                self.note(
                    key,
                    format_args!(
                        "must be a duration such as \"1s\", \"10min\" or \"31d\", not \"{text}\""
                    ),
                );
                None
            }
        }
    }

    pub(super) fn size(&mut self, key: &str, least: u64, most: u64) -> Option<u64> {
        let text = self.text(key)?;
        match parse_size(&text) {
            Some(value) if (least..=most).contains(&value) => Some(value),
            Some(_) => {
                self.note(
                    key,
                    format_args!("must be between {least} and {most} bytes, not \"{text}\""),
                );
                None
            }
            None => {
                self.note(
                    key,
                    format_args!("must be a size such as \"64MiB\", not \"{text}\""),
                );
                None
            }
        }
    }

    pub(super) fn integer(&mut self, key: &str, least: i64, most: i64) -> Option<i64> {
        match self.take(key)? {
            Value::Integer(value) if (least..=most).contains(&value) => Some(value),
            other => {
                self.note(
                    key,
                    format_args!("must be a whole number from {least} to {most}, not {other}"),
                );
                None
            }
        }
    }

    /// Notes every key that nobody asked for.
    pub(super) fn finish(mut self) {
        let unknown: Vec<String> = self.table.keys().cloned().collect();
        for key in unknown {
            self.note(&key, "is not a key of this file");
        }
    }
}
