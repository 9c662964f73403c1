//! What changed: arrivals, and everything else that makes a range of a device read otherwise than before.
//!
//! An arrival is a change by being there: its row's id is its place in the order. Everything else leaves a row of
//! `change` in the transaction of its cause. A revision is the pair of the highest ids of both: whoever reads the
//! changes after a revision and reads the named ranges again has what a fresh reader would get. Knows devices, not
//! elements: callers go through deployments. What was removed from the rows cannot be told from them: a revision that is
//! older than what was removed is refused, never answered in part.

use std::fmt;
use std::str::FromStr;
use std::sync::PoisonError;

use fieldkeep_protocol::{DeviceId, ProjectId, Timestamp};

use crate::error::StoreError;
use crate::projects::Project;
use crate::scan::{InvalidCursor, TimeRange};
use crate::sql::{SqlError, Transaction};
use crate::store::{Inner, Origin, Store};
use crate::stream::{Identity, Stream};

/// The highest id in the batch table, and the highest that was removed from it.
pub(crate) const HIGHEST_BATCH: &str = "SELECT (SELECT coalesce(max(id), 0) FROM batch), \
     (SELECT coalesce(max(batch), 0) FROM evidence_gone)";

/// Ids that one page looks at: rows of all projects lie between those of one.
const WINDOW: i64 = if cfg!(test) { 16 } else { 65_536 };

/// What a reader has seen: everything up to here. Its text form is opaque and may be handed to clients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    batch: i64,
    change: i64,
}

/// Why a range of a device reads otherwise than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeCause {
    /// A batch that goes on where the device's others ended.
    New,
    /// What came, or could be read, after newer records of the device.
    Late,
    /// Times or values were set right.
    Corrected,
    /// Points were deleted.
    Deleted,
}

/// A range of a device that reads otherwise than before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// The device.
    pub device: DeviceId,
    /// Where: half open.
    pub range: TimeRange,
    /// Why.
    pub cause: ChangeCause,
}

/// Some changes, and where to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// In the order in which they became durable, arrivals first.
    pub items: Vec<Change>,
    /// What a reader that read these again has seen.
    pub next: Revision,
    /// There are more behind `next` already; a page may be empty and yet not the last.
    pub more: bool,
}

impl Store {
    /// What a reader that reads from now on will have seen: to be asked before the data.
    pub async fn revision(&self) -> Result<Revision, StoreError> {
        let batch = self.inner.settled();
        let change = self.inner.newest_change().await?;
        Ok(Revision { batch, change })
    }

    /// What changed of a project after a revision, from at most `limit` rows. Held batches do not show until they can be
    /// read.
    ///
    /// # Errors
    /// [`StoreError::RevisionGone`] where rows after `since` were removed, or `since` is of another store (or of this
    /// one before it was restored): everything has to be read again.
    pub async fn changes(
        &self,
        project: ProjectId,
        since: Revision,
        limit: usize,
    ) -> Result<Changes, StoreError> {
        let inner = &self.inner;
        // Before the rows; what is removed while they are read is told after them.
        let now = self.revision().await?;
        let Some(known) = inner.projects.find(project).await? else {
            let is_ahead = since.batch > now.batch || since.change > now.change;
            return if is_ahead {
                Err(StoreError::RevisionGone)
            } else {
                Ok(Changes {
                    items: Vec::new(),
                    next: now,
                    more: false,
                })
            };
        };
        let limit = limit.max(1);
        let window = now.batch.min(since.batch.saturating_add(WINDOW));
        let mut page = inner.arrived(known, since.batch, window, limit).await?;
        let mut next = Revision {
            batch: window,
            change: since.change,
        };
        if page.items.len() >= limit
            && let Some(last) = page.last
        {
            next.batch = last;
        }
        let left = limit.saturating_sub(page.items.len());
        if next.batch == now.batch && left > 0 {
            let changed = inner.changed(known, since.change, now.change, left).await?;
            next.change = match changed.last {
                Some(last) if changed.items.len() >= left => last,
                _ => now.change,
            };
            page.items.extend(changed.items);
        }
        inner.still_told(known, since, now).await?;
        Ok(Changes {
            items: page.items,
            more: next != now,
            next,
        })
    }

    /// Enters that a range of a device reads otherwise than before, for a reason outside this store; cut to what the
    /// device has. Nothing is entered where the device has nothing there.
    pub async fn note_change(
        &self,
        origin: Origin,
        range: TimeRange,
        cause: ChangeCause,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let inner = &self.inner;
        let Some(device) = inner.find_device(origin).await? else {
            return Ok(());
        };
        let mut extent: Option<(i64, i64)> = None;
        for stream in device.streams(&inner.database).await? {
            if let Some(times) = stream.state(&inner.database).await?.times {
                widen(&mut extent, times.from, times.to);
            }
        }
        let Some((first, end)) = extent else {
            return Ok(());
        };
        let cut = (
            range.from.as_micros().max(first),
            range.to.as_micros().min(end),
        );
        if cut.0 >= cut.1 {
            return Ok(());
        }
        let cause = match cause {
            ChangeCause::New | ChangeCause::Late => Cause::Readable,
            ChangeCause::Corrected => Cause::Corrected,
            ChangeCause::Deleted => Cause::Deleted,
        };
        let mut transaction = inner.database.begin().await?;
        record_change(&mut transaction, device.project, device.id, cut, cause, now).await?;
        transaction.commit().await?;
        Ok(())
    }
}

#[derive(Default)]
struct Rows {
    items: Vec<Change>,
    last: Option<i64>,
}

impl Inner {
    async fn arrived(
        &self,
        project: Project,
        after: i64,
        up_to: i64,
        limit: usize,
    ) -> Result<Rows, StoreError> {
        // The plus keeps SQLite from collecting and sorting all rows of the project instead of going on from the id.
        let rows = self
            .database
            .fetch_all(
                "SELECT batch.id, device, from_us, span_us, late FROM batch JOIN stream ON stream.id = batch.stream \
                 WHERE batch.id > $1 AND batch.id <= $2 AND +batch.project = $3 AND held = false \
                 ORDER BY batch.id LIMIT $4",
                &[
                    after.into(),
                    up_to.into(),
                    project.number.into(),
                    i64::try_from(limit).unwrap_or(i64::MAX).into(),
                ],
            )
            .await?;
        let mut found = Rows::default();
        for row in &rows {
            found.last = Some(row.i64(0)?);
            let from = row.i64(2)?;
            let end = from.saturating_add(row.i64(3)?).saturating_add(1);
            found.items.push(Change {
                device: DeviceId::from_bytes(row.array(1)?),
                range: range(from, end),
                cause: if row.bool(4)? {
                    ChangeCause::Late
                } else {
                    ChangeCause::New
                },
            });
        }
        Ok(found)
    }

    async fn changed(
        &self,
        project: Project,
        after: i64,
        up_to: i64,
        limit: usize,
    ) -> Result<Rows, StoreError> {
        let rows = self
            .database
            .fetch_all(
                "SELECT id, device, from_us, to_us, cause FROM change \
                 WHERE project = $1 AND id > $2 AND id <= $3 ORDER BY id LIMIT $4",
                &[
                    project.number.into(),
                    after.into(),
                    up_to.into(),
                    i64::try_from(limit).unwrap_or(i64::MAX).into(),
                ],
            )
            .await?;
        let mut found = Rows::default();
        for row in &rows {
            found.last = Some(row.i64(0)?);
            found.items.push(Change {
                device: DeviceId::from_bytes(row.array(1)?),
                range: range(row.i64(2)?, row.i64(3)?),
                cause: Cause::shown(row.i64(4)?),
            });
        }
        Ok(found)
    }

    /// The highest id of a change, asked again after each transaction of this process. A change of another process would be
    /// told once more, and never be missed.
    async fn newest_change(&self) -> Result<i64, StoreError> {
        let ended = self.database.ended();
        let known = *self
            .newest_change
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((then, change)) = known
            && then == ended
        {
            return Ok(change);
        }
        let row = self
            .database
            .fetch_optional("SELECT coalesce(max(id), 0) FROM change", &[])
            .await?;
        let change = row.map_or(Ok(0), |row| row.i64(0))?;
        *self
            .newest_change
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = Some((ended, change));
        Ok(change)
    }

    /// Refuses a revision after which rows were removed, or that is ahead of this store.
    async fn still_told(
        &self,
        project: Project,
        since: Revision,
        now: Revision,
    ) -> Result<(), StoreError> {
        let row = self
            .database
            .fetch_optional(
                "SELECT coalesce(max(batch), 0) FROM evidence_gone WHERE project = $1",
                &[project.number.into()],
            )
            .await?;
        let gone = row.map_or(Ok(0), |row| row.i64(0))?;
        if since.batch < gone || since.batch > now.batch || since.change > now.change {
            return Err(StoreError::RevisionGone);
        }
        Ok(())
    }

    /// The extent of a stream's readable batches of one revision, as of now.
    pub(crate) async fn waiting(
        &self,
        stream: &Stream,
        revision: u32,
    ) -> Result<Waiting, StoreError> {
        let mut waiting = Waiting::default();
        {
            let state = stream.state(&self.database).await?;
            if state.batches == 0 && state.pending.is_empty() {
                return Ok(waiting);
            }
        }
        let identity = &stream.identity;
        let row = self
            .database
            .fetch_optional(
                "SELECT (SELECT coalesce(max(id), 0) FROM batch), min(from_us), max(from_us + span_us) FROM hot \
                 WHERE project = $1 AND stream = $2 AND held = false AND revision = $3",
                &[
                    identity.project.number.into(),
                    identity.id.into(),
                    revision.into(),
                ],
            )
            .await?;
        if let Some(row) = row {
            waiting.seen = Some(row.i64(0)?);
            if let (Some(from), Some(to)) = (row.opt_i64(1)?, row.opt_i64(2)?) {
                widen(&mut waiting.extent, from, to);
            }
        }
        Ok(waiting)
    }
}

/// Batches that wait for their channel table.
#[derive(Default)]
pub(crate) struct Waiting {
    /// The highest id that was looked at; none where the stream had no batch.
    seen: Option<i64>,
    extent: Option<(i64, i64)>,
}

impl Waiting {
    /// The extent with what became durable since, half open.
    pub(crate) async fn and_since(
        mut self,
        transaction: &mut Transaction,
        identity: &Identity,
        revision: u32,
    ) -> Result<Option<(i64, i64)>, SqlError> {
        let Some(seen) = self.seen else {
            return Ok(None);
        };
        let row = transaction
            .fetch_optional(
                "SELECT min(from_us), max(from_us + span_us) FROM batch \
                 WHERE id > $1 AND +project = $2 AND +stream = $3 AND held = false AND revision = $4",
                &[
                    seen.into(),
                    identity.project.number.into(),
                    identity.id.into(),
                    revision.into(),
                ],
            )
            .await?;
        if let Some(row) = row
            && let (Some(from), Some(to)) = (row.opt_i64(0)?, row.opt_i64(1)?)
        {
            widen(&mut self.extent, from, to);
        }
        Ok(self.extent)
    }
}

/// Widens a half-open extent by instants, the last one included.
fn widen(extent: &mut Option<(i64, i64)>, from: i64, to: i64) {
    let end = to.saturating_add(1);
    *extent = Some(extent.map_or((from, end), |old| (old.0.min(from), old.1.max(end))));
}

fn range(from: i64, to: i64) -> TimeRange {
    TimeRange {
        from: Timestamp::from_micros(from),
        to: Timestamp::from_micros(to),
    }
}
/// Why a device's measurements read otherwise than before, other than by arrival.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    /// Times or values were set right.
    Corrected,
    /// Points were deleted.
    Deleted,
    /// What was stored before can be read now.
    Readable,
}

impl Cause {
    fn code(self) -> i64 {
        match self {
            Self::Corrected => 1,
            Self::Deleted => 2,
            Self::Readable => 3,
        }
    }

    /// As readers see it; a code of a newer program is a correction to this one.
    fn shown(code: i64) -> ChangeCause {
        match code {
            2 => ChangeCause::Deleted,
            3 => ChangeCause::Late,
            _ => ChangeCause::Corrected,
        }
    }
}

/// Enters a change of a device's measurements in `from_us..to_us`; durable with the transaction, which is the one that
/// makes the change. What is kept in memory of it must be given up before the commit: whoever sees the change reads then.
pub(crate) async fn record_change(
    transaction: &mut Transaction,
    project: Project,
    device: DeviceId,
    (from_us, to_us): (i64, i64),
    cause: Cause,
    now: Timestamp,
) -> Result<(), SqlError> {
    transaction
        .execute(
            "INSERT INTO change (project, device, from_us, to_us, cause, changed_us) VALUES ($1, $2, $3, $4, $5, $6)",
            &[
                project.number.into(),
                device.as_bytes().into(),
                from_us.into(),
                to_us.into(),
                cause.code().into(),
                now.as_micros().into(),
            ],
        )
        .await?;
    Ok(())
}

/// Enters that hot rows of a device were removed, the highest of which had the id `batch`, and all of which lay before
/// `until_us`; durable with the transaction that removes them.
pub(crate) async fn record_evidence_gone(
    transaction: &mut Transaction,
    project: Project,
    device: DeviceId,
    until_us: i64,
    batch: i64,
) -> Result<(), SqlError> {
    transaction
        .execute(
            "INSERT INTO evidence_gone (project, device, until_us, batch) VALUES ($1, $2, $3, $4) \
             ON CONFLICT (project, device) DO UPDATE SET \
               until_us = CASE WHEN excluded.until_us > evidence_gone.until_us THEN excluded.until_us ELSE evidence_gone.until_us END, \
               batch = CASE WHEN excluded.batch > evidence_gone.batch THEN excluded.batch ELSE evidence_gone.batch END",
            &[
                project.number.into(),
                device.as_bytes().into(),
                until_us.into(),
                batch.into(),
            ],
        )
        .await?;
    Ok(())
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.batch, self.change)
    }
}

impl FromStr for Revision {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let (batch, change) = text.split_once('.').ok_or(InvalidCursor)?;
        let part = |digits: &str| {
            let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
            let number = i64::from_str_radix(digits, 16).ok();
            number.filter(|_| is_hex).ok_or(InvalidCursor)
        };
        Ok(Self {
            batch: part(batch)?,
            change: part(change)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{InvalidCursor, Revision};

    #[test]
    fn revisions_read_back() {
        let revision = Revision {
            batch: i64::MAX,
            change: 17,
        };
        assert_eq!(revision.to_string().parse(), Ok(revision));
        for text in [
            "",
            ".",
            "1",
            "1.",
            "-1.2",
            "+1.2",
            "1.2.3",
            "8000000000000000.0",
        ] {
            assert_eq!(text.parse::<Revision>(), Err(InvalidCursor), "{text}");
        }
    }
}
