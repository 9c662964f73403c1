//! Stamps: what the times of a batch's records are, where they are not as sent.
//!
//! Owns the one formula and the one way of reading times and cells: every reader goes through [`times`] and [`cells`].
//! A stamp covers some records of one batch; the newest that covers a record counts. The payload is never changed, so
//! that every stamp can be taken back by another. Judges nothing: `judge.rs` does.

use std::sync::Arc;

use fieldkeep_protocol::batch::{Batch, Cell, Column, Step};
use fieldkeep_protocol::{Flag, RecordRange, Timestamp};

use crate::error::StoreError;
use crate::feed::Stored;
use crate::sql::{Database, Row};
use crate::stream::Stream;

/// Why a stamp was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StampCause {
    /// Another batch of the same boot tells, by the ticks between them.
    Ticks,
    /// Nothing tells; the records were taken before they arrived.
    Arrival,
    /// A person said so.
    Person,
    /// A person said that the times are right as sent.
    Released,
    /// A person confirmed a proposal.
    Confirmed,
}

impl StampCause {
    pub(crate) fn code(self) -> i64 {
        match self {
            Self::Ticks => 1,
            Self::Arrival => 2,
            Self::Person => 3,
            Self::Released => 4,
            Self::Confirmed => 5,
        }
    }

    /// Unknown numbers are a person's: nothing automatic touches them.
    pub(crate) fn from_code(code: i64) -> Self {
        match code {
            1 => Self::Ticks,
            2 => Self::Arrival,
            4 => Self::Released,
            5 => Self::Confirmed,
            _ => Self::Person,
        }
    }

    /// Whether a better judgement may take its place without a person.
    pub(crate) fn is_automatic(self) -> bool {
        matches!(self, Self::Ticks | Self::Arrival)
    }
}

/// How times are set right.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Shift {
    /// Added to every time.
    pub(crate) offset_us: i64,
    /// Where the drift is zero, in corrected time.
    pub(crate) anchor_us: i64,
    /// Nanoseconds a second by which the clock was slow after the anchor.
    pub(crate) drift_ppb: i64,
    /// The steps inside the batch are taken out first: times follow the ticks.
    pub(crate) unstepped: bool,
}

impl Shift {
    /// The time of a record that was sent with `sent`, `stepped` after the batch's first record by steps.
    pub(crate) fn time(&self, sent: i64, stepped: i64) -> i64 {
        let sent = if self.unstepped {
            sent.saturating_sub(stepped)
        } else {
            sent
        };
        let moved = sent.saturating_add(self.offset_us);
        if self.drift_ppb == 0 {
            return moved;
        }
        let drift =
            i128::from(moved.saturating_sub(self.anchor_us)) * i128::from(self.drift_ppb) / NANO;
        moved.saturating_add(i64::try_from(drift).unwrap_or(if drift < 0 {
            i64::MIN
        } else {
            i64::MAX
        }))
    }
}

const NANO: i128 = 1_000_000_000;

/// One stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) first: u64,
    /// Inclusive.
    pub(crate) last: u64,
    pub(crate) shift: Shift,
    /// `None`: it may be anything.
    pub(crate) error_us: Option<i64>,
    pub(crate) cause: StampCause,
}

impl Stamp {
    /// From the columns `first, last, offset_us, anchor_us, drift_ppb, unstepped, error_us, cause`.
    pub(crate) fn from_row(row: &Row) -> Result<Self, StoreError> {
        Ok(Self {
            first: row.i64(0)?.cast_unsigned(),
            last: row.i64(1)?.cast_unsigned(),
            shift: Shift {
                offset_us: row.i64(2)?,
                anchor_us: row.i64(3)?,
                drift_ppb: row.i64(4)?,
                unstepped: row.bool(5)?,
            },
            error_us: row.opt_i64(6)?,
            cause: StampCause::from_code(row.i64(7)?),
        })
    }

    /// A time that may be off by more than the interval, or that nothing but the arrival tells, makes a value suspect.
    fn is_doubtful(&self, interval_us: u64) -> bool {
        self.cause == StampCause::Arrival
            || self
                .error_us
                .is_none_or(|error| error.unsigned_abs() > interval_us)
    }
}

/// The stamps of one batch, newest first; none where its times are as sent.
#[derive(Clone, Debug, Default)]
pub(crate) struct Timing(Option<Arc<[Stamp]>>);

impl Timing {
    /// Times as sent.
    pub(crate) const AS_SENT: Self = Self(None);

    pub(crate) fn new(newest_first: Vec<Stamp>) -> Self {
        Self((!newest_first.is_empty()).then(|| newest_first.into()))
    }

    /// What it is with one more stamp.
    pub(crate) fn with(&self, newest: Stamp) -> Self {
        let older = self.0.iter().flat_map(|stamps| stamps.iter().copied());
        Self::new(std::iter::once(newest).chain(older).collect())
    }

    /// The stamps of a row.
    pub(crate) async fn of(
        database: &Database,
        stream: &Stream,
        row: &Stored,
    ) -> Result<Self, StoreError> {
        if row.stamp.is_none() {
            return Ok(Self::AS_SENT);
        }
        let rows = database
            .fetch_all(
                "SELECT first, last, offset_us, anchor_us, drift_ppb, unstepped, error_us, cause FROM stamp \
                 WHERE project = $1 AND batch = $2 ORDER BY id DESC",
                &[stream.identity.project.number.into(), row.id.into()],
            )
            .await?;
        let stamps = rows.iter().map(Stamp::from_row).collect::<Result<_, _>>()?;
        Ok(Self::new(stamps))
    }

    /// The stamps that a batch had at a time.
    pub(crate) async fn known(
        database: &Database,
        stream: &Stream,
        batch: i64,
        known_at: Timestamp,
    ) -> Result<Self, StoreError> {
        let rows = database
            .fetch_all(
                "SELECT first, last, offset_us, anchor_us, drift_ppb, unstepped, error_us, cause FROM stamp \
                 WHERE project = $1 AND batch = $2 AND created_us <= $3 ORDER BY id DESC",
                &[
                    stream.identity.project.number.into(),
                    batch.into(),
                    known_at.as_micros().into(),
                ],
            )
            .await?;
        let stamps = rows.iter().map(Stamp::from_row).collect::<Result<_, _>>()?;
        Ok(Self::new(stamps))
    }

    /// The newest stamp.
    pub(crate) fn newest(&self) -> Option<&Stamp> {
        self.0.as_deref()?.first()
    }

    /// The stamp by which a record is read.
    pub(crate) fn of_record(&self, record: u64) -> Option<&Stamp> {
        self.0
            .as_deref()?
            .iter()
            .find(|stamp| stamp.first <= record && record <= stamp.last)
    }
}

/// The times of a batch's records, in the order of the records.
pub(crate) fn times<'a>(batch: &Batch<'a>, timing: &Timing) -> impl Iterator<Item = i64> + use<'a> {
    let first = batch.header().first;
    let timing = timing.clone();
    let mut steps = timing.0.is_some().then(|| batch.steps().peekable());
    let mut stepped = 0_i64;
    batch.times().zip(first..).map(move |(sent, record)| {
        let Some(steps) = &mut steps else {
            return sent;
        };
        let is_here = |step: &Step| u64::from(step.record) <= record.saturating_sub(first);
        while let Some(step) = steps.next_if(is_here) {
            // One before the first record says nothing about the others.
            if step.record > 0 {
                stepped = stepped.saturating_add(step.by_us);
            }
        }
        match timing.of_record(record) {
            Some(stamp) => stamp.shift.time(sent, stepped),
            None => sent,
        }
    })
}

/// A channel's cells with their record numbers and times. `interval_us` is the channel's: where a time may be off by
/// more, its value is suspect.
pub(crate) fn cells<'a>(
    batch: &Batch<'a>,
    channel: u16,
    interval_us: u64,
    timing: &Timing,
) -> impl Iterator<Item = (u64, i64, Cell)> + use<'a> {
    let batch = *batch;
    let timing = timing.clone();
    batch
        .column(channel)
        .into_iter()
        .flat_map(move |column| column_cells(&batch, column, interval_us, &timing))
}

/// A column's cells, likewise.
pub(crate) fn column_cells<'a>(
    batch: &Batch<'a>,
    column: Column<'a>,
    interval_us: u64,
    timing: &Timing,
) -> impl Iterator<Item = (u64, i64, Cell)> + use<'a> {
    let first = batch.header().first;
    let times = times(batch, timing);
    let timing = timing.clone();
    column
        .cells()
        .zip(times)
        .zip(first..)
        .map(move |((cell, time), record)| {
            let doubtful = timing
                .of_record(record)
                .is_some_and(|stamp| stamp.is_doubtful(interval_us));
            let flag = if doubtful {
                cell.flag.max(Flag::Suspect)
            } else {
                cell.flag
            };
            (record, time, Cell { flag, ..cell })
        })
}

/// The earliest and the latest time.
pub(crate) fn extent(batch: &Batch<'_>, timing: &Timing) -> (i64, i64) {
    times(batch, timing).fold((i64::MAX, i64::MIN), |(from, to), time| {
        (from.min(time), to.max(time))
    })
}

/// The records of a range that are in another, inclusive.
pub(crate) fn overlap(range: RecordRange, first: u64, last: u64) -> Option<(u64, u64)> {
    let (first, last) = (
        range.first.max(first),
        range.end().saturating_sub(1).min(last),
    );
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use fieldkeep_protocol::batch::{self, ColumnInput, Header};
    use fieldkeep_protocol::{ClockQuality, Epoch};

    use super::*;

    fn encoded(steps: &[Step], times: &[i64]) -> Vec<u8> {
        let header = Header {
            epoch: Epoch(1),
            first: 10,
            count: u32::try_from(times.len()).unwrap(),
            prev: [0; 32],
            boot: 1,
            ticks_us: 0,
            clock: ClockQuality::Unset,
            revision: 1,
        };
        let values = vec![Cell::measured(1.0); times.len()];
        let columns = [ColumnInput {
            channel: 0,
            values: &values,
        }];
        let mut out = vec![0; 4_096];
        let length = batch::encode(&header, times, steps, &columns, &mut out).unwrap();
        out.truncate(length);
        out
    }

    fn stamp(first: u64, last: u64, offset_us: i64) -> Stamp {
        Stamp {
            first,
            last,
            shift: Shift {
                offset_us,
                ..Shift::default()
            },
            error_us: Some(0),
            cause: StampCause::Person,
        }
    }

    #[test]
    fn the_newest_stamp_that_covers_a_record_counts() {
        let bytes = encoded(&[], &[0, 1, 2, 3]);
        let batch = Batch::decode(&bytes).unwrap();
        let timing = Timing::new(vec![stamp(12, 13, 500)]).with(stamp(11, 12, 100));
        assert_eq!(
            times(&batch, &timing).collect::<Vec<_>>(),
            [0, 101, 102, 503]
        );
        assert_eq!(extent(&batch, &timing), (0, 503));
        assert_eq!(extent(&batch, &Timing::AS_SENT), (0, 3));
    }

    #[test]
    fn steps_are_taken_out_where_times_follow_the_ticks() {
        let steps = [
            Step {
                record: 0,
                by_us: -7_000,
            },
            Step {
                record: 2,
                by_us: 1_000,
            },
        ];
        let bytes = encoded(&steps, &[0, 1, 1_002, 1_003]);
        let batch = Batch::decode(&bytes).unwrap();
        let mut unstepped = stamp(10, 13, 50);
        unstepped.shift.unstepped = true;
        let timing = Timing::new(vec![unstepped]);
        assert_eq!(times(&batch, &timing).collect::<Vec<_>>(), [50, 51, 52, 53]);
        let timing = Timing::new(vec![stamp(10, 13, 50)]);
        assert_eq!(
            times(&batch, &timing).collect::<Vec<_>>(),
            [50, 51, 1_052, 1_053]
        );
    }

    #[test]
    fn drift_is_zero_at_the_anchor_and_saturates() {
        let shift = Shift {
            offset_us: 10,
            anchor_us: 1_000_010,
            drift_ppb: 100_000,
            unstepped: false,
        };
        assert_eq!(shift.time(1_000_000, 0), 1_000_010);
        assert_eq!(shift.time(2_000_000, 0), 2_000_110);
        assert_eq!(shift.time(0, 0), -90);
        let wild = Shift {
            drift_ppb: i64::MAX,
            ..shift
        };
        assert_eq!(wild.time(i64::MAX, 0), i64::MAX);
        assert_eq!(wild.time(i64::MIN, 0), i64::MIN);
    }

    #[test]
    fn a_doubtful_time_makes_a_value_suspect_and_never_better() {
        let bytes = encoded(&[], &[0, 1]);
        let batch = Batch::decode(&bytes).unwrap();
        let flag = |error_us, cause, interval_us| {
            let timing = Timing::new(vec![Stamp {
                error_us,
                cause,
                ..stamp(10, 10, 0)
            }]);
            let flags: Vec<_> = cells(&batch, 0, interval_us, &timing)
                .map(|(_, _, cell)| cell.flag)
                .collect();
            assert_eq!(flags[1], Flag::NotEvaluated, "not covered");
            flags[0]
        };
        assert_eq!(flag(Some(5), StampCause::Ticks, 5), Flag::NotEvaluated);
        assert_eq!(flag(Some(6), StampCause::Ticks, 5), Flag::Suspect);
        assert_eq!(flag(None, StampCause::Ticks, 5), Flag::Suspect);
        assert_eq!(flag(Some(0), StampCause::Arrival, 5), Flag::Suspect);
    }
}
