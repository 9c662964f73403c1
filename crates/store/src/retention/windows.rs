//! The windows of a device's chunks in the order of time, and what goes with each.

use std::collections::BTreeMap;
use std::sync::Arc;

use fieldkeep_protocol::Timestamp;

use super::rows;
use super::{Amount, Cutoffs, Expired, Order, enter, is_leased};
use crate::changes::{self, Cause};
use crate::cipher::{Kind, Subject};
use crate::cold::Chunk;
use crate::days::day;
use crate::devices::Device;
use crate::error::StoreError;
use crate::ranges::RangeSet;
use crate::sql::{Row, SqlError, Transaction, Value};
use crate::store::Inner;
use crate::stream::Stream;

/// A chunk, without its payload.
#[derive(Clone, Copy, Debug)]
pub(super) struct Window {
    id: i64,
    pub(super) from: i64,
    /// Exclusive.
    pub(super) to: i64,
    /// The highest batch id that is inside.
    pub(super) built: i64,
    points: u64,
    bytes: u64,
    kind: i64,
    key_id: i64,
    counter: i64,
}

impl Window {
    fn from_row(row: &Row) -> Result<Self, SqlError> {
        Ok(Self {
            id: row.i64(0)?,
            from: row.i64(1)?,
            to: row.i64(2)?,
            built: row.i64(3)?,
            points: row.i64(4)?.cast_unsigned(),
            bytes: row.i64(5)?.cast_unsigned(),
            kind: row.i64(6)?,
            key_id: row.i64(7)?,
            counter: row.i64(8)?,
        })
    }

    /// Whether it is the same chunk, not one that was made anew.
    fn is(&self, other: &Self) -> bool {
        (self.id, self.key_id, self.counter) == (other.id, other.key_id, other.counter)
    }
}

/// A chunk that opens, and the record numbers in it by stream and branch.
pub(super) struct Opened {
    window: Window,
    numbers: BTreeMap<(i64, u32), RangeSet>,
}

impl Opened {
    /// How many of some records are in it.
    pub(super) fn holds(&self, stream: i64, branch: u32, first: u64, count: u32) -> u64 {
        let end = first.saturating_add(count.into());
        let missing: u64 = match self.numbers.get(&(stream, branch)) {
            Some(numbers) => numbers
                .holes(first, end, usize::MAX)
                .iter()
                .map(|hole| hole.1 - hole.0 + 1)
                .sum(),
            None => count.into(),
        };
        u64::from(count).saturating_sub(missing)
    }

    /// Whether it is one of these windows, as it was opened.
    pub(super) fn is_among(&self, windows: &[Window]) -> bool {
        windows.iter().any(|window| window.is(&self.window))
    }
}

/// What became of one window.
enum Step {
    Done(Amount),
    /// Nothing there may go now; nor may what is later.
    Stop,
}

impl Inner {
    /// What would go, without looking at marks and leases.
    pub(super) async fn expirable(
        &self,
        device: &Arc<Device>,
        cutoffs: &Cutoffs,
    ) -> Result<Expired, StoreError> {
        let mut expired = Expired::default();
        let key = [device.project.number.into(), device.id.as_bytes().into()];
        let cold = cutoffs.cold.map_or(i64::MIN, Timestamp::as_micros);
        let mut until = i64::MIN;
        let mut gone = i64::MIN;
        for window in self.windows(device, i64::MIN, i64::MAX).await? {
            if window.to <= cold {
                gone = window.to;
                expired.cold.add(Amount {
                    items: 1,
                    records: window.points,
                    bytes: window.bytes,
                });
            }
            if cutoffs.hot.is_some_and(|hot| window.to <= hot.as_micros()) {
                until = window.to;
            }
        }
        let frozen = self.frozen(device).await?;
        for stream in device.streams(&self.database).await? {
            let row = self
                .database
                .fetch_optional(
                    "SELECT count(*), coalesce(sum(count), 0), coalesce(sum(length(payload)), 0) FROM hot \
                     WHERE project = $1 AND stream = $2 AND held = false AND day <= $6 \
                       AND ((from_us + span_us >= $3 AND from_us + span_us < $4) OR from_us + span_us < $5)",
                    &[
                        key[0],
                        stream.identity.id.into(),
                        frozen.into(),
                        until.into(),
                        gone.into(),
                        day(until.max(gone)).into(),
                    ],
                )
                .await?;
            if let Some(row) = row {
                expired.hot.add(amount(&row)?);
            }
        }
        if let Some(cutoff) = cutoffs.rollups {
            let [project, id] = key;
            let row = self
                .database
                .fetch_optional(
                    "SELECT count(*), 0, coalesce(sum(length(payload)), 0) FROM rollup \
                     WHERE project = $1 AND device = $2 AND to_us <= $3",
                    &[project, id, cutoff.as_micros().into()],
                )
                .await?;
            if let Some(row) = row {
                expired.rollups.add(amount(&row)?);
            }
        }
        Ok(expired)
    }

    /// Removes batch rows that are safe in chunks which end before `cutoff`.
    pub(super) async fn expire_hot(
        &self,
        device: &Arc<Device>,
        cutoff: Timestamp,
        order: &Order<'_>,
        most: usize,
    ) -> Result<(Amount, bool), StoreError> {
        let streams = device.streams(&self.database).await?;
        let mut done = Amount::default();
        let until = cutoff.as_micros().min(self.horizon(device).await?);
        let frozen = self.frozen(device).await?;
        let windows = self.windows(device, frozen, until).await?;
        let mut before = None;
        for window in windows.iter().take(most) {
            // A row that ends in this window may begin in the one before.
            let mut opened = Vec::from_iter(before.take());
            if opened.is_empty()
                && let Some(earlier) = self.window_before(device, *window).await?
            {
                opened.extend(self.open_chunk(device, earlier).await?);
            }
            let Some(chunk) = self.open_chunk(device, *window).await? else {
                // Its batches are the only copy.
                return Ok((done, false));
            };
            opened.push(chunk);
            let step = self
                .hot_window(device, &streams, *window, &opened, order)
                .await?;
            before = opened.pop();
            match step {
                Step::Done(amount) => done.add(amount),
                Step::Stop => return Ok((done, false)),
            }
        }
        Ok((done, windows.len() > most))
    }

    async fn hot_window(
        &self,
        device: &Device,
        streams: &[Arc<Stream>],
        window: Window,
        opened: &[Opened],
        order: &Order<'_>,
    ) -> Result<Step, StoreError> {
        let mut transaction = self.database.begin().await?;
        let frozen = frozen_in(&mut transaction, device).await?;
        if is_leased(&mut transaction, device, order.now).await?
            || is_marked(&mut transaction, device, frozen, window.to).await?
        {
            return Ok(Step::Stop);
        }
        let found = rows::ending_in(&mut transaction, streams, frozen, window.to).await?;
        let earliest = found.iter().map(|row| row.from_us).min();
        let over = windows_in(
            &mut transaction,
            device,
            earliest.unwrap_or(window.from).min(window.from),
            window.to,
        )
        .await?;
        // What is held, damaged or without a channel table is in no chunk: it stays.
        let (found, _): (Vec<_>, Vec<_>) = found
            .into_iter()
            .partition(|row| row.is_copied(&over, opened));
        let highest = highest_id(&mut transaction).await?;
        if found.iter().any(|row| row.id == highest) {
            return Ok(Step::Stop);
        }
        if found.is_empty() {
            return Ok(Step::Done(Amount::default()));
        }
        let (amount, highest) =
            rows::remove(&mut transaction, &self.database, device, streams, found).await?;
        changes::record_evidence_gone(
            &mut transaction,
            device.project,
            device.id,
            window.to,
            highest,
        )
        .await?;
        let extent = (window.from, window.to);
        enter(&mut transaction, device, "hot", extent, amount, order).await?;
        transaction.commit().await?;
        Ok(Step::Done(amount))
    }

    /// Removes chunks that end before `cutoff`, and everything else that was measured before their ends.
    pub(super) async fn expire_cold(
        &self,
        device: &Arc<Device>,
        cutoff: Timestamp,
        order: &Order<'_>,
        most: usize,
    ) -> Result<(Expired, bool), StoreError> {
        let streams = device.streams(&self.database).await?;
        let mut done = Expired::default();
        let windows = self.windows(device, i64::MIN, cutoff.as_micros()).await?;
        for window in windows.iter().take(most) {
            if !self.is_removable(device, *window).await {
                // It is lost already, and what is around it goes.
                continue;
            }
            if !self
                .cold_window(device, &streams, Some(*window), window.to, order, &mut done)
                .await?
            {
                return Ok((done, false));
            }
        }
        if windows.is_empty() {
            // What came for times that were gone already.
            let first = self.windows(device, i64::MIN, i64::MAX).await?;
            let frozen = self.frozen(device).await?;
            let gone = first
                .first()
                .map_or(frozen, |window| window.from.min(frozen));
            let gone = gone.min(cutoff.as_micros());
            self.cold_window(device, &streams, None, gone, order, &mut done)
                .await?;
        }
        Ok((done, windows.len() > most))
    }

    /// One chunk, or none where it went before, and all that ends before `to`.
    async fn cold_window(
        &self,
        device: &Device,
        streams: &[Arc<Stream>],
        window: Option<Window>,
        to: i64,
        order: &Order<'_>,
        done: &mut Expired,
    ) -> Result<bool, StoreError> {
        let mut transaction = self.database.begin().await?;
        if is_leased(&mut transaction, device, order.now).await? {
            return Ok(false);
        }
        let highest = highest_id(&mut transaction).await?;
        let mut found = rows::ending_in(&mut transaction, streams, i64::MIN, to).await?;
        found.retain(|row| row.id != highest);
        if window.is_none() && found.is_empty() {
            return Ok(true);
        }
        let from = found.iter().map(|row| row.from_us).min();
        let from = window
            .map_or(i64::MAX, |window| window.from)
            .min(from.unwrap_or(i64::MAX));
        let (hot, last) =
            rows::remove(&mut transaction, &self.database, device, streams, found).await?;
        let [project, id] = [
            Value::from(device.project.number),
            device.id.as_bytes().into(),
        ];
        transaction
            .execute(
                "DELETE FROM dirty WHERE project = $1 AND device = $2 AND to_us <= $3",
                &[project, id, to.into()],
            )
            .await?;
        changes::record_evidence_gone(&mut transaction, device.project, device.id, to, last)
            .await?;
        let extent = (from, to);
        if let Some(window) = window {
            transaction
                .execute("DELETE FROM chunk WHERE id = $1", &[window.id.into()])
                .await?;
            let cold = Amount {
                items: 1,
                records: window.points,
                bytes: window.bytes,
            };
            enter(&mut transaction, device, "cold", extent, cold, order).await?;
            done.cold.add(cold);
        }
        if hot.items > 0 {
            enter(&mut transaction, device, "hot", extent, hot, order).await?;
            done.hot.add(hot);
        }
        changes::record_change(
            &mut transaction,
            device.project,
            device.id,
            extent,
            Cause::Deleted,
            order.now,
        )
        .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// The device's chunks within `from..=to`, by time.
    async fn windows(
        &self,
        device: &Device,
        from: i64,
        to: i64,
    ) -> Result<Vec<Window>, StoreError> {
        let rows = self
            .database
            .fetch_all(
                "SELECT id, from_us, to_us, built, points, length(payload), kind, key_id, counter FROM chunk \
                 WHERE project = $1 AND device = $2 AND from_us >= $3 AND to_us <= $4 ORDER BY from_us, id DESC",
                &[
                    device.project.number.into(),
                    device.id.as_bytes().into(),
                    from.into(),
                    to.into(),
                ],
            )
            .await?;
        Ok(newest(&rows)?)
    }

    /// The chunk whose window ends where this one begins.
    async fn window_before(
        &self,
        device: &Device,
        window: Window,
    ) -> Result<Option<Window>, StoreError> {
        let [project, id] = of(device);
        let row = self
            .database
            .fetch_optional(
                "SELECT id, from_us, to_us, built, points, length(payload), kind, key_id, counter FROM chunk \
                 WHERE project = $1 AND device = $2 AND from_us < $3 AND to_us = $3 ORDER BY id DESC LIMIT 1",
                &[project, id, window.from.into()],
            )
            .await?;
        Ok(row.as_ref().map(Window::from_row).transpose()?)
    }

    /// The record numbers in a chunk; `None`, and a line in the log, if it cannot be opened.
    async fn open_chunk(
        &self,
        device: &Device,
        window: Window,
    ) -> Result<Option<Opened>, StoreError> {
        let row = self
            .database
            .fetch_optional(
                "SELECT payload FROM chunk WHERE id = $1 AND key_id = $2 AND counter = $3",
                &[
                    window.id.into(),
                    window.key_id.into(),
                    window.counter.into(),
                ],
            )
            .await;
        let row = match row {
            Ok(row) => row,
            Err(error) => {
                self.unreadable(device, window, &error);
                None
            }
        };
        let Some(row) = row else { return Ok(None) };
        let subject = Subject {
            project: device.project.id,
            kind: Kind::Chunk,
            device: device.id,
            epoch: window.from.cast_unsigned(),
            first: window.built.cast_unsigned(),
            count: u32::try_from(window.kind).unwrap_or(u32::MAX),
            branch: 0,
        };
        let key = self.keys.opening(device.project, window.key_id).await?;
        let payload = row.bytes(0)?.to_vec();
        let plain = key.and_then(|key| key.open(&subject, window.counter, payload));
        let chunk = plain.and_then(Chunk::decode);
        // Every column is looked at: what cannot be read must not be the only copy.
        let is_whole = |chunk: &Chunk| {
            chunk.times().is_some() && chunk.channels().all(|name| chunk.column(name).is_some())
        };
        let segments = chunk.filter(is_whole).and_then(|chunk| chunk.segments());
        let Some(segments) = segments else {
            // Logged there.
            let _ = subject.damaged();
            return Ok(None);
        };
        let mut numbers: BTreeMap<(i64, u32), RangeSet> = BTreeMap::new();
        for segment in segments {
            let place = (segment.origin.stream, segment.origin.branch);
            let count = u64::try_from(segment.rows).unwrap_or(0);
            numbers
                .entry(place)
                .or_default()
                .insert(segment.first, count);
        }
        Ok(Some(Opened { window, numbers }))
    }

    fn unreadable(&self, device: &Device, window: Window, error: &SqlError) {
        tracing::error!(
            project.id = %device.project.id, device.id = %device.id, from = window.from, to = window.to,
            error = error as &dyn std::error::Error,
            "a chunk cannot be read, a page of the file is damaged"
        );
        self.worker.found_damaged(device, (window.from, window.to));
    }

    /// Whether the pages of a chunk can be read, and so be freed.
    async fn is_removable(&self, device: &Device, window: Window) -> bool {
        let payload = "SELECT payload FROM chunk WHERE id = $1";
        let values = [window.id.into()];
        match self.database.fetch_optional(payload, &values).await {
            Ok(_) => true,
            Err(error) => {
                self.unreadable(device, window, &error);
                false
            }
        }
    }

    /// Until when the device's times are cold; `i64::MIN` if none are.
    async fn horizon(&self, device: &Device) -> Result<i64, StoreError> {
        let row = self
            .database
            .fetch_optional(
                "SELECT until_us FROM cold WHERE project = $1 AND device = $2",
                &[device.project.number.into(), device.id.as_bytes().into()],
            )
            .await?;
        Ok(row.map_or(Ok(i64::MIN), |row| row.i64(0))?)
    }

    /// Until when batch rows are gone; `i64::MIN` if none are.
    async fn frozen(&self, device: &Device) -> Result<i64, StoreError> {
        let row = self.database.fetch_optional(FROZEN, &of(device)).await?;
        Ok(row.map_or(Ok(i64::MIN), |row| row.i64(0))?)
    }
}

const FROZEN: &str = "SELECT until_us FROM evidence_gone WHERE project = $1 AND device = $2";

fn of(device: &Device) -> [Value<'_>; 2] {
    [device.project.number.into(), device.id.as_bytes().into()]
}

async fn frozen_in(transaction: &mut Transaction, device: &Device) -> Result<i64, SqlError> {
    let row = transaction.fetch_optional(FROZEN, &of(device)).await?;
    row.map_or(Ok(i64::MIN), |row| row.i64(0))
}

/// The chunks that touch `from..to`.
async fn windows_in(
    transaction: &mut Transaction,
    device: &Device,
    from: i64,
    to: i64,
) -> Result<Vec<Window>, SqlError> {
    let [project, id] = of(device);
    let rows = transaction
        .fetch_all(
            "SELECT id, from_us, to_us, built, points, length(payload), kind, key_id, counter FROM chunk \
             WHERE project = $1 AND device = $2 AND from_us < $4 AND to_us > $3 ORDER BY from_us, id DESC",
            &[project, id, from.into(), to.into()],
        )
        .await?;
    newest(&rows)
}

/// Of chunks with the same beginning the first one: what it was made in the place of could not be removed.
fn newest(rows: &[Row]) -> Result<Vec<Window>, SqlError> {
    let windows = rows.iter().map(Window::from_row);
    let mut windows = windows.collect::<Result<Vec<_>, _>>()?;
    windows.dedup_by_key(|window| window.from);
    Ok(windows)
}

/// Whether anything of the device is marked as changed in `from..to`.
async fn is_marked(
    transaction: &mut Transaction,
    device: &Device,
    from: i64,
    to: i64,
) -> Result<bool, SqlError> {
    let [project, id] = of(device);
    let found = transaction
        .fetch_optional(
            "SELECT 1 FROM dirty WHERE project = $1 AND device = $2 AND from_us < $4 AND to_us > $3 LIMIT 1",
            &[project, id, from.into(), to.into()],
        )
        .await?;
    Ok(found.is_some())
}

/// The highest batch id of all: its row stays, so that no id is given twice.
async fn highest_id(transaction: &mut Transaction) -> Result<i64, SqlError> {
    let row = transaction
        .fetch_optional("SELECT coalesce(max(id), 0) FROM batch", &[])
        .await?;
    row.map_or(Ok(0), |row| row.i64(0))
}

fn amount(row: &Row) -> Result<Amount, SqlError> {
    Ok(Amount {
        items: row.i64(0)?.cast_unsigned(),
        records: row.i64(1)?.cast_unsigned(),
        bytes: row.i64(2)?.cast_unsigned(),
    })
}
