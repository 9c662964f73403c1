//! What is known of a device's clock: what is held and why, what was stamped, what a person is asked.
//!
//! Bounded: of very many held batches the oldest are listed, and the answer says that there are more. Changes nothing.

use fieldkeep_protocol::batch::Batch;
use fieldkeep_protocol::{ClockQuality, Epoch, Timestamp};

use crate::append::EARLIEST_US;
use crate::error::StoreError;
use crate::feed::Stored;
use crate::judge::{self, Ending, Seen};
use crate::proposals::ClockProposal;
use crate::restamp::{ClockNote, NOTE_OF_STAMP};
use crate::settle::Boot;
use crate::stamp::StampCause;
use crate::store::{Inner, Origin, Store};
use crate::stream::Stream;

/// Held batches that are read for one answer.
const MOST_HELD: usize = 2_000;
/// Boots of which it is said what their times could be.
const MOST_BOOTS: usize = 16;
/// Acts that are listed of one epoch, newest first.
const MOST_ACTS: i64 = 100;

/// Why records are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HeldReason {
    /// The device's clock was not set.
    Unset,
    /// Their times are before the year 2000.
    Before2000,
    /// Their times were more than a day ahead when they came.
    Ahead,
}

/// Records in a row that are held for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldRange {
    /// Their epoch.
    pub epoch: Epoch,
    /// The first record.
    pub first: u64,
    /// The last record, inclusive.
    pub last: u64,
    /// How many batches they are in.
    pub batches: u64,
    /// How many they are.
    pub records: u64,
    /// Why they are held.
    pub reason: HeldReason,
    /// How often the device had started.
    pub boot: u32,
    /// Microseconds since that start, at the first record.
    pub ticks_us: u64,
    /// The first record's time, as sent.
    pub from: Timestamp,
    /// The last record's time, as sent.
    pub to: Timestamp,
    /// When the first of them came.
    pub received: Timestamp,
    /// What would be added to the first record's time, and how far it could be off then, if anything tells.
    pub proposed: Option<(i64, Option<i64>)>,
}

/// Batches that got other times together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockStamp {
    /// Its number in the instance.
    pub id: i64,
    /// The epoch of the records.
    pub epoch: Epoch,
    /// The first record.
    pub first: u64,
    /// The last record, inclusive.
    pub last: u64,
    /// How many batches.
    pub batches: u64,
    /// What was added to the first batch's times.
    pub offset_us: i64,
    /// Nanoseconds a second by which the clock was slow.
    pub drift_ppb: i64,
    /// How far the times may be off at most; unknown where nothing bounds it.
    pub error_us: Option<i64>,
    /// Why.
    pub cause: StampCause,
    /// When.
    pub created: Timestamp,
    /// All of it has been stamped again since.
    pub superseded: bool,
    /// Who and why, where it was a person.
    pub note: Option<ClockNote>,
}

/// What is known of a device's clock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceClock {
    /// What is held, by epoch and record.
    pub held: Vec<HeldRange>,
    /// More is held than is listed.
    pub more_held: bool,
    /// What was stamped, newest first.
    pub stamps: Vec<ClockStamp>,
    /// What a person was asked, newest first.
    pub proposals: Vec<ClockProposal>,
}

impl Store {
    /// What is known of a device's clock.
    pub async fn device_clock(&self, origin: Origin) -> Result<DeviceClock, StoreError> {
        let inner = &self.inner;
        let mut clock = DeviceClock::default();
        let Some(device) = inner.find_device(origin).await? else {
            return Ok(clock);
        };
        let mut left = MOST_HELD;
        for stream in device.streams(&inner.database).await? {
            let has_held = stream.state(&inner.database).await?.held > 0;
            if has_held && left == 0 {
                clock.more_held = true;
            } else if has_held {
                let (held, read) = inner.held(&stream, left).await?;
                clock.more_held |= read > left;
                left = left.saturating_sub(read);
                clock.held.extend(held);
            }
            clock.stamps.extend(inner.acts(&stream).await?);
        }
        clock
            .stamps
            .sort_by_key(|stamp| std::cmp::Reverse(stamp.id));
        clock.proposals = self.clock_proposals(origin).await?;
        Ok(clock)
    }

    /// How many batches of the instance are held, and how many proposals are open: what a person should look at.
    pub async fn clocks_to_look_at(&self) -> Result<(u64, u64), StoreError> {
        let row = self
            .inner
            .database
            .fetch_optional(
                "SELECT (SELECT coalesce(sum((SELECT count(*) FROM hot WHERE hot.project = stream.project \
                     AND hot.stream = stream.id AND day = -1 AND held = true)), 0) FROM stream), \
                   (SELECT count(*) FROM proposal WHERE state = 0)",
                &[],
            )
            .await?;
        row.map_or(Ok((0, 0)), |row| {
            Ok((row.i64(0)?.cast_unsigned(), row.i64(1)?.cast_unsigned()))
        })
    }
}

impl Inner {
    /// What is held of a stream, and how many batches that are; one more than `most` if there are more.
    async fn held(
        &self,
        stream: &Stream,
        most: usize,
    ) -> Result<(Vec<HeldRange>, usize), StoreError> {
        let rows = self
            .database
            .fetch_all(
                "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id, received_us \
                 FROM hot WHERE project = $1 AND stream = $2 AND day = -1 AND held = true ORDER BY branch, first LIMIT $3",
                &[
                    stream.identity.project.number.into(),
                    stream.identity.id.into(),
                    i64::try_from(most.saturating_add(1)).unwrap_or(i64::MAX).into(),
                ],
            )
            .await?;
        let read = rows.len();
        let mut ranges: Vec<(i64, Seen, HeldRange)> = Vec::new();
        for row in rows.iter().take(most) {
            let (stored, received_us) = (Stored::from_row(row)?, row.i64(11)?);
            let branch = i64::from(stored.branch);
            let (id, count) = (stored.id, u64::from(stored.count));
            let Some(plain) = self.open_batch(stream, stored).await? else {
                continue;
            };
            let Ok(batch) = Batch::decode(&plain) else {
                continue;
            };
            let seen = Seen::new(id, received_us, &batch);
            let reason = reason(&batch);
            if let Some((of, _, range)) = ranges.last_mut()
                && *of == branch
                && range.last.saturating_add(1) == seen.first
                && (range.boot, range.reason) == (seen.boot, reason)
            {
                range.last = seen.last;
                range.batches += 1;
                range.records += count;
                range.to = batch.last_time();
                range.received = range.received.min(Timestamp::from_micros(received_us));
                continue;
            }
            let range = HeldRange {
                epoch: stream.identity.epoch,
                first: seen.first,
                last: seen.last,
                batches: 1,
                records: count,
                reason,
                boot: seen.boot,
                ticks_us: seen.ticks_us,
                from: batch.first_time(),
                to: batch.last_time(),
                received: Timestamp::from_micros(received_us),
                proposed: None,
            };
            ranges.push((branch, seen, range));
        }
        let mut known: Option<(i64, Boot)> = None;
        let mut boots = 0;
        for (branch, seen, range) in &mut ranges {
            let is_known = known.as_ref().is_some_and(|(of, boot)| {
                of == branch && boot.seen.iter().any(|other| other.id == seen.id)
            });
            if !is_known {
                boots += 1;
                if boots > MOST_BOOTS {
                    break;
                }
                known = Some((*branch, self.boot(stream, *branch, seen.first).await?));
            }
            if let Some((_, boot)) = &known {
                let ending = Ending {
                    is_over: true,
                    before_us: boot.before_us,
                };
                range.proposed = judge::correct(&boot.seen, seen, ending)
                    .map(|correction| (correction.offset_us, correction.error_us));
            }
        }
        Ok((
            ranges.into_iter().map(|(_, _, range)| range).collect(),
            read,
        ))
    }

    /// The newest acts of a stream.
    async fn acts(&self, stream: &Stream) -> Result<Vec<ClockStamp>, StoreError> {
        let key = [
            stream.identity.project.number.into(),
            stream.identity.id.into(),
            MOST_ACTS.into(),
        ];
        let rows = self
            .database
            .fetch_all(
                "SELECT act.id, whole.low, whole.high, whole.batches, act.offset_us, act.drift_ppb, whole.error_us, \
                   act.cause, act.created_us, whole.unknown, \
                   NOT EXISTS (SELECT 1 FROM stamp AS one JOIN batch ON batch.id = one.batch AND batch.stamp = one.id \
                     WHERE one.project = $1 AND one.stream = $2 AND one.act = act.id), \
                   act.key_id, act.counter, act.note \
                 FROM (SELECT act, min(first) AS low, max(last) AS high, count(*) AS batches, max(error_us) AS error_us, \
                     sum(CASE WHEN error_us IS NULL THEN 1 ELSE 0 END) AS unknown \
                   FROM stamp WHERE project = $1 AND stream = $2 GROUP BY act ORDER BY act DESC LIMIT $3) AS whole \
                 JOIN stamp AS act ON act.id = whole.act ORDER BY act.id DESC",
                &key,
            )
            .await?;
        let mut acts = Vec::with_capacity(rows.len());
        for row in rows {
            let id = row.i64(0)?;
            let is_unknown = row.i64(9)? > 0;
            acts.push(ClockStamp {
                id,
                epoch: stream.identity.epoch,
                first: row.i64(1)?.cast_unsigned(),
                last: row.i64(2)?.cast_unsigned(),
                batches: row.i64(3)?.cast_unsigned(),
                offset_us: row.i64(4)?,
                drift_ppb: row.i64(5)?,
                error_us: row.opt_i64(6)?.filter(|_| !is_unknown),
                cause: StampCause::from_code(row.i64(7)?),
                created: Timestamp::from_micros(row.i64(8)?),
                superseded: row.bool(10)?,
                note: self.note(stream, &row, 11, id, NOTE_OF_STAMP).await?,
            });
        }
        Ok(acts)
    }
}

fn reason(batch: &Batch<'_>) -> HeldReason {
    if batch.header().clock == ClockQuality::Unset {
        HeldReason::Unset
    } else if batch.min_time().as_micros() < EARLIEST_US {
        HeldReason::Before2000
    } else {
        HeldReason::Ahead
    }
}
