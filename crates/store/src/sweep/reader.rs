//! Reads one device during a sweep: its chunks, its rows, and which of their cells go to which output.

use std::sync::Arc;

use fieldkeep_protocol::Timestamp;
use fieldkeep_protocol::batch::{Batch, Column};

use super::chunk::Open;
use super::{Swept, UNKNOWN, Visitor, Wanted, reason};
use crate::cipher::Kind;
use crate::cold::{Level, Unread};
use crate::error::StoreError;
use crate::feed::{Beside, Fed, Feed};
use crate::gaps::{GapReason, Run};
use crate::scan::{Cursor, Found};
use crate::spans::{Span, Spans};
use crate::stamp::{Timing, column_cells};
use crate::store::Inner;
use crate::stream::Stream;
use crate::tables::ChannelTable;
use crate::tiers::{Entry, Read, Tiers};

/// Reads one device during a sweep.
pub(crate) struct Reader<'a> {
    pub(crate) wanted: &'a Wanted,
    pub(super) tiers: Tiers,
    /// What the map is of, and the coarsest level that was asked for.
    pub(super) asked: (Span, i64),
    /// Nothing that came later is read.
    pub(crate) known_at: Option<Timestamp>,
    /// For each target the times for which roll-ups stand instead of chunks.
    pub(super) rolled: Vec<Spans>,
    /// Which columns of the last row's table go where; neighbours have the same table.
    columns: Option<(Arc<ChannelTable>, Vec<Wire>)>,
}

/// What is read of a device from an instant on.
fn cut(wanted: &Wanted, from: i64) -> Option<Span> {
    let (first, to) = wanted.extent()?;
    let from = from.max(first);
    (from < to).then_some((from, to))
}

/// A column of a batch and the target it is for.
#[derive(Clone, Copy)]
pub(crate) struct Wire {
    channel: u16,
    target: usize,
    interval_us: u64,
}

impl<'a> Reader<'a> {
    pub(super) async fn open(
        inner: &Inner,
        wanted: &'a Wanted,
        from: i64,
        level: Option<Level>,
    ) -> Result<Option<Self>, StoreError> {
        let Some((from, to)) = cut(wanted, from) else {
            return Ok(None);
        };
        let level = level.map_or(0, |level| level as i64);
        let tiers = Tiers::load(&inner.database, &wanted.device, (from, to), level).await?;
        Ok(Some(Self {
            asked: ((from, to), level),
            ..Self::new(wanted, tiers, None)
        }))
    }

    /// Only what had arrived by a time.
    pub(super) fn known(wanted: &'a Wanted, from: i64, known_at: Timestamp) -> Option<Self> {
        let (from, to) = cut(wanted, from)?;
        let tiers = Tiers::hot(from, to);
        Some(Self::new(wanted, tiers, Some(known_at)))
    }

    fn new(wanted: &'a Wanted, tiers: Tiers, known_at: Option<Timestamp>) -> Self {
        Self {
            wanted,
            tiers,
            asked: ((i64::MAX, i64::MIN), 0),
            known_at,
            rolled: vec![Spans::default(); wanted.targets.len()],
            columns: None,
        }
    }

    /// The rows that are read.
    pub(super) async fn fill(&self, feed: &mut Feed<'_>) -> Result<(), StoreError> {
        for stretch in self.tiers.hot.iter() {
            for stream in &self.wanted.streams {
                match self.known_at {
                    None => feed.add(stream, stretch, i64::MAX).await?,
                    Some(time) => feed.add_known(stream, stretch, time).await?,
                }
            }
        }
        let late = self.tiers.late.iter().map(|late| Beside {
            batch: late.batch,
            from_us: late.from,
            times: self.tiers.beside(late),
        });
        feed.add_late(
            self.wanted.device.project,
            &self.wanted.streams,
            late.filter(|late| !late.times.is_empty()).collect(),
        );
        Ok(())
    }

    /// The chunks that are read.
    pub(super) fn chunks(&self) -> impl Iterator<Item = Entry> + '_ {
        let cold: Vec<Spans> = (0..self.wanted.targets.len())
            .map(|target| self.unrolled(target, &self.tiers.cold))
            .collect();
        let is_read = move |chunk: &&Entry| {
            let touches = |cold: &Spans| cold.touches(chunk.from, chunk.to);
            cold.iter().any(touches)
        };
        self.tiers.chunks.iter().filter(is_read).copied()
    }

    /// Of some cold times those at which a target's points are read themselves.
    pub(super) fn unrolled(&self, target: usize, times: &Spans) -> Spans {
        let Some(wanted) = self.wanted.targets.get(target) else {
            return Spans::default();
        };
        let times = times.intersect(&wanted.times);
        match self.rolled.get(target) {
            Some(rolled) if !rolled.is_empty() => times.without(rolled),
            _ => times,
        }
    }

    /// Asks for the chunks and finer roll-ups that the rest of the cold times needs, where the map lacks them.
    pub(super) async fn complete(&mut self, inner: &Inner) -> Result<Swept, StoreError> {
        let rest = (0..self.wanted.targets.len())
            .filter_map(|target| self.unrolled(target, &self.tiers.cold).extent())
            .reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)));
        let Some(rest) = rest else {
            return Ok(Swept::Done);
        };
        let (range, level) = self.asked;
        let (database, device) = (&inner.database, &self.wanted.device);
        let completed = self.tiers.complete(database, device, range, level, rest);
        Ok(if completed.await? {
            Swept::Done
        } else {
            Swept::Moved
        })
    }

    pub(super) async fn chunk<V: Visitor + Send>(
        &mut self,
        inner: &Inner,
        entry: &Entry,
        feed: &mut Feed<'_>,
        visitors: &mut [V],
    ) -> Result<Swept, StoreError> {
        let times = self.tiers.cold.intersect(&Spans::one(entry.from, entry.to));
        let wanted = self.wanted;
        let chunk = match inner.open_cold(&wanted.device, Kind::Chunk, entry).await? {
            Read::Plain(plain) => Open::decode(plain),
            Read::Damaged => None,
            Read::Moved => return Ok(Swept::Moved),
        };
        let Some(chunk) = chunk else {
            // The rows that it was made from are read in its place; where they are gone, it says why.
            for stretch in times.iter() {
                for stream in &wanted.streams {
                    feed.add(stream, stretch, entry.built).await?;
                }
                let end = stretch.1.min(self.tiers.gone);
                if end <= stretch.0 {
                    continue;
                }
                let run = Run {
                    from: stretch.0,
                    to: end.saturating_sub(1),
                    interval_us: UNKNOWN,
                };
                for target in &wanted.targets {
                    tell(visitors, target.output, GapReason::Damaged, run);
                }
            }
            return Ok(Swept::Done);
        };
        for unread in chunk.unread() {
            self.unread(inner, unread, visitors).await?;
        }
        for (place, target) in wanted.targets.iter().enumerate() {
            let times = self.unrolled(place, &times);
            if let Some(visitor) = visitors.get_mut(target.output)
                && !times.is_empty()
            {
                chunk.visit(&target.channel, &times, visitor);
            }
        }
        Ok(Swept::Done)
    }

    /// A row that could not be read when a chunk was made.
    async fn unread<V: Visitor>(
        &self,
        inner: &Inner,
        unread: &Unread,
        visitors: &mut [V],
    ) -> Result<(), StoreError> {
        let mut streams = self.wanted.streams.iter();
        let stream = streams.find(|stream| stream.identity.id == unread.origin.stream);
        let Some(stream) = stream else {
            return Ok(());
        };
        let table = inner.table(stream, unread.origin.revision).await?;
        let run = Run {
            from: unread.from_us,
            to: unread.to_us,
            interval_us: UNKNOWN,
        };
        for target in &self.wanted.targets {
            let table = table.as_ref();
            if table.is_none_or(|table| table.channel(&target.channel).is_some()) {
                tell(visitors, target.output, unread.reason, run);
            }
        }
        Ok(())
    }

    pub(super) async fn row<V: Visitor>(
        &mut self,
        inner: &Inner,
        fed: Fed,
        visitors: &mut [V],
    ) -> Result<(), StoreError> {
        let Fed {
            stream,
            row,
            times,
            instead,
        } = fed;
        let whole = Run {
            from: row.from_us,
            to: row.to_us,
            interval_us: UNKNOWN,
        };
        let table = inner.table(&stream, row.revision).await?;
        let is_known = |table: &Arc<ChannelTable>| {
            let known_at = self.known_at;
            known_at.is_none_or(|known_at| table.received <= known_at)
        };
        let Some(table) = table.filter(is_known) else {
            for target in &self.wanted.targets {
                tell(visitors, target.output, GapReason::Held, whole);
            }
            return Ok(());
        };
        let mut wires = self.wires(&table);
        wires.retain(|wire| {
            let target = self.wanted.targets.get(wire.target);
            let end = row.to_us.saturating_add(1);
            target.is_some_and(|target| target.times.touches(row.from_us, end))
        });
        if wires.is_empty() {
            return Ok(());
        }
        let branch = row.branch;
        let timing = Timing::of(&inner.database, &stream, &row).await?;
        let Some(plain) = inner.open_batch(&stream, row).await? else {
            let targets = wires
                .iter()
                .filter_map(|wire| self.wanted.targets.get(wire.target));
            let mut outputs: Vec<usize> = targets.map(|target| target.output).collect();
            outputs.sort_unstable();
            outputs.dedup();
            for output in outputs {
                tell(visitors, output, GapReason::Damaged, whole);
            }
            return Ok(());
        };
        let shown = Shown {
            stream: &stream,
            branch,
            timing: &timing,
            times: &times,
            instead,
        };
        self.show(&shown, &wires, &plain, visitors);
        Ok(())
    }

    /// Gives the cells of a batch to who wants them.
    pub(crate) fn show<V: Visitor>(
        &self,
        shown: &Shown<'_>,
        wires: &[Wire],
        plain: &[u8],
        visitors: &mut [V],
    ) {
        // It was checked when it came and has authenticated since; a version that is gone would be a defect of ours.
        let Ok(batch) = Batch::decode(plain) else {
            return;
        };
        for column in batch.columns() {
            let channel = column.channel();
            let first = wires.partition_point(|wire| wire.channel < channel);
            let same = wires.iter().skip(first);
            for wire in same.take_while(|wire| wire.channel == channel) {
                let Some(target) = self.wanted.targets.get(wire.target) else {
                    continue;
                };
                let Some(visitor) = visitors.get_mut(target.output) else {
                    continue;
                };
                let times = if shown.instead {
                    self.unrolled(wire.target, shown.times)
                } else {
                    shown.times.intersect(&target.times)
                };
                shown.visit(&batch, column, (&times, wire.interval_us), visitor);
            }
        }
    }

    /// Which columns of a batch with this table go where, by channel.
    pub(crate) fn wires(&mut self, table: &Arc<ChannelTable>) -> Vec<Wire> {
        let targets = &self.wanted.targets;
        let known = self.columns.take();
        let known = known.filter(|(known, _)| Arc::ptr_eq(known, table));
        let (_, wires) = self.columns.insert(known.unwrap_or_else(|| {
            let mut wires: Vec<Wire> = targets
                .iter()
                .zip(0..)
                .filter_map(|(target, place)| {
                    let channel = table.channel(&target.channel)?;
                    Some(Wire {
                        channel: channel.index,
                        target: place,
                        interval_us: channel.interval_us,
                    })
                })
                .collect();
            wires.sort_by_key(|wire| wire.channel);
            (Arc::clone(table), wires)
        }));
        wires.clone()
    }
}

fn tell<V: Visitor>(visitors: &mut [V], output: usize, reason: GapReason, run: Run) {
    if let Some(visitor) = visitors.get_mut(output) {
        visitor.absent(reason, run);
    }
}

/// Where the cells of a batch belong, and which of them are read.
pub(crate) struct Shown<'a> {
    pub(crate) stream: &'a Stream,
    pub(crate) branch: u32,
    pub(crate) timing: &'a Timing,
    pub(crate) times: &'a Spans,
    /// They stand for a chunk's.
    pub(crate) instead: bool,
}

impl Shown<'_> {
    fn visit<V: Visitor>(
        &self,
        batch: &Batch<'_>,
        column: Column<'_>,
        (times, interval_us): (&Spans, u64),
        visitor: &mut V,
    ) {
        let channel = column.channel();
        for (record, time, cell) in column_cells(batch, column, interval_us, self.timing) {
            if !times.contains(time) {
                continue;
            }
            let Some(value) = cell.value else {
                let run = Run {
                    from: time,
                    to: time,
                    interval_us,
                };
                visitor.absent(reason(cell.reason), run);
                continue;
            };
            let key = Cursor {
                time,
                stream: self.stream.identity.id,
                branch: self.branch,
                record,
                channel,
                seen: time,
            };
            visitor.value(Found {
                key,
                value,
                flag: cell.flag,
                interval_us,
            });
        }
    }
}
