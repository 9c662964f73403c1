//! Why there are no records: batches that are held, and numbers that the device gave up for want of space.
//!
//! Neither has times of its own that could be believed; where they belong follows from their record numbers, between
//! the readable batches before and after them in their epoch. Asked only where a series has gaps.

use std::collections::HashMap;

use fieldkeep_protocol::limits;
use fieldkeep_protocol::seal::Seal;

use crate::cipher::{Kind, Subject};
use crate::error::StoreError;
use crate::gaps::{Gap, GapReason, Run, Sight};
use crate::ranges::RangeSet;
use crate::store::Inner;
use crate::stream::Stream;
use crate::sweep::Plan;

/// Seals that are asked for what was lost: 64 ranges each.
const MOST_SEALS: u32 = 1_024;
/// The interval of a run that has none of its own.
const UNKNOWN: u64 = 1;

/// What explains the gaps of one answer, asked once for each stream.
#[derive(Default)]
pub(crate) struct Unread(HashMap<i64, Vec<(GapReason, Run)>>);

impl Plan {
    /// The gaps of what was seen of an output between `from` and `to`, explained as far as anything stored explains
    /// them.
    pub(crate) async fn gaps(
        &self,
        inner: &Inner,
        output: usize,
        mut sight: Sight,
        (from, to): (i64, i64),
        known: &mut Unread,
    ) -> Result<Vec<Gap>, StoreError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let interval_us = self.interval(inner, output).await?;
        let gaps = sight.gaps(from, to, interval_us);
        if !gaps.iter().any(|gap| gap.reason == GapReason::NoRecords) {
            return Ok(gaps);
        }
        let mut explained = false;
        for wanted in &self.devices {
            let mut targets = wanted.targets.iter();
            if targets.all(|target| target.output != output) {
                continue;
            }
            for stream in &wanted.streams {
                let id = stream.identity.id;
                let runs = match known.0.remove(&id) {
                    Some(runs) => runs,
                    None => inner.unread(stream).await?,
                };
                for (reason, run) in &runs {
                    explained = true;
                    sight.add_absent(*reason, *run);
                }
                known.0.insert(id, runs);
            }
        }
        Ok(if explained {
            sight.gaps(from, to, interval_us)
        } else {
            gaps
        })
    }
}

/// Two rows next to each other between which record numbers are missing: the first number of each, the last instant of one
/// and the first of the other.
struct Break {
    before: (u64, i64),
    after: (u64, i64),
}

/// Where the readable record numbers of a stream do not go on, lowest first: one statement for many holes.
pub(crate) struct Breaks(Vec<Break>);

impl Breaks {
    /// The last readable instant before some missing record numbers, and the first one after them, where they lie between
    /// two rows.
    pub(crate) fn around(&self, first: u64, last: u64) -> Option<(i64, i64)> {
        let place = self.0.partition_point(|found| found.after.0 <= last);
        let found = self.0.get(place).filter(|found| found.before.0 < first)?;
        Some((found.before.1, found.after.1))
    }
}

impl Inner {
    /// When the held batches and the dropped records of a stream were.
    async fn unread(&self, stream: &Stream) -> Result<Vec<(GapReason, Run)>, StoreError> {
        let (held, is_readable) = {
            let state = stream.state(&self.database).await?;
            (state.held, state.times.is_some())
        };
        let mut runs = Vec::new();
        if held > 0 {
            let mut numbers = RangeSet::default();
            let mut received = (i64::MAX, i64::MIN);
            let rows = self
                .database
                .fetch_all(
                    "SELECT first, count, received_us FROM hot WHERE project = $1 AND stream = $2 AND day = -1 AND held = true",
                    &[stream.identity.project.number.into(), stream.identity.id.into()],
                )
                .await?;
            for row in rows {
                numbers.insert(row.i64(0)?.cast_unsigned(), row.i64(1)?.cast_unsigned());
                let time = row.i64(2)?;
                received = (received.0.min(time), received.1.max(time));
            }
            for (first, last) in numbers.ranges() {
                let (from, to) = self.around(stream, first, last).await?;
                let from = from.unwrap_or(received.0);
                let to = to.unwrap_or(received.1).max(from);
                runs.push((
                    GapReason::Held,
                    Run {
                        from,
                        to,
                        interval_us: UNKNOWN,
                    },
                ));
            }
        }
        let dropped = if is_readable {
            self.dropped(stream).await?
        } else {
            Vec::new()
        };
        let breaks = match dropped.len() {
            0 => Breaks(Vec::new()),
            _ => self.breaks(stream).await?,
        };
        for (first, last) in dropped {
            let around = match breaks.around(first, last) {
                Some((from, to)) => (Some(from), Some(to)),
                None => self.around(stream, first, last).await?,
            };
            if let (Some(from), Some(to)) = around
                && from <= to
            {
                runs.push((
                    GapReason::Dropped,
                    Run {
                        from,
                        to,
                        interval_us: UNKNOWN,
                    },
                ));
            }
        }
        Ok(runs)
    }

    /// The places in a stream where readable record numbers do not go on.
    pub(crate) async fn breaks(&self, stream: &Stream) -> Result<Breaks, StoreError> {
        let rows = self
            .database
            .fetch_all(
                "SELECT before_first, before_to, first, from_us FROM (\
                   SELECT first, from_us, lag(first) OVER (ORDER BY first) AS before_first, \
                     lag(first + count) OVER (ORDER BY first) AS before_end, \
                     lag(from_us + span_us) OVER (ORDER BY first) AS before_to \
                   FROM hot WHERE project = $1 AND stream = $2 AND held = false) AS pairs \
                 WHERE first > before_end ORDER BY first",
                &[
                    stream.identity.project.number.into(),
                    stream.identity.id.into(),
                ],
            )
            .await?;
        let mut breaks = Vec::with_capacity(rows.len());
        for row in rows {
            breaks.push(Break {
                before: (row.i64(0)?.cast_unsigned(), row.i64(1)?),
                after: (row.i64(2)?.cast_unsigned(), row.i64(3)?),
            });
        }
        Ok(Breaks(breaks))
    }

    /// The last readable instant before some record numbers, and the first one after them.
    pub(crate) async fn around(
        &self,
        stream: &Stream,
        first: u64,
        last: u64,
    ) -> Result<(Option<i64>, Option<i64>), StoreError> {
        let key = (
            stream.identity.project.number.into(),
            stream.identity.id.into(),
        );
        let before = self
            .database
            .fetch_optional(
                "SELECT from_us + span_us FROM hot WHERE project = $1 AND stream = $2 AND first < $3 AND held = false \
                 ORDER BY first DESC LIMIT 1",
                &[key.0, key.1, first.cast_signed().into()],
            )
            .await?;
        let after = self
            .database
            .fetch_optional(
                "SELECT from_us FROM hot WHERE project = $1 AND stream = $2 AND first > $3 AND held = false \
                 ORDER BY first LIMIT 1",
                &[key.0, key.1, last.cast_signed().into()],
            )
            .await?;
        let time = |row: Option<crate::sql::Row>| row.map(|row| row.i64(0)).transpose();
        Ok((time(before)?, time(after)?))
    }

    /// The record numbers that the device's seals name as lost, `(first, last)`. A seal names as many of the newest as it
    /// has room for, so earlier seals are asked only while they are full.
    pub(crate) async fn dropped(&self, stream: &Stream) -> Result<Vec<(u64, u64)>, StoreError> {
        let identity = &stream.identity;
        let mut dropped = RangeSet::default();
        let mut before = [i64::MAX, i64::MAX];
        for _ in 0..MOST_SEALS {
            let row = self
                .database
                .fetch_optional(
                    "SELECT last, key_id, counter, payload, id FROM seal WHERE project = $1 AND stream = $2 \
                       AND (last, id) < ($3, $4) ORDER BY last DESC, id DESC LIMIT 1",
                    &[
                        identity.project.number.into(),
                        identity.id.into(),
                        before[0].into(),
                        before[1].into(),
                    ],
                )
                .await?;
            let Some(row) = row else { break };
            before = [row.i64(0)?, row.i64(4)?];
            let subject = Subject {
                project: identity.project.id,
                kind: Kind::Seal,
                device: identity.device,
                epoch: identity.epoch.0,
                first: row.i64(0)?.cast_unsigned(),
                count: 0,
                branch: 0,
            };
            let (counter, payload) = (row.i64(2)?, row.bytes(3)?.to_vec());
            let key = self.keys.opening(identity.project, row.i64(1)?).await?;
            let plain = key.and_then(|key| key.open(&subject, counter, payload));
            let Some(seal) = plain.as_deref().and_then(|plain| Seal::decode(plain).ok()) else {
                // Logged there; an earlier one explains most of what it did.
                let _ = subject.damaged();
                continue;
            };
            let mut spans = 0;
            for span in seal.payload().dropped.iter() {
                dropped.insert(span.first, span.last - span.first + 1);
                spans += 1;
            }
            if spans < limits::DROPPED_RANGES {
                break;
            }
        }
        Ok(dropped.ranges().collect())
    }
}
