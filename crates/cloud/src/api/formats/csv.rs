//! CSV as RFC 4180 has it: a header with units, a decimal point, the shortest digits that give the same number back.
//!
//! A text that a spreadsheet would take for a formula gets an apostrophe before it. A table that breaks off says so in its
//! last line; numbers and times are never quoted, texts where they have to be.

use std::fmt::Write as _;

use jiff::tz::TimeZone;

use super::{Cells, FormatError, Frame, Head, utc};
use fieldkeep_protocol::Timestamp;

/// Writes CSV.
pub(in crate::api) struct Csv {
    zone: TimeZone,
    head: String,
}

impl Csv {
    pub(super) fn new(head: &Head) -> Result<Self, FormatError> {
        let zone = TimeZone::get(&head.zone).map_err(FormatError::Zone)?;
        let mut line = "time_utc,".to_owned();
        text(&mut line, &format!("time_local ({})", head.zone));
        for field in &head.fields {
            line.push(',');
            let mut title = field.title();
            if field.role.has_unit() && !field.unit.is_empty() {
                // Writing to a String cannot fail.
                let _ = write!(title, " ({})", field.unit);
            }
            text(&mut line, &title);
        }
        line.push_str("\r\n");
        Ok(Self { zone, head: line })
    }

    pub(super) fn rows(&mut self, frame: &Frame) -> Vec<u8> {
        let mut out = std::mem::take(&mut self.head);
        for (row, time) in frame.times.iter().enumerate() {
            out.push_str(&utc(*time));
            out.push(',');
            self.local(&mut out, *time);
            for column in &frame.columns {
                out.push(',');
                cell(&mut out, column, row);
            }
            out.push_str("\r\n");
        }
        out.into_bytes()
    }

    pub(super) fn end(self) -> Vec<u8> {
        self.head.into_bytes()
    }

    pub(super) fn broken(self, why: &str) -> Vec<u8> {
        let mut out = self.head;
        text(
            &mut out,
            &format!("# broken off, the rows above are not all: {why}"),
        );
        out.push_str("\r\n");
        out.into_bytes()
    }

    /// A time in the project's zone, with its offset; empty beyond what a calendar can write.
    fn local(&self, out: &mut String, time: Timestamp) {
        let Ok(time) = jiff::Timestamp::from_microsecond(time.as_micros()) else {
            return;
        };
        let offset = self.zone.to_offset(time);
        // Writing to a String cannot fail.
        let _ = write!(out, "{}", time.display_with_offset(offset));
    }
}

fn cell(out: &mut String, column: &Cells, row: usize) {
    // Writing to a String cannot fail. A number is never written with an exponent.
    let _ = match column {
        Cells::Numbers(cells) => match cells.get(row) {
            Some(Some(value)) => write!(out, "{value}"),
            _ => Ok(()),
        },
        Cells::Counts(cells) => match cells.get(row) {
            Some(Some(count)) => write!(out, "{count}"),
            _ => Ok(()),
        },
        Cells::Flags(cells) => match cells.get(row) {
            Some(Some(flag)) => write!(out, "{}", flag.code()),
            _ => Ok(()),
        },
    };
}

/// A text that people gave.
fn text(out: &mut String, text: &str) {
    let is_formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let is_quoted = is_formula || text.contains(['"', ',', '\r', '\n']);
    if is_quoted {
        out.push('"');
    }
    if is_formula {
        out.push('\'');
    }
    if is_quoted {
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}
