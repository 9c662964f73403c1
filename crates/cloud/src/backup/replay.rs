//! Reading an archive from its first frame to its last, and believing nothing that it does not prove.
//!
//! One path for reading back and for restoring: what differs is only where the rows go. Promises that an archive which
//! ends in `Ok` had every frame, and that its rows amount to the figures and sums in it.

use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};
use fieldkeep_store::sql::Value;
use fieldkeep_store::{Audit, Figures};
use zeroize::Zeroizing;

use super::archive::{
    self, Content, DatabaseEntry, Header, Manifest, Reader, SeriesEntry, TableFrame,
};
use super::progress::Progress;
use super::seal::RecoveryKey;
use super::{BackupError, SERIES};
use crate::keys::{KeySnapshot, hex};

/// What an archive held.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Contents {
    pub(super) manifest: Manifest,
    pub(super) figures: Vec<Figures>,
}

impl Contents {
    /// Brings the sums of the manifest up to the figures.
    pub(super) fn sum_up(&mut self) {
        self.manifest.series = self.figures.len() as u64;
        self.manifest.batches = self.figures.iter().map(|one| one.batches).sum();
        self.manifest.records = self.figures.iter().map(|one| one.records).sum();
    }
}

/// Where rows go.
pub(super) trait Sink {
    /// The rows that follow are of this table.
    fn table(&mut self, table: &TableFrame) -> Result<(), BackupError>;
    /// Some rows, value after value.
    fn rows(&mut self, values: &[Value<'_>]) -> Result<(), BackupError>;
}

/// Rows are only counted and compared.
pub(super) struct Nothing;

impl Sink for Nothing {
    fn table(&mut self, _: &TableFrame) -> Result<(), BackupError> {
        Ok(())
    }

    fn rows(&mut self, _: &[Value<'_>]) -> Result<(), BackupError> {
        Ok(())
    }
}

/// Reads a data archive whose header was read, to its end.
pub(super) fn data(
    reader: &mut Reader,
    sink: &mut impl Sink,
    progress: &Progress,
) -> Result<Contents, BackupError> {
    let mut state = State {
        contents: Contents::default(),
        audit: Audit::default(),
        digest: Context::new(&SHA256),
        width: 0,
        told: 0,
    };
    loop {
        if progress.is_stopped() {
            return Err(BackupError::Stopped);
        }
        let (kind, body) = reader.frame()?;
        match kind {
            archive::TABLE => {
                let table: TableFrame = json(reader, &body)?;
                state.table(&table, reader)?;
                digest(&mut state.digest, kind, &body);
                sink.table(&table)?;
            }
            archive::ROWS => {
                digest(&mut state.digest, kind, &body);
                let values = archive::decode(&body).ok_or_else(|| reader.damaged("rows"))?;
                let rows = state.rows(&values, reader)?;
                sink.rows(&values)?;
                progress.add(rows, body.len());
            }
            archive::FIGURES => {
                let entries: Vec<SeriesEntry> = json(reader, &body)?;
                state.figures(&entries, reader)?;
            }
            archive::MANIFEST => {
                let manifest: Manifest = json(reader, &body)?;
                reader.end()?;
                return state.finish(&manifest, reader);
            }
            _ => return Err(reader.damaged("a frame of unknown kind")),
        }
    }
}

/// Reads a key archive.
pub(super) fn keys(path: &Path, key: &RecoveryKey) -> Result<(Header, KeySnapshot), BackupError> {
    let mut reader = Reader::open(path, key, Content::Keys)?;
    let (kind, body) = reader.frame()?;
    let body = Zeroizing::new(body);
    let snapshot = (kind == archive::KEYS)
        .then(|| KeySnapshot::from_bytes(&body))
        .flatten()
        .ok_or_else(|| reader.damaged("no keys"))?;
    let (kind, body) = reader.frame()?;
    let manifest: Manifest = json(&reader, &body)?;
    reader.end()?;
    let whole = kind == archive::MANIFEST
        && manifest.projects == snapshot.projects() as u64
        && reader.header.instance == snapshot.instance_id().to_string();
    if whole {
        Ok((reader.header, snapshot))
    } else {
        Err(reader.damaged("its keys are not those of its manifest"))
    }
}

/// Adds a frame to the checksum of its database.
pub(super) fn digest(into: &mut Context, kind: u8, body: &[u8]) {
    into.update(&[kind]);
    into.update(&(body.len() as u64).to_be_bytes());
    into.update(body);
}

fn json<T: serde::de::DeserializeOwned>(reader: &Reader, body: &[u8]) -> Result<T, BackupError> {
    serde_json::from_slice(body).map_err(|error| reader.damaged(&error.to_string()))
}

struct State {
    contents: Contents,
    audit: Audit,
    /// Of the database that is being read.
    digest: Context,
    /// Columns of the table that is being read.
    width: usize,
    /// How many figures the archive told so far.
    told: usize,
}

impl State {
    fn table(&mut self, table: &TableFrame, reader: &Reader) -> Result<(), BackupError> {
        let databases = &mut self.contents.manifest.databases;
        match databases.last_mut() {
            Some(entry) if entry.name == table.database => entry.tables += 1,
            last => {
                if let Some(entry) = last {
                    entry.sha256 = hex(self.digest.clone().finish().as_ref());
                }
                self.digest = Context::new(&SHA256);
                databases.push(DatabaseEntry {
                    name: table.database.clone(),
                    tables: 1,
                    rows: 0,
                    sha256: String::new(),
                });
            }
        }
        self.width = table.columns.len();
        // Tables of other databases may be called alike, and are none of its business.
        let name = if table.database == SERIES {
            table.name.as_str()
        } else {
            ""
        };
        self.audit
            .table(name, &table.columns)
            .map_err(|_| reader.damaged("a table without its columns"))
    }

    fn rows(&mut self, values: &[Value<'_>], reader: &Reader) -> Result<usize, BackupError> {
        let rows = values.chunks_exact(self.width.max(1));
        let whole = self.width > 0 && rows.remainder().is_empty();
        let entry = self.contents.manifest.databases.last_mut();
        let (Some(entry), true) = (entry, whole) else {
            return Err(reader.damaged("rows without a table"));
        };
        let count = rows.len();
        entry.rows += count as u64;
        for row in rows {
            self.audit
                .row(row)
                .map_err(|_| reader.damaged("a row with another type"))?;
        }
        Ok(count)
    }

    fn figures(&mut self, entries: &[SeriesEntry], reader: &Reader) -> Result<(), BackupError> {
        self.count(reader)?;
        for entry in entries {
            let found = self.contents.figures.get(self.told);
            if !found.is_some_and(|figures| entry.is(figures)) {
                return Err(reader.damaged("a series is not what its figures say"));
            }
            self.told += 1;
        }
        Ok(())
    }

    /// Turns what was read into figures, once all rows were read.
    fn count(&mut self, reader: &Reader) -> Result<(), BackupError> {
        if self.contents.figures.is_empty() {
            self.contents.figures = std::mem::take(&mut self.audit)
                .finish()
                .map_err(|_| reader.damaged("batches without a series"))?;
            self.contents.sum_up();
        }
        Ok(())
    }

    fn finish(mut self, manifest: &Manifest, reader: &Reader) -> Result<Contents, BackupError> {
        self.count(reader)?;
        if let Some(entry) = self.contents.manifest.databases.last_mut() {
            entry.sha256 = hex(self.digest.finish().as_ref());
        }
        if self.told == self.contents.figures.len() && self.contents.manifest == *manifest {
            Ok(self.contents)
        } else {
            Err(reader.damaged("it is not what its manifest says"))
        }
    }
}
