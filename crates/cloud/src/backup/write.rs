//! Making a backup: one instant of every database into an archive, the keys into another, both read back.
//!
//! The snapshots are taken measurements first, then the catalogue, and the keys last of all: whatever is in the data has
//! its device, its project and its key, because each of these is durable before the data under it. An archive gets its
//! name when it was read back from the disk and holds, series by series, what was read from the database.

use std::fs::File;
use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use fieldkeep_protocol::Timestamp;
use fieldkeep_store::sql::{Database, Part, Snapshot, Value};
use fieldkeep_store::{Audit, Figures};

use super::archive::{
    self, Content, DatabaseEntry, Header, Manifest, Reader, SeriesEntry, TableFrame,
};
use super::progress::{Progress, Stage};
use super::replay::{self, Contents, Nothing};
use super::seal::{self, RecoveryKey, RecoveryRecipient, Sealing, forget_cached, write_frame};
use super::target::{Name, Target};
use super::{Backup, BackupError, CATALOGUE, Done, SERIES, blocking};
use crate::clock::rfc3339;
use crate::keys::{InstanceId, hex};

/// Series in one frame of figures.
const FIGURES_A_FRAME: usize = 1_000;

/// What both archives of a backup have in common.
#[derive(Clone)]
struct Order {
    to: RecoveryRecipient,
    reader: Arc<RecoveryKey>,
    instance: InstanceId,
    made: Timestamp,
    progress: Arc<Progress>,
}

impl Backup {
    /// Writes a backup into the folder `to`, and answers when it was read back.
    pub(super) async fn write(
        &self,
        to: &Path,
        keep_days: Option<u32>,
        progress: &Arc<Progress>,
    ) -> Result<Done, BackupError> {
        let recipient = self.recipient().await?.ok_or(BackupError::NoRecoveryKey)?;
        let _stop = progress.stop_on_drop();
        let _lock = self.lock()?;
        let instance = self.keys().instance_id();
        let short = instance.short();
        let target = {
            let (to, short) = (to.to_path_buf(), short.clone());
            Arc::new(blocking(move || Target::prepare(&to, &short)).await?)
        };
        let series =
            Database::open_existing(&self.data().join(SERIES_FILE), self.series_key()).await?;
        let snapshots = [
            (SERIES, series.snapshot().await?),
            (CATALOGUE, self.db().snapshot().await?),
        ];
        let made = target.free_moment(&short, self.clock().now());
        let order = Order {
            to: recipient,
            reader: Arc::new(RecoveryKey::generate()),
            instance,
            made,
            progress: Arc::clone(progress),
        };
        let name = |content| Name {
            instance: short.clone(),
            made,
            content,
        };
        let (data, keys) = (name(Content::Data), name(Content::Keys));
        let written = self
            .archives(&target, &order, snapshots, [&data, &keys])
            .await;
        series.close().await;
        if written.is_err() {
            target.discard(&data);
            target.discard(&keys);
        }
        let contents = written?;
        // The keys first: data without keys could not be read, keys without data do no harm.
        for name in [&keys, &data] {
            target.commit(name)?;
        }
        for path in target.prune(&data, keep_days) {
            tracing::warn!(path = %path.display(), "an old archive could not be removed");
        }
        let path = target.path(&data);
        let bytes = std::fs::metadata(&path).map_or(0, |file| file.len());
        Ok(Done {
            keys: target.path(&keys),
            path,
            made,
            bytes,
            series: contents.manifest.series,
            batches: contents.manifest.batches,
            records: contents.manifest.records,
        })
    }

    async fn archives(
        &self,
        target: &Arc<Target>,
        order: &Order,
        snapshots: [(&'static str, Snapshot); 2],
        [data, keys]: [&Name; 2],
    ) -> Result<Contents, BackupError> {
        let file = target.begin(data)?;
        let path = target.part_path(data);
        let contents = {
            let (order, path) = (order.clone(), path.clone());
            blocking(move || {
                let written = write_data(file, &path, &order, snapshots)?;
                let found = read_back(&path, &order)?;
                if found == written {
                    Ok(found)
                } else {
                    Err(BackupError::damaged(
                        &path,
                        "it reads back as something else",
                    ))
                }
            })
            .await?
        };
        // Only now: a key that was made while the data were copied is in it too.
        let snapshot = self.keys().snapshot().await?;
        let (file, path) = (target.begin(keys)?, target.part_path(keys));
        let order = order.clone();
        blocking(move || {
            write_keys(file, &path, &order, &snapshot)?;
            let (_, found) = replay::keys(&path, &order.reader)?;
            if *found.to_bytes() == *snapshot.to_bytes() {
                Ok(())
            } else {
                Err(BackupError::damaged(
                    &path,
                    "it reads back as something else",
                ))
            }
        })
        .await?;
        Ok(contents)
    }
}

/// The measurements' file in the data folder.
pub(super) const SERIES_FILE: &str = "series.db";

fn header(order: &Order, content: Content, schemas: &[(&str, i64)]) -> Header {
    Header {
        format: archive::FORMAT,
        content,
        instance: order.instance.to_string(),
        made: rfc3339::format(order.made),
        program: env!("CARGO_PKG_VERSION").to_owned(),
        schemas: schemas
            .iter()
            .map(|(name, number)| ((*name).to_owned(), *number))
            .collect(),
    }
}

fn write_data(
    file: File,
    path: &Path,
    order: &Order,
    snapshots: [(&'static str, Snapshot); 2],
) -> Result<Contents, BackupError> {
    let failed = |source| BackupError::io(path, "written", source);
    let mut out = Output {
        sealing: seal::seal(file, &order.to, &order.reader).map_err(failed)?,
        path,
        digest: Context::new(&SHA256),
    };
    let schemas = snapshots
        .each_ref()
        .map(|(name, snapshot)| (*name, snapshot.schema()));
    out.json(archive::HEADER, &header(order, Content::Data, &schemas))?;
    let mut contents = Contents::default();
    order.progress.enter(Stage::Copying);
    for (name, snapshot) in snapshots {
        let figures = copy(
            &mut out,
            name,
            snapshot,
            &order.progress,
            &mut contents.manifest,
        )?;
        if name == SERIES {
            contents.figures = figures;
        }
    }
    for part in contents.figures.chunks(FIGURES_A_FRAME) {
        let entries: Vec<SeriesEntry> = part.iter().map(SeriesEntry::from).collect();
        out.json(archive::FIGURES, &entries)?;
    }
    contents.sum_up();
    out.json(archive::MANIFEST, &contents.manifest)?;
    let file = seal::finish(out.sealing).map_err(failed)?;
    forget_cached(&file);
    Ok(contents)
}

/// Copies one database, and counts what it copies.
fn copy(
    out: &mut Output<'_>,
    database: &str,
    mut snapshot: Snapshot,
    progress: &Progress,
    manifest: &mut Manifest,
) -> Result<Vec<Figures>, BackupError> {
    let mut entry = DatabaseEntry {
        name: database.to_owned(),
        tables: 0,
        rows: 0,
        sha256: String::new(),
    };
    let mut audit = Audit::default();
    let mut body = Vec::new();
    out.digest = Context::new(&SHA256);
    loop {
        if progress.is_stopped() {
            return Err(BackupError::Stopped);
        }
        match snapshot.blocking_next()? {
            Part::Table(table) => {
                entry.tables += 1;
                if database == SERIES {
                    audit.table(table.name(), table.columns())?;
                }
                out.json(
                    archive::TABLE,
                    &TableFrame {
                        database: database.to_owned(),
                        name: table.name().to_owned(),
                        columns: table.columns().to_vec(),
                    },
                )?;
            }
            Part::Rows(rows) => {
                entry.rows += rows.len() as u64;
                for row in &rows {
                    let values: Vec<Value<'_>> = row.values().collect();
                    audit.row(&values)?;
                }
                body.clear();
                archive::encode(&rows, &mut body)
                    .map_err(|_| BackupError::damaged(out.path, "a value is too long"))?;
                out.frame(archive::ROWS, &body)?;
                progress.add(rows.len(), body.len());
            }
            Part::End => break,
        }
    }
    entry.sha256 = hex(out.digest.clone().finish().as_ref());
    manifest.databases.push(entry);
    Ok(audit.finish()?)
}

fn write_keys(
    file: File,
    path: &Path,
    order: &Order,
    snapshot: &crate::keys::KeySnapshot,
) -> Result<(), BackupError> {
    let failed = |source| BackupError::io(path, "written", source);
    let mut out = Output {
        sealing: seal::seal(file, &order.to, &order.reader).map_err(failed)?,
        path,
        digest: Context::new(&SHA256),
    };
    out.json(archive::HEADER, &header(order, Content::Keys, &[]))?;
    out.frame(archive::KEYS, &snapshot.to_bytes())?;
    let manifest = Manifest {
        projects: snapshot.projects() as u64,
        ..Manifest::default()
    };
    out.json(archive::MANIFEST, &manifest)?;
    let file = seal::finish(out.sealing).map_err(failed)?;
    forget_cached(&file);
    Ok(())
}

fn read_back(path: &Path, order: &Order) -> Result<Contents, BackupError> {
    order.progress.enter(Stage::Verifying);
    let mut reader = Reader::open(path, &order.reader, Content::Data)?;
    replay::data(&mut reader, &mut Nothing, &order.progress)
}

/// Frames on their way into an archive.
struct Output<'p> {
    sealing: Sealing,
    path: &'p Path,
    /// Of the database that is being copied.
    digest: Context,
}

impl Output<'_> {
    fn json(&mut self, kind: u8, body: &impl serde::Serialize) -> Result<(), BackupError> {
        let body = serde_json::to_vec(body)
            .map_err(|error| BackupError::io(self.path, "written", error.into()))?;
        self.frame(kind, &body)
    }

    fn frame(&mut self, kind: u8, body: &[u8]) -> Result<(), BackupError> {
        replay::digest(&mut self.digest, kind, body);
        write_frame(&mut self.sealing, kind, body)
            .map_err(|source| BackupError::io(self.path, "written", source))
    }
}
