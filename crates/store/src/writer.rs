//! The one writer: takes what is queued, writes it in one transaction, then answers everybody in it.
//!
//! Adaptive group commit: a lone arrival is committed at once; while arrivals come together the writer waits up to the
//! window for more. Projects take turns in bounded lanes (`lanes`), so that callers wait when the disk cannot follow. Nothing is answered before
//! the commit; when it fails everybody is told, the streams concerned are thrown away, and the next group starts afresh.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use fieldkeep_protocol::{ProjectId, Timestamp};
use tokio::sync::{Notify, broadcast, oneshot};

use crate::arrivals::Arrival;
use crate::changes::HIGHEST_BATCH;
use crate::cipher::Sealed;
use crate::days::{self, day_of};
use crate::devices::Device;
use crate::kept::Print;
use crate::lanes::Taker;
use crate::latest::News;
use crate::sql::{Database, SqlError, Transaction, Value};
use crate::stream::{Committed, Stream, Times};
use crate::tiers::LATE;

/// A batch that is judged and encrypted, and whose stream knows of it as pending.
pub(crate) struct BatchRow {
    pub(crate) first: u64,
    pub(crate) count: u32,
    pub(crate) branch: u32,
    pub(crate) print: Print,
    /// Absent where the predecessor is there already and has this hash.
    pub(crate) prev: Option<[u8; 32]>,
    pub(crate) from_us: i64,
    pub(crate) span_us: i64,
    pub(crate) received: Timestamp,
    pub(crate) revision: u32,
    pub(crate) held: bool,
    /// Its clock has to be looked at.
    pub(crate) marked: bool,
    pub(crate) sealed: Sealed,
    pub(crate) news: News,
}

/// A seal whose signature was verified.
pub(crate) struct SealRow {
    pub(crate) last: u64,
    pub(crate) hash: [u8; 32],
    pub(crate) time: Timestamp,
    pub(crate) received: Timestamp,
    pub(crate) sealed: Sealed,
    pub(crate) done: oneshot::Sender<Committed>,
}

pub(crate) enum Row {
    Batch(BatchRow),
    Seal(SealRow),
}

/// Something to write. It keeps its device and stream in memory until it is settled.
pub(crate) struct Item {
    pub(crate) device: Arc<Device>,
    pub(crate) stream: Arc<Stream>,
    pub(crate) row: Row,
}

impl Item {
    /// What it weighs in its lane: the payload and about what a row costs beside it.
    pub(crate) fn bytes(&self) -> usize {
        const ROW: usize = 200;
        let sealed = match &self.row {
            Row::Batch(row) => &row.sealed,
            Row::Seal(row) => &row.sealed,
        };
        ROW + sealed.payload.len()
    }
}

/// The writer's own state.
pub(crate) struct Writer {
    pub(crate) database: Database,
    pub(crate) queue: Taker<ProjectId, Item>,
    pub(crate) window: Duration,
    pub(crate) most: usize,
    pub(crate) arrivals: broadcast::Sender<Arrival>,
    /// Newest durable record time; `i64::MIN` while there is none.
    pub(crate) newest: Arc<AtomicI64>,
    /// Highest id in the batch table; unknown after a failed commit, of which the disk may yet have kept everything.
    pub(crate) last_id: Option<i64>,
    /// Highest id whose batch is durable and known to whoever reads: the batches' part of a revision.
    pub(crate) settled: Arc<AtomicI64>,
    pub(crate) stop: Arc<Notify>,
}

impl Writer {
    /// Runs until it is told to stop, or every sender is gone, and the queue is empty.
    pub(crate) async fn run(mut self) {
        let mut group = Vec::with_capacity(self.most);
        let mut crowded = false;
        let stop = Arc::clone(&self.stop);
        loop {
            let taken = tokio::select! {
                taken = self.queue.take(&mut group, self.queue.group(self.most)) => taken,
                () = stop.notified() => {
                    self.queue.close();
                    continue;
                }
            };
            if taken == 0 {
                return;
            }
            if crowded {
                self.gather(&mut group).await;
            }
            crowded = group.len() > 1;
            self.write(&mut group).await;
            group.clear();
        }
    }

    async fn gather(&self, group: &mut Vec<Item>) {
        let window = tokio::time::sleep(self.window);
        tokio::pin!(window);
        let most = self.queue.group(self.most);
        while group.len() < most {
            let room = most - group.len();
            tokio::select! {
                biased;
                taken = self.queue.take(group, room) => if taken == 0 { return },
                () = &mut window => return,
            }
        }
    }

    async fn write(&mut self, group: &mut Vec<Item>) {
        // What was judged by a state that a failed commit made void is not written either.
        let queued = std::mem::take(group);
        for item in queued {
            match broken(&item.stream) {
                Some(error) => fail(item, &error),
                None => group.push(item),
            }
        }
        if group.is_empty() {
            return;
        }
        let marks = mark_late(group);
        match self.commit(group, &marks).await {
            Ok(before) => self.settle(group, before),
            Err(error) => {
                self.last_id = None;
                for (item, mark) in group.iter().zip(&marks).rev() {
                    item.device.newest_us.store(mark.before, Ordering::Relaxed);
                }
                let error = Arc::new(error);
                tracing::error!(
                    batches = group.len(),
                    error = &*error as &dyn std::error::Error,
                    "a commit failed; nothing of it was acknowledged"
                );
                for item in group.drain(..) {
                    item.device.replace(&item.stream);
                    fail(item, &error);
                }
            }
        }
    }

    /// Answers the highest id before the group.
    async fn commit(&self, group: &[Item], marks: &[Mark]) -> Result<i64, SqlError> {
        let mut transaction = self.database.begin().await?;
        let before = match self.last_id {
            Some(id) => id,
            None => highest_id(&mut transaction).await?,
        };
        let mut id = before;
        let mut values: Vec<Value<'_>> = Vec::with_capacity(group.len() * 17);
        for (item, mark) in group.iter().zip(marks) {
            let Row::Batch(row) = &item.row else { continue };
            id += 1;
            let identity = &item.stream.identity;
            values.extend([
                Value::I64(id),
                identity.project.number.into(),
                identity.id.into(),
                row.first.cast_signed().into(),
                row.count.into(),
                row.branch.into(),
                (&row.print).into(),
                row.prev.as_ref().into(),
                row.from_us.into(),
                row.span_us.into(),
                row.received.as_micros().into(),
                row.revision.into(),
                row.held.into(),
                mark.late.into(),
                row.sealed.key_id.into(),
                row.sealed.counter.into(),
                (&row.sealed.payload).into(),
            ]);
        }
        transaction
            .insert_rows(
                "INSERT INTO batch (id, project, stream, first, count, branch, hash, prev, from_us, span_us, \
                 received_us, revision, held, late, key_id, counter, payload) VALUES",
                "",
                17,
                &values,
            )
            .await?;
        let days = unlisted_days(group);
        days::list(&mut transaction, &days).await?;
        mark_cold(&mut transaction, group, before).await?;
        let mut id = before;
        for item in group {
            let Row::Batch(row) = &item.row else { continue };
            id += 1;
            if !row.marked {
                continue;
            }
            let identity = &item.stream.identity;
            transaction
                .execute(
                    "INSERT INTO clock_mark (project, stream, batch, marked_us) VALUES ($1, $2, $3, $4)",
                    &[
                        identity.project.number.into(),
                        identity.id.into(),
                        id.into(),
                        row.received.as_micros().into(),
                    ],
                )
                .await?;
        }
        for item in group {
            let Row::Seal(row) = &item.row else { continue };
            let identity = &item.stream.identity;
            transaction
                .execute(
                    "INSERT INTO seal (project, stream, last, hash, time_us, received_us, key_id, counter, payload) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING",
                    &[
                        identity.project.number.into(),
                        identity.id.into(),
                        row.last.cast_signed().into(),
                        (&row.hash).into(),
                        row.time.as_micros().into(),
                        row.received.as_micros().into(),
                        row.sealed.key_id.into(),
                        row.sealed.counter.into(),
                        (&row.sealed.payload).into(),
                    ],
                )
                .await?;
        }
        transaction.commit().await?;
        Ok(before)
    }

    fn settle(&mut self, group: &mut Vec<Item>, before: i64) {
        let mut sequence = before;
        for item in group.drain(..) {
            match item.row {
                Row::Seal(row) => {
                    // A caller that went away has no use for the answer.
                    let _ = row.done.send(Ok(()));
                }
                Row::Batch(row) => {
                    sequence += 1;
                    let to_us = row.from_us.saturating_add(row.span_us);
                    let times = (!row.held).then_some(Times {
                        from: row.from_us,
                        to: to_us,
                        span: row.span_us,
                    });
                    // Before the answer: who asks for the newest point after an acknowledgement sees this one.
                    item.device.newest.apply(row.news);
                    if times.is_some() {
                        self.newest.fetch_max(to_us, Ordering::Relaxed);
                    }
                    if let Some(mut state) = item.stream.loaded() {
                        state.settle(row.first, row.count, row.branch, times);
                    }
                    if times.is_some() {
                        // Without a listener there is nobody to tell.
                        let _ = self.arrivals.send(Arrival {
                            sequence,
                            project: item.stream.identity.project.id,
                            device: item.stream.identity.device,
                            from: Timestamp::from_micros(row.from_us),
                            to: Timestamp::from_micros(to_us),
                        });
                    }
                }
            }
        }
        self.last_id = Some(sequence);
        self.settled.store(sequence, Ordering::Release);
    }
}

/// The days of a group's batches that their streams do not know to be listed, as the streams know from now on: of one
/// whose commit fails none is used again.
fn unlisted_days(group: &[Item]) -> Vec<(i64, i64, i64)> {
    let mut days = Vec::new();
    for item in group {
        let Row::Batch(row) = &item.row else { continue };
        let day = day_of(row.held, row.from_us);
        if !item.stream.lists(day) {
            let identity = &item.stream.identity;
            days.push((identity.project.number, identity.id, day));
            item.stream.listed(day);
        }
    }
    days
}

/// Leaves a mark for each row that begins before its device's horizon. Asked inside the transaction: a worker moves the
/// horizon inside its own, so none is moved between the question and the commit.
async fn mark_cold(
    transaction: &mut Transaction,
    group: &[Item],
    before: i64,
) -> Result<(), SqlError> {
    let mut values: Vec<Value<'_>> = Vec::new();
    let mut id = before;
    for item in group {
        let Row::Batch(row) = &item.row else { continue };
        id += 1;
        if row.held || row.from_us >= item.device.known_horizon() {
            continue;
        }
        let end_us = row.from_us.saturating_add(row.span_us).saturating_add(1);
        values.extend([
            item.device.project.number.into(),
            item.device.id.as_bytes().into(),
            row.from_us.into(),
            end_us.into(),
            LATE.into(),
            Value::I64(id),
            row.received.as_micros().into(),
        ]);
    }
    transaction
        .insert_rows(
            "INSERT INTO dirty (project, device, from_us, to_us, cause, batch, marked_us) VALUES",
            "",
            7,
            &values,
        )
        .await?;
    Ok(())
}

/// How a batch lies to what its device had before it.
struct Mark {
    late: bool,
    /// The device's newest time before this item.
    before: i64,
}

/// Which batches of a group are late, in its order. Raises the newest times of the devices: the writer alone reads them,
/// and takes them back where the commit fails.
fn mark_late(group: &[Item]) -> Vec<Mark> {
    let mark = |item: &Item| {
        let newest = &item.device.newest_us;
        let before = newest.load(Ordering::Relaxed);
        let Row::Batch(row) = &item.row else {
            return Mark {
                late: false,
                before,
            };
        };
        if !row.held {
            newest.fetch_max(row.from_us.saturating_add(row.span_us), Ordering::Relaxed);
        }
        Mark {
            late: !row.held && row.from_us < before,
            before,
        }
    };
    group.iter().map(mark).collect()
}

/// The highest id that was ever given: ids of rows that were removed are not given again.
async fn highest_id(transaction: &mut Transaction) -> Result<i64, SqlError> {
    let row = transaction.fetch_optional(HIGHEST_BATCH, &[]).await?;
    row.map_or(Ok(0), |row| Ok(row.i64(0)?.max(row.i64(1)?)))
}

fn fail(item: Item, error: &Arc<SqlError>) {
    item.stream.break_with(error);
    if let Row::Seal(row) = item.row {
        // A caller that went away has no use for the answer.
        let _ = row.done.send(Err(Arc::clone(error)));
    }
}

fn broken(stream: &Stream) -> Option<Arc<SqlError>> {
    stream.loaded()?.broken.as_ref().map(Arc::clone)
}
