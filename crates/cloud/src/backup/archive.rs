//! What is inside an archive: frames of kind (1), length (4, big-endian) and body.
//!
//! A data archive is a header, then for each database its tables and their rows, then the figures of every series, then
//! the manifest, and nothing after it. A key archive is a header, the keys, a manifest. Rows are `0` NULL, `1` number (8,
//! big-endian), `2` text and `3` bytes (length in 4, then the bytes), value after value. Formats never change: what
//! differs gets a higher number in the header, which is read first.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use fieldkeep_protocol::{DeviceId, Epoch, ProjectId, Timestamp};
use fieldkeep_store::Figures;
use fieldkeep_store::sql::{Row, Value};
use serde::{Deserialize, Serialize};

use super::BackupError;
use super::seal::{self, Opening, RecoveryKey};
use crate::clock::rfc3339;
use crate::keys::hex;

/// The newest format of an archive's inside.
pub(super) const FORMAT: u32 = 1;
/// More than any frame: a row holds at most one payload, and parts of a snapshot are small.
const LONGEST: u32 = 64 << 20;

pub(super) const HEADER: u8 = 1;
pub(super) const TABLE: u8 = 2;
pub(super) const ROWS: u8 = 3;
pub(super) const KEYS: u8 = 4;
pub(super) const FIGURES: u8 = 5;
pub(super) const MANIFEST: u8 = 6;

/// What kind of archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Content {
    Data,
    Keys,
}

impl Content {
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Data => "data",
            Self::Keys => "keys",
        }
    }
}

/// The first frame: read before anything else is believed. Unknown fields are a newer program's and are skipped.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) format: u32,
    pub(super) content: Content,
    /// The instance's id, hexadecimal.
    pub(super) instance: String,
    /// RFC 3339.
    pub(super) made: String,
    /// The version of the program that wrote it.
    pub(super) program: String,
    /// The newest migration of each database.
    #[serde(default)]
    pub(super) schemas: BTreeMap<String, i64>,
}

impl Header {
    pub(super) fn made(&self) -> Option<Timestamp> {
        rfc3339::parse(&self.made).ok()
    }
}

/// Names the table whose rows follow.
#[derive(Serialize, Deserialize)]
pub(super) struct TableFrame {
    pub(super) database: String,
    pub(super) name: String,
    pub(super) columns: Vec<String>,
}

/// One database in the manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct DatabaseEntry {
    pub(super) name: String,
    pub(super) tables: u64,
    pub(super) rows: u64,
    /// SHA-256 over its frames, hexadecimal.
    pub(super) sha256: String,
}

/// The last frame: what the archive must have held.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    pub(super) databases: Vec<DatabaseEntry>,
    pub(super) series: u64,
    pub(super) batches: u64,
    pub(super) records: u64,
    /// Projects with a key, in a key archive.
    #[serde(default)]
    pub(super) projects: u64,
}

/// The figures of one series, as text.
#[derive(Serialize, Deserialize)]
pub(super) struct SeriesEntry {
    project: String,
    device: String,
    epoch: String,
    batches: u64,
    records: u64,
    sha256: String,
}

impl From<&Figures> for SeriesEntry {
    fn from(figures: &Figures) -> Self {
        Self {
            project: figures.project.to_string(),
            device: figures.device.to_string(),
            epoch: format!("{:016x}", figures.epoch.0),
            batches: figures.batches,
            records: figures.records,
            sha256: hex(&figures.checksum),
        }
    }
}

impl SeriesEntry {
    /// Whether it says the same as `figures`; texts are compared, nothing is believed.
    pub(super) fn is(&self, figures: &Figures) -> bool {
        let same: Self = figures.into();
        self.project == same.project
            && self.device == same.device
            && self.epoch == same.epoch
            && self.batches == same.batches
            && self.records == same.records
            && self.sha256 == same.sha256
    }
}

/// How a series is named to a person.
pub(super) fn name(project: ProjectId, device: DeviceId, epoch: Epoch) -> String {
    format!("{device} in {project}, epoch {:016x}", epoch.0)
}

/// Puts rows into the body of one frame.
pub(super) fn encode(rows: &[Row], body: &mut Vec<u8>) -> Result<(), std::num::TryFromIntError> {
    for value in rows.iter().flat_map(Row::values) {
        let (kind, bytes) = match value {
            Value::Null => {
                body.push(0);
                continue;
            }
            Value::I64(number) => {
                body.push(1);
                body.extend_from_slice(&number.to_be_bytes());
                continue;
            }
            Value::Bool(value) => {
                body.push(1);
                body.extend_from_slice(&i64::from(value).to_be_bytes());
                continue;
            }
            Value::Text(text) => (2, text.as_bytes()),
            Value::Bytes(bytes) => (3, bytes),
        };
        body.push(kind);
        body.extend_from_slice(&u32::try_from(bytes.len())?.to_be_bytes());
        body.extend_from_slice(bytes);
    }
    Ok(())
}

/// The values of one frame, row after row; None when it is not what [`encode`] writes.
pub(super) fn decode(mut body: &[u8]) -> Option<Vec<Value<'_>>> {
    let mut values = Vec::new();
    while let Some((kind, rest)) = body.split_first() {
        let (value, rest) = match kind {
            0 => (Value::Null, rest),
            1 => {
                let (number, rest) = rest.split_first_chunk::<8>()?;
                (Value::I64(i64::from_be_bytes(*number)), rest)
            }
            2 | 3 => {
                let (length, rest) = rest.split_first_chunk::<4>()?;
                let length = usize::try_from(u32::from_be_bytes(*length)).ok()?;
                let (bytes, rest) = rest.split_at_checked(length)?;
                let value = if *kind == 2 {
                    Value::Text(std::str::from_utf8(bytes).ok()?)
                } else {
                    Value::Bytes(bytes)
                };
                (value, rest)
            }
            _ => return None,
        };
        values.push(value);
        body = rest;
    }
    Some(values)
}

/// An archive that is being read, its header believed.
pub(super) struct Reader {
    pub(super) path: PathBuf,
    pub(super) header: Header,
    input: Opening,
}

impl Reader {
    /// Opens an archive and reads its header.
    pub(super) fn open(
        path: &Path,
        key: &RecoveryKey,
        content: Content,
    ) -> Result<Self, BackupError> {
        let mut reader = Self {
            path: path.to_path_buf(),
            header: Header {
                format: 0,
                content,
                instance: String::new(),
                made: String::new(),
                program: String::new(),
                schemas: BTreeMap::new(),
            },
            input: seal::open(path, key)?,
        };
        let (kind, body) = reader.frame()?;
        let header: Header = match kind {
            HEADER => serde_json::from_slice(&body).map_err(|_| reader.damaged("header"))?,
            _ => return Err(reader.damaged("no header")),
        };
        if header.format > FORMAT {
            return Err(BackupError::Newer {
                path: reader.path,
                program: header.program,
            });
        }
        if header.content != content {
            return Err(reader.damaged(&format!("it holds {}", header.content.word())));
        }
        reader.header = header;
        Ok(reader)
    }

    /// The next frame.
    pub(super) fn frame(&mut self) -> Result<(u8, Vec<u8>), BackupError> {
        let mut head = [0; 5];
        self.fill(&mut head)?;
        let [kind, length @ ..] = head;
        let length = u32::from_be_bytes(length);
        if length > LONGEST {
            return Err(self.damaged("a frame without end"));
        }
        let mut body = vec![0; usize::try_from(length).unwrap_or_default()];
        self.fill(&mut body)?;
        Ok((kind, body))
    }

    /// Refuses anything that follows.
    pub(super) fn end(&mut self) -> Result<(), BackupError> {
        match seal::at_end(&mut self.input) {
            Ok(true) => Ok(()),
            Ok(false) => Err(self.damaged("something follows its end")),
            Err(error) => Err(self.damaged(&error.to_string())),
        }
    }

    pub(super) fn damaged(&self, what: &str) -> BackupError {
        BackupError::damaged(&self.path, what)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), BackupError> {
        self.input
            .read_exact(bytes)
            .map_err(|error| self.damaged(&error.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whatever_bytes_come_decoding_ends_in_peace() {
        let sound = [
            1, 0, 0, 0, 0, 0, 0, 0, 7, 0, 2, 0, 0, 0, 1, b'x', 3, 0, 0, 0, 0,
        ];
        assert_eq!(decode(&sound).map(|values| values.len()), Some(4));
        for end in 0..sound.len() {
            let cut = decode(&sound[..end]).map(|values| values.len());
            assert_eq!(cut.is_some(), [0, 9, 10, 16].contains(&end), "{end}");
        }
        for kind in 4..=u8::MAX {
            assert!(decode(&[kind]).is_none());
        }
        assert!(decode(&[2, 255, 255, 255, 255]).is_none());
        assert!(decode(&[2, 0, 0, 0, 1, 0xff]).is_none());
    }
}
