//! What is old enough to go: batch rows that are safe in a chunk, then chunks, then roll-ups, one device at a time.
//!
//! Works window by window, oldest first, each in one transaction that also enters the numbers that stay
//! ([`kept`](crate::kept)), how far the evidence is gone, what changed for readers, and a deletion entry: killed anywhere,
//! it goes on where it stood. Batch rows go only where they end before the device's horizon, each of their records
//! was found in a chunk that opens, nothing is marked as changed there and no worker is at it; what is held, damaged or has
//! no channel table is in no chunk and stays. From then on these windows are frozen: nothing builds them anew, and what comes late there is read
//! beside them. Knows no policy: callers say what is old enough, and leave out what is under a legal hold.

mod rows;
mod windows;

use fieldkeep_protocol::Timestamp;

use crate::changes::{self, Cause};
use crate::devices::Device;
use crate::error::StoreError;
use crate::projects::Project;
use crate::sql::{Space, SqlError, Transaction};
use crate::store::{Inner, Origin, Store};

/// Pages that one step gives back.
const STEP_PAGES: u32 = 256;
/// Free bytes below which the file is left alone: new rows use them at once.
const WORTH_IT: u64 = 1 << 20;
/// Roll-up rows of one transaction.
const ROLLUPS: i64 = 64;

/// From when on each tier of a device is kept; what ends before may go. `None` keeps for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cutoffs {
    /// Batch rows that are safe in a chunk.
    pub hot: Option<Timestamp>,
    /// Chunks, and whatever batch rows are left of their time. Not before `hot`.
    pub cold: Option<Timestamp>,
    /// Roll-ups. Not before `cold`.
    pub rollups: Option<Timestamp>,
}

/// On whose account something is deleted, as its entry says.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// Why.
    pub cause: &'a str,
    /// Who.
    pub actor: &'a str,
    /// When.
    pub now: Timestamp,
}

/// How much of one tier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Amount {
    /// Batches, chunks or roll-up rows.
    pub items: u64,
    /// Records or points in them; none are counted of roll-ups.
    pub records: u64,
    /// Bytes of their payloads.
    pub bytes: u64,
}

impl Amount {
    pub(crate) fn add(&mut self, other: Self) {
        self.items += other.items;
        self.records += other.records;
        self.bytes += other.bytes;
    }
}

/// What went, or would go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Expired {
    /// Batch rows.
    pub hot: Amount,
    /// Chunks.
    pub cold: Amount,
    /// Roll-up rows.
    pub rollups: Amount,
    /// There is more to do: call again.
    pub more: bool,
}

impl Expired {
    /// Adds what another call did.
    pub fn add(&mut self, other: &Self) {
        self.hot.add(other.hot);
        self.cold.add(other.cold);
        self.rollups.add(other.rollups);
        self.more = other.more;
    }

    /// Bytes of all tiers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.hot.bytes + self.cold.bytes + self.rollups.bytes
    }
}

/// One entry of what was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Its number, growing.
    pub id: i64,
    /// Whose data it was.
    pub device: fieldkeep_protocol::DeviceId,
    /// `hot`, `cold` or `rollups`.
    pub tier: String,
    /// From when.
    pub from: Timestamp,
    /// Exclusive.
    pub to: Timestamp,
    /// How much.
    pub amount: Amount,
    /// Why.
    pub cause: String,
    /// Who.
    pub actor: String,
    /// When it was done.
    pub at: Timestamp,
}

impl Store {
    /// What [`Store::expire`] would remove of a device, all calls together. Marks and leases are not looked at: it may
    /// be less.
    pub async fn expirable(
        &self,
        origin: Origin,
        cutoffs: &Cutoffs,
    ) -> Result<Expired, StoreError> {
        let Some(device) = self.inner.find_device(origin).await? else {
            return Ok(Expired::default());
        };
        self.inner.expirable(&device, cutoffs).await
    }

    /// Removes at most `most` windows of each tier of a device; each is durable at once. What a worker holds at the
    /// moment stays for the next call.
    pub async fn expire(
        &self,
        origin: Origin,
        cutoffs: &Cutoffs,
        order: &Order<'_>,
        most: usize,
    ) -> Result<Expired, StoreError> {
        let mut done = Expired::default();
        let Some(device) = self.inner.find_device(origin).await? else {
            return Ok(done);
        };
        let inner = &self.inner;
        if let Some(cutoff) = cutoffs.cold {
            let (amount, more) = inner.expire_cold(&device, cutoff, order, most).await?;
            done.cold.add(amount.cold);
            done.hot.add(amount.hot);
            done.more |= more;
        }
        if let Some(cutoff) = cutoffs.hot {
            let (amount, more) = inner.expire_hot(&device, cutoff, order, most).await?;
            done.hot.add(amount);
            done.more |= more;
        }
        if let Some(cutoff) = cutoffs.rollups {
            let (amount, more) = inner.expire_rollups(&device, cutoff, order).await?;
            done.rollups.add(amount);
            done.more |= more;
        }
        if done.cold.items + done.hot.items > 0 {
            device.newest.forget();
        }
        Ok(done)
    }

    /// How much of the file holds measurements.
    pub async fn space(&self) -> Result<Space, StoreError> {
        Ok(self.inner.database.space().await?)
    }

    /// Gives free pages back to the system in short steps, between which arrivals go on; answers how many bytes.
    pub async fn give_back(&self) -> Result<u64, StoreError> {
        let database = &self.inner.database;
        let before = database.space().await?;
        if !before.shrinks || before.free_bytes < WORTH_IT {
            return Ok(0);
        }
        let mut left = before.free_bytes;
        loop {
            database.shrink(STEP_PAGES).await?;
            let free = database.space().await?.free_bytes;
            // Nothing more can be had, or arrivals use it up as fast.
            if free == 0 || free >= left {
                break;
            }
            left = free;
        }
        database.fold().await?;
        let after = database.space().await?;
        Ok(before.file_bytes.saturating_sub(after.file_bytes))
    }

    /// Writes the file anew without what is free in it, so that it can be cut from then on; answers how many bytes went.
    /// Needs room for a second copy; nobody else may have the store open.
    pub async fn rewrite(&self) -> Result<u64, StoreError> {
        let database = &self.inner.database;
        let before = database.space().await?;
        database.rewrite().await?;
        let after = database.space().await?;
        Ok(before.file_bytes.saturating_sub(after.file_bytes))
    }

    /// What was deleted of a project, newest first, from before an entry on.
    pub async fn deletions(
        &self,
        project: fieldkeep_protocol::ProjectId,
        before: Option<i64>,
        most: usize,
    ) -> Result<Vec<Deletion>, StoreError> {
        let Some(project) = self.inner.projects.find(project).await? else {
            return Ok(Vec::new());
        };
        let rows = self
            .inner
            .database
            .fetch_all(
                "SELECT id, device, tier, from_us, to_us, items, records, bytes, cause, actor, deleted_us FROM deletion \
                 WHERE project = $1 AND id < $2 ORDER BY id DESC LIMIT $3",
                &[
                    project.number.into(),
                    before.unwrap_or(i64::MAX).into(),
                    i64::try_from(most).unwrap_or(i64::MAX).into(),
                ],
            )
            .await?;
        rows.iter()
            .map(|row| {
                Ok(Deletion {
                    id: row.i64(0)?,
                    device: fieldkeep_protocol::DeviceId::from_bytes(row.array(1)?),
                    tier: row.text(2)?.to_owned(),
                    from: Timestamp::from_micros(row.i64(3)?),
                    to: Timestamp::from_micros(row.i64(4)?),
                    amount: Amount {
                        items: row.i64(5)?.cast_unsigned(),
                        records: row.i64(6)?.cast_unsigned(),
                        bytes: row.i64(7)?.cast_unsigned(),
                    },
                    cause: row.text(8)?.to_owned(),
                    actor: row.text(9)?.to_owned(),
                    at: Timestamp::from_micros(row.i64(10)?),
                })
            })
            .collect()
    }
}

impl Inner {
    async fn expire_rollups(
        &self,
        device: &Device,
        cutoff: Timestamp,
        order: &Order<'_>,
    ) -> Result<(Amount, bool), StoreError> {
        let key = [device.project.number.into(), device.id.as_bytes().into()];
        let mut transaction = self.database.begin().await?;
        if is_leased(&mut transaction, device, order.now).await? {
            return Ok((Amount::default(), false));
        }
        let [project, id] = key;
        let rows = transaction
            .fetch_all(
                "SELECT id, from_us, to_us, length(payload) FROM rollup \
                 WHERE project = $1 AND device = $2 AND to_us <= $3 ORDER BY to_us, id LIMIT $4",
                &[project, id, cutoff.as_micros().into(), ROLLUPS.into()],
            )
            .await?;
        let mut amount = Amount::default();
        let mut extent = (i64::MAX, i64::MIN);
        for row in &rows {
            extent = (extent.0.min(row.i64(1)?), extent.1.max(row.i64(2)?));
            amount.add(Amount {
                items: 1,
                records: 0,
                bytes: row.i64(3)?.cast_unsigned(),
            });
            transaction
                .execute("DELETE FROM rollup WHERE id = $1", &[row.i64(0)?.into()])
                .await?;
        }
        if amount.items > 0 {
            changes::record_change(
                &mut transaction,
                device.project,
                device.id,
                extent,
                Cause::Deleted,
                order.now,
            )
            .await?;
            enter(&mut transaction, device, "rollups", extent, amount, order).await?;
            transaction.commit().await?;
        }
        Ok((amount, i64::try_from(rows.len()).unwrap_or(0) == ROLLUPS))
    }
}

/// Whether a worker is at the device's tiers.
async fn is_leased(
    transaction: &mut Transaction,
    device: &Device,
    now: Timestamp,
) -> Result<bool, SqlError> {
    let found = transaction
        .fetch_optional(
            "SELECT 1 FROM lease WHERE project = $1 AND device = $2 AND until_us > $3",
            &[
                device.project.number.into(),
                device.id.as_bytes().into(),
                now.as_micros().into(),
            ],
        )
        .await?;
    Ok(found.is_some())
}

/// The deletion entry.
async fn enter(
    transaction: &mut Transaction,
    device: &Device,
    tier: &'static str,
    (from_us, to_us): (i64, i64),
    amount: Amount,
    order: &Order<'_>,
) -> Result<(), SqlError> {
    let Project { number, .. } = device.project;
    transaction
        .execute(
            "INSERT INTO deletion (project, device, tier, from_us, to_us, items, records, bytes, cause, actor, deleted_us) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            &[
                number.into(),
                device.id.as_bytes().into(),
                tier.into(),
                from_us.into(),
                to_us.into(),
                amount.items.cast_signed().into(),
                amount.records.cast_signed().into(),
                amount.bytes.cast_signed().into(),
                order.cause.into(),
                order.actor.into(),
                order.now.as_micros().into(),
            ],
        )
        .await?;
    Ok(())
}
