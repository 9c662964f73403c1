//! Visits the columns of one chunk, in the order in which points are read.
//!
//! Cut to the times that are wanted by search, and handed on in stretches of slices, so that a column costs little more
//! than its decoding.

use crate::cold::{Chunk, Segment, State, Unread};
use crate::gaps::{GapReason, Run};
use crate::scan::Cursor;
use crate::spans::Spans;
use crate::sweep::{Stretch, Visitor, reason};

/// Values of one stretch at most: a visitor that has enough is asked that often.
const STRETCH: usize = 4_096;

/// A chunk whose shared columns are decoded.
pub(super) struct Open {
    chunk: Chunk,
    times: Vec<i64>,
    segments: Vec<Segment>,
}

impl Open {
    /// `None` if the bytes are damaged.
    pub(super) fn decode(plain: Vec<u8>) -> Option<Self> {
        let chunk = Chunk::decode(plain)?;
        Some(Self {
            times: chunk.times()?,
            segments: chunk.segments()?,
            chunk,
        })
    }

    /// The rows that are not in it, though their times are.
    pub(super) fn unread(&self) -> &[Unread] {
        self.chunk.unread()
    }

    /// Visits what the chunk has of a channel in some times.
    pub(super) fn visit(&self, channel: &str, wanted: &Spans, visitor: &mut impl Visitor) {
        let Some(column) = self.chunk.column(channel) else {
            if self.chunk.channels().any(|name| name == channel) {
                self.damaged(channel, wanted, visitor);
            }
            return;
        };
        for piece in column.pieces(&self.times, &self.segments) {
            for (from, to) in wanted.iter() {
                let begin = piece.times.partition_point(|time| *time < from);
                let end = piece.times.partition_point(|time| *time < to);
                let times = piece.times.get(begin..end).unwrap_or_default();
                let Some(first) = times.first() else { continue };
                if !visitor.wants(*first) {
                    return;
                }
                let state = match piece.state {
                    State::Nothing => continue,
                    State::Absent(why) => {
                        let interval_us = piece.place.interval_us;
                        for time in times {
                            let run = Run {
                                from: *time,
                                to: *time,
                                interval_us,
                            };
                            visitor.absent(reason(why), run);
                        }
                        continue;
                    }
                    State::Valued(flag) => flag,
                };
                let values = piece.values.get(begin..end).unwrap_or_default();
                let parts = times.chunks(STRETCH).zip(values.chunks(STRETCH));
                let records = (piece.first + begin as u64..).step_by(STRETCH);
                for ((times, values), record) in parts.zip(records) {
                    let Some(first) = times.first() else { continue };
                    if !visitor.wants(*first) {
                        return;
                    }
                    visitor.values(&Stretch {
                        first: Cursor {
                            time: *first,
                            stream: piece.origin.stream,
                            branch: piece.origin.branch,
                            record,
                            channel: piece.place.channel,
                            seen: *first,
                        },
                        flag: state,
                        interval_us: piece.place.interval_us,
                        times,
                        values,
                    });
                }
            }
        }
    }

    /// What authenticated and does not decode is a defect of ours: said, and no reason to stop.
    fn damaged(&self, channel: &str, wanted: &Spans, visitor: &mut impl Visitor) {
        tracing::error!(channel, "a column of a chunk cannot be decoded");
        for (from, to) in wanted.iter() {
            let run = Run {
                from,
                to: to.saturating_sub(1),
                interval_us: super::UNKNOWN,
            };
            visitor.absent(GapReason::Damaged, run);
        }
    }
}
