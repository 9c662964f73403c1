//! Measurements as tables, in the formats that other programs read: CSV, JSON lines, Arrow IPC, Parquet.
//!
//! Owns what a table is on the wire: a time in UTC, for people also in the project's zone, and for each element its values
//! with unit and flag. Values are written exactly: what is read back is the same number. Writes piece by piece and keeps
//! no more than a group of rows. Knows neither where rows come from nor who reads them.

mod columnar;
mod csv;
mod lines;

#[cfg(test)]
mod tests;

use fieldkeep_protocol::{ElementId, Flag, ProjectId, Timestamp};
use fieldkeep_store::Revision;
use http::HeaderMap;
use http::header::ACCEPT;

use super::id::Time;
use crate::projects::Element;
use crate::series::Block;

/// The words of the query parameter `format`.
pub(super) const WORDS: [&str; 5] = ["json", "csv", "arrow", "parquet", "jsonl"];

/// How an answer with measurements is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Json,
    Csv,
    Arrow,
    Parquet,
    Lines,
}

impl Format {
    pub(super) const TABLES: [Self; 4] = [Self::Csv, Self::Lines, Self::Arrow, Self::Parquet];

    /// By the word of the query parameter.
    pub(super) fn from_word(word: &str) -> Option<Self> {
        match word {
            "json" => Some(Self::Json),
            "csv" => Some(Self::Csv),
            "arrow" => Some(Self::Arrow),
            "parquet" => Some(Self::Parquet),
            "jsonl" => Some(Self::Lines),
            _ => None,
        }
    }

    /// The first one that `Accept` names; none where it names none of them.
    pub(super) fn accepted(headers: &HeaderMap) -> Option<Self> {
        let accept = headers.get(ACCEPT)?.to_str().ok()?;
        accept.split(',').find_map(|range| {
            let name = range.split(';').next().unwrap_or_default().trim();
            Self::TABLES.into_iter().chain([Self::Json]).find(|format| {
                format
                    .names()
                    .iter()
                    .any(|known| name.eq_ignore_ascii_case(known))
            })
        })
    }

    /// Its media type.
    pub(super) const fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::Arrow => "application/vnd.apache.arrow.stream",
            Self::Parquet => "application/vnd.apache.parquet",
            Self::Lines => "application/jsonl",
        }
    }

    const fn names(self) -> &'static [&'static str] {
        match self {
            Self::Json => &["application/json"],
            Self::Csv => &["text/csv"],
            Self::Arrow => &["application/vnd.apache.arrow.stream"],
            Self::Parquet => &["application/vnd.apache.parquet"],
            Self::Lines => &["application/jsonl", "application/x-ndjson"],
        }
    }

    /// What a file of it is called at its end.
    pub(super) const fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Arrow => "arrows",
            Self::Parquet => "parquet",
            Self::Lines => "jsonl",
        }
    }
}

/// What a table says of itself.
#[derive(Clone, Debug)]
pub(super) struct Head {
    pub(super) project: ProjectId,
    /// The project's zone, an IANA name.
    pub(super) zone: String,
    /// What the reader has seen once it has read the table.
    pub(super) revision: Revision,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// When the values were known so; none for now.
    pub(super) known_at: Option<Timestamp>,
    pub(super) fields: Vec<Field>,
}

/// One column beside the times.
#[derive(Clone, Debug)]
pub(super) struct Field {
    pub(super) element: ElementId,
    /// The element's name, made unique in the table.
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) digits: u8,
    pub(super) role: Role,
}

/// What a column holds of its element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Value,
    Flag,
    Min,
    Mean,
    Max,
    Count,
}

impl Role {
    const fn word(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Flag => "flag",
            Self::Min => "min",
            Self::Mean => "mean",
            Self::Max => "max",
            Self::Count => "count",
        }
    }

    /// Whether it is a number in the element's unit.
    const fn has_unit(self) -> bool {
        !matches!(self, Self::Flag | Self::Count)
    }
}

impl Field {
    /// The name with what the column holds.
    pub(super) fn title(&self) -> String {
        match self.role {
            Role::Value => self.name.clone(),
            role => format!("{} {}", self.name, role.word()),
        }
    }
}

/// The columns of raw points: a value and its flag for each element.
pub(super) const POINTS: &[Role] = &[Role::Value, Role::Flag];
/// The columns of buckets.
pub(super) const BUCKETS: &[Role] = &[Role::Min, Role::Mean, Role::Max, Role::Count, Role::Flag];

/// The columns of some elements; a name that two of them have gets the id beside it.
pub(super) fn fields(elements: &[Element], roles: &[Role]) -> Vec<Field> {
    let is_taken = |name: &str| elements.iter().filter(|e| e.name == name).count() > 1;
    let of = |element: &Element| {
        let name = if is_taken(&element.name) {
            format!("{} {}", element.name, element.id)
        } else {
            element.name.clone()
        };
        let field = move |role: &Role| Field {
            element: element.id,
            name: name.clone(),
            unit: element.unit.clone(),
            digits: element.digits,
            role: *role,
        };
        roles.iter().map(field).collect::<Vec<_>>()
    };
    elements.iter().flat_map(of).collect()
}

/// Some rows: the times, and the columns in the order of the head's fields, as long as the times.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Frame {
    pub(super) times: Vec<Timestamp>,
    pub(super) columns: Vec<Cells>,
}

/// The cells of one column.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Cells {
    Numbers(Vec<Option<f64>>),
    Counts(Vec<Option<u64>>),
    Flags(Vec<Option<Flag>>),
}

impl From<Block> for Frame {
    fn from(block: Block) -> Self {
        let mut columns = Vec::with_capacity(block.columns.len() * POINTS.len());
        for column in block.columns {
            let (values, flags) = column.into_iter().map(Option::unzip).unzip();
            columns.push(Cells::Numbers(values));
            columns.push(Cells::Flags(flags));
        }
        Self {
            times: block.times,
            columns,
        }
    }
}

/// A table could not be written: a defect of ours, never of the data.
#[derive(Debug, thiserror::Error)]
pub(super) enum FormatError {
    /// The time zone of the project is not known here.
    #[error("the project's time zone is unknown")]
    Zone(#[source] jiff::Error),
    /// Arrow refused.
    #[error("the table cannot be written as Arrow")]
    Arrow(#[from] arrow_schema::ArrowError),
    /// Parquet refused.
    #[error("the table cannot be written as Parquet")]
    Parquet(#[from] parquet::errors::ParquetError),
    /// A line cannot be written.
    #[error("a line cannot be written")]
    Line(#[from] serde_json::Error),
}

/// Writes one table, piece by piece. Each call answers the bytes that are ready.
pub(super) enum Writer {
    Csv(csv::Csv),
    Lines(lines::Lines),
    Arrow(Box<columnar::Stream>),
    Parquet(Box<columnar::File>),
}

impl Writer {
    /// Begins a table.
    pub(super) fn new(format: Format, head: &Head) -> Result<Self, FormatError> {
        Ok(match format {
            Format::Csv => Self::Csv(csv::Csv::new(head)?),
            Format::Json | Format::Lines => Self::Lines(lines::Lines::new(head)),
            Format::Arrow => Self::Arrow(Box::new(columnar::Stream::new(head)?)),
            Format::Parquet => Self::Parquet(Box::new(columnar::File::new(head)?)),
        })
    }

    /// Adds rows.
    pub(super) fn rows(&mut self, frame: &Frame) -> Result<Vec<u8>, FormatError> {
        match self {
            Self::Csv(csv) => Ok(csv.rows(frame)),
            Self::Lines(lines) => lines.rows(frame),
            Self::Arrow(stream) => stream.rows(frame),
            Self::Parquet(file) => file.rows(frame),
        }
    }

    /// Ends a table that is whole.
    pub(super) fn end(self) -> Result<Vec<u8>, FormatError> {
        match self {
            Self::Csv(csv) => Ok(csv.end()),
            Self::Lines(lines) => lines.end(),
            Self::Arrow(stream) => stream.end(),
            Self::Parquet(file) => file.end(),
        }
    }

    /// What is left to say where a table breaks off. Arrow and Parquet say it by the end that is missing.
    pub(super) fn broken(self, why: &str) -> Vec<u8> {
        match self {
            Self::Csv(csv) => csv.broken(why),
            Self::Lines(lines) => lines.broken(why),
            Self::Arrow(_) | Self::Parquet(_) => Vec::new(),
        }
    }
}

/// A time as text, in UTC.
fn utc(time: Timestamp) -> String {
    Time(time).to_string()
}
