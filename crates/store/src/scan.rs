//! Points one by one, in the order of time, page by page.
//!
//! A page holds at most `limit` points and costs at most a bounded number of batches; where it ends early it says where
//! to go on. Points of forks and of devices that overlap are all there, in an order that does not depend on arrival.

use std::fmt;
use std::str::FromStr;

use fieldkeep_protocol::{DeviceId, Flag, ProjectId, Timestamp};

use crate::error::StoreError;
use crate::explain::Unread;
use crate::gaps::{Gap, GapReason, Run, Sight};
use crate::store::{Inner, Store};
use crate::sweep::{Plan, Sweep, Swept, Visitor};

/// Batches read for one page at most.
const PAGE_BATCHES: usize = 16_384;

/// A device's channel, for a time: one of those that an element is read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The device.
    pub device: DeviceId,
    /// The channel's name on the device.
    pub channel: String,
    /// From this instant on.
    pub from: Timestamp,
    /// Up to, not including, this instant.
    pub to: Option<Timestamp>,
}

/// Instants from `from` up to, not including, `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeRange {
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after it.
    pub to: Timestamp,
}

/// One value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Point {
    /// When.
    pub time: Timestamp,
    /// What.
    pub value: f64,
    /// How good.
    pub flag: Flag,
}

/// Where a page ended. Its text form is opaque and may be handed to clients; it stays good while data arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cursor {
    pub(crate) time: i64,
    pub(crate) stream: i64,
    pub(crate) branch: u32,
    pub(crate) record: u64,
    pub(crate) channel: u16,
    /// The last instant before, at which something was there.
    pub(crate) seen: i64,
}

/// A text that is no cursor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor")]
pub struct InvalidCursor;

/// Some points of a range.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The points, by time.
    pub points: Vec<Point>,
    /// Where there are none, from the end of the page before to the end of this one.
    pub gaps: Vec<Gap>,
    /// Where the next page begins; there is none if this is the last one.
    pub next: Option<Cursor>,
    /// Rows that could not be opened; the log names them, and each is a gap.
    pub damaged: u64,
}

/// A point with its place in the order.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found {
    pub(crate) key: Cursor,
    pub(crate) value: f64,
    pub(crate) flag: Flag,
    pub(crate) interval_us: u64,
}

impl Found {
    pub(crate) fn point(&self) -> Point {
        Point {
            time: Timestamp::from_micros(self.key.time),
            value: self.value,
            flag: self.flag,
        }
    }
}

impl Store {
    /// At most `limit` points of some sources in a range, after a cursor. A page may hold fewer and yet not be the
    /// last. The store knows no clock: `range.to` beyond now would be reported as a gap.
    pub async fn scan(
        &self,
        project: ProjectId,
        sources: &[Source],
        range: TimeRange,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        let plan = Plan::new(&self.inner, project, &[sources], range).await?;
        loop {
            let mut collector = Collector::new(&plan, after, limit);
            let sweep = Sweep::open(&self.inner, &plan, collector.from, None).await?;
            let visitors = std::slice::from_mut(&mut collector);
            if sweep.run(visitors).await? == Swept::Done {
                return collector.page(&self.inner, &plan).await;
            }
        }
    }
}

/// Gathers one page of points of a plan's only output.
pub(crate) struct Collector {
    limit: usize,
    after: Option<Cursor>,
    pub(crate) from: i64,
    to: i64,
    points: Vec<Found>,
    sight: Sight,
    batches: usize,
    damaged: u64,
    begin: i64,
    seen: i64,
    /// Everything before this instant was read, and the page ends there.
    cut: Option<i64>,
}

impl Collector {
    pub(crate) fn new(plan: &Plan, after: Option<Cursor>, limit: usize) -> Self {
        let (from, to) = plan.extent(0);
        let begin = after.map_or(from, |cursor| cursor.seen);
        Self {
            limit: limit.max(1),
            after,
            from: after.map_or(from, |cursor| cursor.time),
            to,
            points: Vec::new(),
            sight: Sight::new(0),
            batches: 0,
            damaged: 0,
            begin,
            seen: begin,
            cut: None,
        }
    }

    /// What was gathered, with the gaps explained.
    pub(crate) async fn page(self, inner: &Inner, plan: &Plan) -> Result<Page, StoreError> {
        let (begin, to, damaged) = (self.begin, self.to, self.damaged);
        let (points, sight, next, end) = self.finish(to);
        let mut unread = Unread::default();
        Ok(Page {
            gaps: plan
                .gaps(inner, 0, sight, (begin, end), &mut unread)
                .await?,
            points: points.iter().map(Found::point).collect(),
            next,
            damaged,
        })
    }

    fn finish(mut self, to: i64) -> (Vec<Found>, Sight, Option<Cursor>, i64) {
        self.points.sort_by_key(|found| found.key);
        if let Some(cut) = self.cut {
            self.points.retain(|found| found.key.time < cut);
        }
        let is_full = self.points.len() > self.limit;
        self.points.truncate(self.limit);
        for found in &self.points {
            let time = found.key.time;
            self.sight.valued.add(Run {
                from: time,
                to: time,
                interval_us: found.interval_us,
            });
        }
        let last = self.points.last().map(|found| found.key);
        let (next, end) = match (last, self.cut) {
            (Some(last), _) if is_full => (Some(last), last.time),
            (_, Some(cut)) => {
                let valued = last.map_or(i64::MIN, |last| last.time);
                let seen = self.seen.max(valued).min(cut);
                (
                    Some(Cursor {
                        seen,
                        ..before(cut)
                    }),
                    seen,
                )
            }
            _ => (None, to),
        };
        (self.points, self.sight, next, end)
    }
}

impl Visitor for Collector {
    fn goes_on(&mut self, from_us: i64) -> bool {
        if !self.wants(from_us) {
            return false;
        }
        self.batches += 1;
        if self.batches > PAGE_BATCHES && from_us > self.from {
            self.cut = Some(from_us);
            return false;
        }
        true
    }

    fn value(&mut self, found: Found) {
        let is_new = |after: Cursor| {
            Cursor {
                seen: i64::MIN,
                ..found.key
            } > Cursor {
                seen: i64::MIN,
                ..after
            }
        };
        if self.after.is_none_or(is_new) {
            self.points.push(found);
        }
    }

    /// Nothing is, once there is a point without room before it.
    fn wants(&mut self, from_us: i64) -> bool {
        if self.points.len() <= self.limit {
            return true;
        }
        self.points.sort_by_key(|found| found.key);
        self.points.truncate(self.limit.saturating_add(1));
        self.points.last().is_none_or(|bar| from_us <= bar.key.time)
    }

    fn absent(&mut self, reason: GapReason, run: Run) {
        self.damaged += u64::from(reason == GapReason::Damaged);
        if run.to >= self.from {
            self.seen = self.seen.max(run.to);
            self.sight.add_absent(reason, run);
        }
    }
}

fn before(time: i64) -> Cursor {
    Cursor {
        time,
        stream: i64::MIN,
        branch: 0,
        record: 0,
        channel: 0,
        seen: time,
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            time,
            stream,
            branch,
            record,
            channel,
            seen,
        } = self;
        write!(
            f,
            "{time:016x}{stream:016x}{branch:08x}{record:016x}{channel:04x}{seen:016x}"
        )
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        if text.len() != 76 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(InvalidCursor);
        }
        let part = |from: usize, to: usize| {
            let digits = text.get(from..to).ok_or(InvalidCursor)?;
            u64::from_str_radix(digits, 16).map_err(|_| InvalidCursor)
        };
        Ok(Self {
            time: part(0, 16)?.cast_signed(),
            stream: part(16, 32)?.cast_signed(),
            branch: u32::try_from(part(32, 40)?).map_err(|_| InvalidCursor)?,
            record: part(40, 56)?,
            channel: u16::try_from(part(56, 60)?).map_err(|_| InvalidCursor)?,
            seen: part(60, 76)?.cast_signed(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Cursor, InvalidCursor};

    #[test]
    fn cursors_read_back() {
        let cursor = Cursor {
            time: -5,
            stream: i64::MIN,
            branch: 3,
            record: u64::MAX,
            channel: 255,
            seen: i64::MAX,
        };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        assert_eq!("".parse::<Cursor>(), Err(InvalidCursor));
        assert_eq!("+".repeat(76).parse::<Cursor>(), Err(InvalidCursor));
    }
}
