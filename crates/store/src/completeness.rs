//! How complete a range is: what should be there by the nominal interval, what is, and why the rest is not.
//!
//! Counts values by UTC day and names each hole with its cause. What nothing in the ledger explains between two records
//! that follow each other by number was never sampled; numbers that are not there and were not given up by the device are
//! not sent yet, and so is what comes after the last record. A stretch in which numbers are missing counts as a whole, since
//! where in it the missing records lie is not known before they come. Before the first record of all nothing is expected.
//! Points of forks count once per branch.

use std::cmp::Reverse;
use std::sync::Arc;

use fieldkeep_protocol::{ProjectId, Timestamp};

use crate::error::StoreError;
use crate::explain::Unread;
use crate::gaps::{Gap, GapReason, Run, Sight};
use crate::ranges::RangeSet;
use crate::scan::{Found, Source, TimeRange};
use crate::store::{Inner, Origin, Store};
use crate::stream::Stream;
use crate::sweep::{Plan, Sweep, Swept, UNKNOWN, Visitor};

/// One UTC day.
pub const DAY_US: i64 = 86_400_000_000;
/// Missing stretches of numbers that are placed in time, per stream.
const MOST_STRETCHES: usize = 1_024;

/// Why a value that was to be expected is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MissingCause {
    /// The device did not sample: it was off, or not told to.
    NeverSampled,
    /// The sensor did not answer, or answered nonsense.
    SensorError,
    /// It was sampled and lost on the device.
    Dropped,
    /// It has not arrived, and may still come.
    NotSent,
    /// It is stored, but cannot be read yet: its clock is not trusted, or its channel table is missing.
    Held,
    /// It is stored, but its bytes do not authenticate.
    Damaged,
}

impl MissingCause {
    /// All of them, in the order of [`Day::missing`].
    pub const ALL: [Self; 6] = [
        Self::NeverSampled,
        Self::SensorError,
        Self::Dropped,
        Self::NotSent,
        Self::Held,
        Self::Damaged,
    ];

    fn of(reason: GapReason) -> Option<Self> {
        match reason {
            GapReason::NoRecords => None,
            GapReason::SensorError => Some(Self::SensorError),
            GapReason::NotSampled => Some(Self::NeverSampled),
            GapReason::Dropped => Some(Self::Dropped),
            GapReason::Held => Some(Self::Held),
            GapReason::Damaged => Some(Self::Damaged),
        }
    }
}

/// One UTC day, or the part of it that lies in the range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Day {
    /// Its first instant.
    pub start_us: i64,
    /// How many values are there.
    pub stored: u64,
    /// How many are missing, in the order of [`MissingCause::ALL`]; none where there is no interval to expect by.
    pub missing: [u64; 6],
}

impl Day {
    /// How many values there should be.
    pub fn expected(&self) -> u64 {
        self.stored + self.missing.iter().sum::<u64>()
    }
}

/// A stretch in which values are missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Where: from the last value before it to the first one after it, or to where another cause begins.
    pub range: TimeRange,
    /// Why.
    pub cause: MissingCause,
    /// How many values.
    pub count: u64,
}

/// How complete a range is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Completeness {
    /// What is counted: the range, but not before the first record.
    pub range: TimeRange,
    /// The nominal interval at its end; 0 where sampling is on events and nothing is expected.
    pub interval_us: u64,
    /// By day.
    pub days: Vec<Day>,
    /// By time.
    pub holes: Vec<Hole>,
}

impl Store {
    /// How complete the values of some sources are in a range. The store knows no clock: after now everything would be
    /// missing.
    pub async fn completeness(
        &self,
        project: ProjectId,
        sources: &[Source],
        range: TimeRange,
    ) -> Result<Completeness, StoreError> {
        self.inner
            .completeness(project, sources, range, false)
            .await
    }

    /// How complete the records of a device are in a range, whether or not their channels have values: told by the channel
    /// that most of its channel tables have.
    pub async fn device_completeness(
        &self,
        origin: Origin,
        range: TimeRange,
    ) -> Result<Completeness, StoreError> {
        let channel = self.inner.steadiest_channel(origin).await?;
        let source = channel.map(|channel| Source {
            device: origin.device,
            channel,
            from: Timestamp::from_micros(i64::MIN),
            to: None,
        });
        self.inner
            .completeness(origin.project, source.as_slice(), range, true)
            .await
    }
}

impl Inner {
    async fn completeness(
        &self,
        project: ProjectId,
        sources: &[Source],
        range: TimeRange,
        of_records: bool,
    ) -> Result<Completeness, StoreError> {
        let plan = Plan::new(self, project, &[sources], range).await?;
        let (first, last) = self.extent(&plan).await?;
        let extent = plan.extent(0);
        let from = extent.0.max(first);
        let to = extent.1.max(from);
        let tally = loop {
            let mut tally = Tally {
                of_records,
                range: (from, to),
                sight: Sight::close(),
                days: days(from, to),
            };
            let sweep = Sweep::open(self, &plan, from, None).await?;
            if sweep.run(std::slice::from_mut(&mut tally)).await? == Swept::Done {
                break tally;
            }
        };
        let Tally {
            sight, mut days, ..
        } = tally;
        let interval_us = match sight.valued.interval_at(to) {
            Some(interval) => interval,
            None => plan.interval(self, 0).await?,
        };
        let values = sight.valued.clone();
        let mut holes = Vec::new();
        if interval_us > 0 && from < to {
            let mut unread = Unread::default();
            let gaps = plan.gaps(self, 0, sight, (from, to), &mut unread).await?;
            let unsent = self.unsent(&plan, last).await?;
            let is_leading = |chain: &[Gap]| {
                let start = chain.first().map(|gap| gap.from.as_micros());
                start == Some(from) && values.first().is_none_or(|first| first > from)
            };
            let is_one = |one: &Gap, next: &Gap| {
                one.to == next.from && !values.covers(next.from.as_micros())
            };
            for chain in gaps.chunk_by(is_one) {
                let interval = chain
                    .first()
                    .and_then(|gap| values.interval_at(gap.from.as_micros()))
                    .unwrap_or(interval_us);
                let grid = Grid {
                    interval: i64::try_from(interval.max(1)).unwrap_or(i64::MAX),
                    leading: is_leading(chain),
                    end: to,
                };
                grid.count(chain, &unsent, &mut days, &mut holes);
            }
        }
        Ok(Completeness {
            range: TimeRange {
                from: Timestamp::from_micros(from),
                to: Timestamp::from_micros(to),
            },
            interval_us,
            days,
            holes,
        })
    }

    /// The first and the last instant of all that can be read of a plan's devices.
    async fn extent(&self, plan: &Plan) -> Result<(i64, i64), StoreError> {
        let mut extent = (i64::MAX, i64::MIN);
        for stream in streams(plan) {
            if let Some(times) = stream.state(&self.database).await?.times {
                extent = (extent.0.min(times.from), extent.1.max(times.to));
            }
        }
        Ok(extent)
    }

    /// When the records were that the device has and did not send, as stretches `(from, to)`.
    async fn unsent(&self, plan: &Plan, last: i64) -> Result<Vec<(i64, i64)>, StoreError> {
        let mut unsent = vec![(last, i64::MAX)];
        for stream in streams(plan) {
            let mut there: RangeSet = {
                let state = stream.state(&self.database).await?;
                if state.times.is_none() {
                    continue;
                }
                state.durable.clone()
            };
            let end = there.end();
            for (first, last) in self.dropped(&stream).await? {
                there.insert(first, last.saturating_sub(first).saturating_add(1));
            }
            let holes = there.holes(0, end, MOST_STRETCHES);
            if holes.is_empty() {
                continue;
            }
            let breaks = self.breaks(&stream).await?;
            for (first, last) in holes {
                if let Some(around) = breaks.around(first, last) {
                    unsent.push(around);
                } else if let (Some(from), Some(to)) = self.around(&stream, first, last).await? {
                    unsent.push((from, to));
                }
            }
        }
        unsent.sort_unstable();
        Ok(unsent)
    }

    /// The channel that most of a device's tables have; of these the most often sampled one.
    async fn steadiest_channel(&self, origin: Origin) -> Result<Option<String>, StoreError> {
        let mut known: Vec<(String, usize, u64)> = Vec::new();
        let Some(device) = self.find_device(origin).await? else {
            return Ok(None);
        };
        for stream in device.streams(&self.database).await? {
            let revisions: Vec<u32> = {
                let state = stream.state(&self.database).await?;
                state.revisions.iter().copied().collect()
            };
            for revision in revisions {
                let Some(table) = self.table(&stream, revision).await? else {
                    continue;
                };
                for channel in &table.channels {
                    let interval = match channel.interval_us {
                        0 => u64::MAX,
                        interval => interval,
                    };
                    match known.iter_mut().find(|known| known.0 == channel.name) {
                        Some(found) => {
                            found.1 += 1;
                            found.2 = found.2.min(interval);
                        }
                        None => known.push((channel.name.clone(), 1, interval)),
                    }
                }
            }
        }
        let best = known
            .into_iter()
            .min_by_key(|(name, tables, interval)| (Reverse(*tables), *interval, name.clone()));
        Ok(best.map(|best| best.0))
    }
}

/// Counts values, and sees where there are none.
struct Tally {
    /// A record counts, whether or not it has a value.
    of_records: bool,
    range: (i64, i64),
    sight: Sight,
    days: Vec<Day>,
}

impl Tally {
    fn stored(&mut self, time: i64, interval_us: u64) {
        if time < self.range.0 || time >= self.range.1 {
            return;
        }
        if let Some(day) = day_of(&mut self.days, time) {
            day.stored += 1;
        }
        self.sight.valued.add(Run {
            from: time,
            to: time,
            interval_us,
        });
    }
}

impl Visitor for Tally {
    fn goes_on(&mut self, _from_us: i64) -> bool {
        true
    }

    fn value(&mut self, found: Found) {
        self.stored(found.key.time, found.interval_us);
    }

    fn absent(&mut self, reason: GapReason, run: Run) {
        let is_record = matches!(reason, GapReason::SensorError | GapReason::NotSampled);
        if !(self.of_records && is_record) {
            self.sight.add_absent(reason, run);
            return;
        }
        let step = match run.interval_us {
            0 | UNKNOWN => i64::MAX,
            interval => i64::try_from(interval).unwrap_or(i64::MAX),
        };
        let mut time = run.from;
        while time <= run.to {
            self.stored(time, run.interval_us);
            time = time.saturating_add(step);
        }
    }
}

/// Where values should have been in a stretch without any.
struct Grid {
    interval: i64,
    /// No value is at its beginning.
    leading: bool,
    /// Where the range ends.
    end: i64,
}

impl Grid {
    /// Counts a stretch, given as the parts that have different reasons.
    fn count(&self, chain: &[Gap], unsent: &[(i64, i64)], days: &mut [Day], holes: &mut Vec<Hole>) {
        let (Some(start), Some(end)) = (chain.first(), chain.last()) else {
            return;
        };
        let (start, end) = (start.from.as_micros(), end.to.as_micros());
        // A value is at the end, unless the range ends there.
        let bar = if end >= self.end {
            end
        } else {
            end.saturating_sub(self.interval / 2)
        };
        let mut time = if self.leading {
            start
        } else {
            start.saturating_add(self.interval)
        };
        let begins = holes.len();
        for gap in chain {
            for (from, to, cause) in parts(gap, unsent) {
                let mut hole = Hole {
                    range: TimeRange {
                        from: Timestamp::from_micros(from),
                        to: Timestamp::from_micros(to),
                    },
                    cause,
                    count: 0,
                };
                // A record may come a little late: a quarter of an interval still belongs to its place.
                while time < bar && time.saturating_add(self.interval / 4) < to {
                    if let Some(day) = day_of(days, time) {
                        day.missing[place(cause)] += 1;
                    }
                    hole.count += 1;
                    time = time.saturating_add(self.interval);
                }
                match holes.get_mut(begins..).and_then(<[Hole]>::last_mut) {
                    Some(last) if last.cause == cause => {
                        last.range.to = hole.range.to;
                        last.count += hole.count;
                    }
                    _ => holes.push(hole),
                }
            }
        }
        while time < bar {
            if let Some(last) = holes.get_mut(begins..).and_then(<[Hole]>::last_mut) {
                if let Some(day) = day_of(days, time) {
                    day.missing[place(last.cause)] += 1;
                }
                last.count += 1;
            }
            time = time.saturating_add(self.interval);
        }
        let mut at = begins;
        while let Some(hole) = holes.get(at) {
            if hole.count == 0 {
                holes.remove(at);
            } else {
                at += 1;
            }
        }
    }
}

/// A gap cut by what is not sent yet, with the cause of each part.
fn parts(gap: &Gap, unsent: &[(i64, i64)]) -> Vec<(i64, i64, MissingCause)> {
    let (from, to) = (gap.from.as_micros(), gap.to.as_micros());
    if let Some(cause) = MissingCause::of(gap.reason) {
        return vec![(from, to, cause)];
    }
    let mut parts = Vec::new();
    let mut at = from;
    for (begins, ends) in unsent {
        let (begins, ends) = ((*begins).clamp(at, to), (*ends).clamp(at, to));
        if begins >= ends {
            continue;
        }
        if at < begins {
            parts.push((at, begins, MissingCause::NeverSampled));
        }
        parts.push((begins, ends, MissingCause::NotSent));
        at = ends;
    }
    if at < to {
        parts.push((at, to, MissingCause::NeverSampled));
    }
    parts
}

fn place(cause: MissingCause) -> usize {
    match cause {
        MissingCause::NeverSampled => 0,
        MissingCause::SensorError => 1,
        MissingCause::Dropped => 2,
        MissingCause::NotSent => 3,
        MissingCause::Held => 4,
        MissingCause::Damaged => 5,
    }
}

fn streams(plan: &Plan) -> Vec<Arc<Stream>> {
    let streams = plan.devices.iter().flat_map(|wanted| wanted.streams.iter());
    streams.map(Arc::clone).collect()
}

/// The days that a range touches.
fn days(from: i64, to: i64) -> Vec<Day> {
    let first = from.div_euclid(DAY_US);
    let end = to.saturating_add(DAY_US - 1).div_euclid(DAY_US);
    let number = if from < to { end - first } else { 0 };
    (first..first + number)
        .map(|day| Day {
            start_us: day.saturating_mul(DAY_US),
            ..Day::default()
        })
        .collect()
}

fn day_of(days: &mut [Day], time: i64) -> Option<&mut Day> {
    let first = days.first()?.start_us;
    let index = time.checked_sub(first)?.div_euclid(DAY_US);
    days.get_mut(usize::try_from(index).ok()?)
}
