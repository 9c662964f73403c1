//! The cold tiers: points of one device by column, and their roll-ups.
//!
//! Owns the windows of time that chunks cover, the levels of roll-ups, the bytes of both, the worker that makes them
//! (`work`, `device`, `choose`, `read`, `commit`), and the marks that it works off. Everything in `bits`, `bytes`,
//! `numbers`, `decimal`, `chunk` and `rollup` is pure: no I/O, no SQL. Decoding checks every count and offset, never panics, and
//! allocates no more than the input's length and the caps named here allow. Answers nobody: that is `tiers` and `sweep`.

mod bits;
mod bytes;
mod choose;
mod chunk;
mod commit;
mod decimal;
mod device;
#[cfg(any(test, feature = "fuzz"))]
#[cfg_attr(
    not(feature = "fuzz"),
    expect(unreachable_pub, reason = "tests use it too, and reach it inside")
)]
pub mod fuzz;
mod mark;
mod numbers;
mod read;
mod rollup;
mod work;

pub(crate) use chunk::{Chunk, Segment, State, Unread};
#[cfg(test)]
pub(crate) use chunk::{ChunkBuilder, Origin, Place};
pub(crate) use mark::{Stale, mark_changed};
pub(crate) use rollup::{Bucket, Rollup, Series, fold};
pub use work::Compacted;
pub(crate) use work::Worker;

/// Rows of one chunk at most.
pub(crate) const CHUNK_ROWS: usize = 1 << 22;
/// Plain bytes of one chunk or roll-up at most.
pub(crate) const PLAIN_BYTES: usize = 1 << 28;

const MINUTE_US: i64 = 60_000_000;
const HOUR_US: i64 = 60 * MINUTE_US;
const DAY_US: i64 = 24 * HOUR_US;
const WEEK_US: i64 = 7 * DAY_US;
/// 1970-01-05T00:00:00Z, a Monday: weeks, four weeks and roll-up rows are counted from here.
const MONDAY_US: i64 = 4 * DAY_US;

/// Times from `from` up to, not including, `to`, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Window {
    pub(crate) from: i64,
    /// Exclusive.
    pub(crate) to: i64,
}

impl Window {
    pub(crate) fn contains(&self, time: i64) -> bool {
        time >= self.from && time < self.to
    }
}

/// How long the window of a chunk is. Each kind's windows nest in those of the next; the numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Length {
    /// An hour.
    Hour = 1,
    /// A day, UTC.
    Day = 2,
    /// A week from Monday, UTC.
    Week = 3,
    /// Four weeks, counted from the first Monday of 1970.
    FourWeeks = 4,
}

impl Length {
    /// From the shortest on.
    pub(crate) const ALL: [Self; 4] = [Self::Hour, Self::Day, Self::Week, Self::FourWeeks];

    /// How long the longest is.
    pub(crate) const LONGEST_US: i64 = 4 * WEEK_US;

    pub(crate) fn us(self) -> i64 {
        match self {
            Self::Hour => HOUR_US,
            Self::Day => DAY_US,
            Self::Week => WEEK_US,
            Self::FourWeeks => Self::LONGEST_US,
        }
    }

    /// The window of this length that holds an instant.
    pub(crate) fn around(self, time: i64) -> Window {
        aligned(time, self.us())
    }
}

/// The width of a roll-up's buckets. The numbers are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Level {
    /// Ten minutes.
    TenMinutes = 1,
    /// An hour.
    Hour = 2,
    /// A day, UTC.
    Day = 3,
}

/// Buckets of one stored row of roll-ups: four weeks of ten minutes, 24 weeks of hours, 576 weeks of days.
const ROW_BUCKETS: i64 = 4_032;

impl Level {
    /// From the finest on.
    pub(crate) const ALL: [Self; 3] = [Self::TenMinutes, Self::Hour, Self::Day];

    /// The width of a bucket.
    pub(crate) fn us(self) -> i64 {
        match self {
            Self::TenMinutes => 10 * MINUTE_US,
            Self::Hour => HOUR_US,
            Self::Day => DAY_US,
        }
    }

    /// Runs nearer than this are one in a roll-up: a quarter of a bucket.
    pub(crate) fn grain_us(self) -> i64 {
        self.us() / 4
    }

    /// How long the times of a stored row are.
    pub(crate) fn row_us(self) -> i64 {
        self.us() * ROW_BUCKETS
    }

    /// The times of the stored row that holds an instant.
    pub(crate) fn row(self, time: i64) -> Window {
        aligned(time, self.row_us())
    }

    fn from_code(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|level| *level as u8 == code)
    }
}

fn aligned(time: i64, span: i64) -> Window {
    let from = time
        .saturating_sub(MONDAY_US)
        .div_euclid(span)
        .saturating_mul(span)
        .saturating_add(MONDAY_US);
    Window {
        from,
        to: from.saturating_add(span),
    }
}

#[cfg(test)]
mod tests;
