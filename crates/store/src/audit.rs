//! What a store's rows amount to, series by series: the figures by which a backup is compared with what was stored.
//!
//! [`Audit`] reads rows in passing, wherever they come from: a snapshot, an archive, a database that was filled from one.
//! [`Store::open_ends`] opens what is stored, so that a restored database is known to be readable and not only equal.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};
use fieldkeep_protocol::{DeviceId, Epoch, ProjectId, batch};

use crate::cipher::{Kind, Subject};
use crate::error::StoreError;
use crate::kept::print;
use crate::sql::{SqlError, Value};
use crate::store::{Origin, Store};

/// What is stored of one series: one epoch of one device.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Figures {
    /// The project.
    pub project: ProjectId,
    /// The device.
    pub device: DeviceId,
    /// The epoch.
    pub epoch: Epoch,
    /// Batches, over all branches.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// SHA-256 over every column of its batch rows, in the order in which they were stored.
    pub checksum: [u8; 32],
}

/// Reads the rows of a store's database in passing and keeps count.
#[derive(Default)]
pub struct Audit {
    projects: BTreeMap<i64, ProjectId>,
    streams: BTreeMap<i64, (i64, DeviceId, Epoch)>,
    sums: BTreeMap<i64, Sum>,
    columns: Columns,
}

/// Which table the rows are of, and where in them is what counts.
#[derive(Clone, Copy, Default)]
enum Columns {
    #[default]
    Other,
    Project([usize; 2]),
    Stream([usize; 4]),
    Batch([usize; 2]),
}

struct Sum {
    batches: u64,
    records: u64,
    digest: Context,
}

impl Audit {
    /// The rows that follow are of this table.
    ///
    /// # Errors
    /// [`SqlError::Column`] when a table lacks a column that every version of it has.
    pub fn table(&mut self, name: &str, columns: &[String]) -> Result<(), SqlError> {
        self.columns = match name {
            "project" => Columns::Project(places(columns, ["id", "project"])?),
            "stream" => Columns::Stream(places(columns, ["id", "project", "device", "epoch"])?),
            "batch" => Columns::Batch(places(columns, ["stream", "count"])?),
            _ => Columns::Other,
        };
        Ok(())
    }

    /// One row of the table that was named last.
    ///
    /// # Errors
    /// [`SqlError::Column`] when a value is not what its column holds.
    pub fn row(&mut self, row: &[Value<'_>]) -> Result<(), SqlError> {
        match self.columns {
            Columns::Other => {}
            Columns::Project([id, project]) => {
                let project = ProjectId::from_bytes(array(row, project)?);
                self.projects.insert(number(row, id)?, project);
            }
            Columns::Stream([id, project, device, epoch]) => {
                let device = DeviceId::from_bytes(array(row, device)?);
                let epoch = Epoch(number(row, epoch)?.cast_unsigned());
                self.streams
                    .insert(number(row, id)?, (number(row, project)?, device, epoch));
            }
            Columns::Batch([stream, count]) => {
                let sum = self
                    .sums
                    .entry(number(row, stream)?)
                    .or_insert_with(|| Sum {
                        batches: 0,
                        records: 0,
                        digest: Context::new(&SHA256),
                    });
                sum.batches += 1;
                sum.records = sum
                    .records
                    .saturating_add(number(row, count)?.cast_unsigned());
                for value in row {
                    digest(&mut sum.digest, value);
                }
            }
        }
        Ok(())
    }

    /// The figures of every series, also of those that hold nothing.
    ///
    /// # Errors
    /// [`SqlError::Column`] when batches belong to a series, or a series to a project, that is not there.
    pub fn finish(self) -> Result<Vec<Figures>, SqlError> {
        let Self {
            projects,
            streams,
            mut sums,
            ..
        } = self;
        let mut all = Vec::with_capacity(streams.len());
        for (id, (project, device, epoch)) in streams {
            let project = *projects
                .get(&project)
                .ok_or(SqlError::Column { column: 1 })?;
            let (batches, records, digest) = match sums.remove(&id) {
                Some(sum) => (sum.batches, sum.records, sum.digest),
                None => (0, 0, Context::new(&SHA256)),
            };
            let mut checksum = [0; 32];
            checksum.copy_from_slice(digest.finish().as_ref());
            all.push(Figures {
                project,
                device,
                epoch,
                batches,
                records,
                checksum,
            });
        }
        if !sums.is_empty() {
            return Err(SqlError::Column { column: 0 });
        }
        all.sort_unstable();
        Ok(all)
    }
}

fn places<const N: usize>(columns: &[String], wanted: [&str; N]) -> Result<[usize; N], SqlError> {
    let mut places = [0; N];
    for (column, (place, name)) in places.iter_mut().zip(wanted).enumerate() {
        *place = columns
            .iter()
            .position(|known| known == name)
            .ok_or(SqlError::Column { column })?;
    }
    Ok(places)
}

fn number(row: &[Value<'_>], column: usize) -> Result<i64, SqlError> {
    match row.get(column) {
        Some(Value::I64(value)) => Ok(*value),
        _ => Err(SqlError::Column { column }),
    }
}

fn array(row: &[Value<'_>], column: usize) -> Result<[u8; 16], SqlError> {
    match row.get(column) {
        Some(Value::Bytes(bytes)) => (*bytes).try_into().ok(),
        _ => None,
    }
    .ok_or(SqlError::Column { column })
}

/// Kind, length, bytes: no two rows read alike.
fn digest(into: &mut Context, value: &Value<'_>) {
    let number;
    let (kind, bytes): (u8, &[u8]) = match value {
        Value::Null => (0, &[]),
        Value::I64(value) => {
            number = value.to_be_bytes();
            (1, &number)
        }
        Value::Bool(value) => {
            number = i64::from(*value).to_be_bytes();
            (1, &number)
        }
        Value::Text(text) => (2, text.as_bytes()),
        Value::Bytes(bytes) => (3, bytes),
    };
    into.update(&[kind]);
    into.update(&(bytes.len() as u64).to_be_bytes());
    into.update(bytes);
}

/// What became of the payloads that were opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Opened {
    /// They opened and are what their rows say.
    pub sound: u64,
    /// They did not, or are not.
    pub damaged: u64,
    /// The project's key was destroyed, so that nothing of it opens any more.
    pub erased: u64,
}

impl Store {
    /// Opens the first and the last batch of a series, and compares them with their rows.
    pub async fn open_ends(&self, origin: Origin, epoch: Epoch) -> Result<Opened, StoreError> {
        let mut opened = Opened::default();
        let inner = &self.inner;
        let Some(stream) = inner.stream(origin, epoch).await? else {
            return Ok(opened);
        };
        let identity = &stream.identity;
        let rows = inner
            .database
            .fetch_all(
                "SELECT first, count, branch, hash, key_id, counter, payload FROM hot \
                 WHERE project = $1 AND stream = $2 AND first IN (\
                   (SELECT min(first) FROM hot WHERE project = $1 AND stream = $2), \
                   (SELECT max(first) FROM hot WHERE project = $1 AND stream = $2))",
                &[identity.project.number.into(), identity.id.into()],
            )
            .await?;
        for row in rows {
            let subject = Subject {
                project: identity.project.id,
                kind: Kind::Batch,
                device: identity.device,
                epoch: epoch.0,
                first: row.i64(0)?.cast_unsigned(),
                count: u32::try_from(row.i64(1)?).unwrap_or(u32::MAX),
                branch: u32::try_from(row.i64(2)?).unwrap_or(u32::MAX),
            };
            let key = match inner.keys.opening(identity.project, row.i64(4)?).await {
                Ok(key) => key,
                Err(StoreError::Key(unavailable)) if unavailable.is_gone() => {
                    opened.erased += 1;
                    continue;
                }
                Err(error) => return Err(error),
            };
            let plain = key
                .and_then(|key| key.open(&subject, row.i64(5).ok()?, row.bytes(6).ok()?.to_vec()));
            let print = print(row.bytes(3)?);
            if plain.is_some_and(|plain| batch::hash(&plain).starts_with(&print)) {
                opened.sound += 1;
            } else {
                opened.damaged += 1;
            }
        }
        Ok(opened)
    }
}
