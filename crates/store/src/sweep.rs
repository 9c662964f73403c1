//! Reads what some outputs measured in a range of time: finds the rows and chunks, opens and decodes each once, and hands
//! every cell to the visitors of the outputs that want it.
//!
//! An output is what one answer is made of: an element, read from its sources. What is where, and why nothing comes
//! twice, is told in [`crate::tiers`]. A row that cannot be read is named in the log and reported as a gap, a chunk that
//! cannot be read as well, and the rows that it was made from are read in its place; neighbours are read as ever.

mod chunk;
mod reader;
mod rolled;

use std::collections::VecDeque;
use std::sync::Arc;

use fieldkeep_protocol::{DeviceId, Flag, ProjectId, Reason, Timestamp};

use crate::cipher::{Kind, Subject};
use crate::cold::Level;
use crate::devices::Device;
use crate::error::StoreError;
use crate::feed::{Feed, Stored};
use crate::gaps::{GapReason, Run};
use crate::scan::{Cursor, Found, Source, TimeRange};
use crate::spans::{Span, Spans};
use crate::store::{Inner, Origin};
use crate::stream::Stream;
use crate::tables::ChannelTable;
use crate::tiers::Entry;

pub(crate) use rolled::Rolled;

pub(crate) use reader::{Reader, Shown};

/// What to read: the outputs' sources by device, cut to the range.
pub(crate) struct Plan {
    pub(crate) devices: Vec<Wanted>,
    /// For each output from its first source's beginning to its last one's end, within the range.
    pub(crate) extents: Vec<(i64, i64)>,
}

/// What to read of one device.
pub(crate) struct Wanted {
    pub(crate) device: Arc<Device>,
    pub(crate) streams: Vec<Arc<Stream>>,
    pub(crate) targets: Vec<Target>,
}

impl Wanted {
    /// The first instant that is read, and the end.
    pub(crate) fn extent(&self) -> Option<Span> {
        let extents = self
            .targets
            .iter()
            .filter_map(|target| target.times.extent());
        extents.reduce(|all, one| (all.0.min(one.0), all.1.max(one.1)))
    }
}

/// A channel that an output is read from.
pub(crate) struct Target {
    pub(crate) output: usize,
    pub(crate) channel: String,
    pub(crate) times: Spans,
}

/// Gets what a sweep finds for one output.
pub(crate) trait Visitor {
    /// What comes next begins here, and so does all after it, or later; `false` ends the sweep.
    fn goes_on(&mut self, from_us: i64) -> bool;
    /// A value.
    fn value(&mut self, found: Found);
    /// Something is stored, but no value.
    fn absent(&mut self, reason: GapReason, run: Run);
    /// Whether values of a chunk from this instant on can matter.
    fn wants(&mut self, _from_us: i64) -> bool {
        true
    }
    /// Values of consecutive records of a chunk.
    fn values(&mut self, values: &Stretch<'_>) {
        values.each().for_each(|found| self.value(found));
    }
}

/// Values of consecutive records, by time, and with equal flags.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Stretch<'a> {
    /// The place of the first one.
    pub(crate) first: Cursor,
    pub(crate) flag: Flag,
    pub(crate) interval_us: u64,
    /// One for each value.
    pub(crate) times: &'a [i64],
    pub(crate) values: &'a [f64],
}

impl<'a> Stretch<'a> {
    /// The values one by one.
    pub(crate) fn each(&self) -> impl Iterator<Item = Found> + use<'a> {
        let Self {
            first,
            flag,
            interval_us,
            times,
            values,
        } = *self;
        times
            .iter()
            .zip(values)
            .zip(first.record..)
            .map(move |((time, value), record)| Found {
                key: Cursor {
                    time: *time,
                    record,
                    seen: *time,
                    ..first
                },
                value: *value,
                flag,
                interval_us,
            })
    }
}

/// How a sweep ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Swept {
    /// Everything was visited, or a visitor had enough.
    Done,
    /// A worker replaced a chunk meanwhile: what was visited is void, and the read begins anew.
    Moved,
}

impl Plan {
    pub(crate) async fn new(
        inner: &Inner,
        project: ProjectId,
        outputs: &[&[Source]],
        range: TimeRange,
    ) -> Result<Self, StoreError> {
        let (begin, end) = (range.from.as_micros(), range.to.as_micros());
        let mut plan = Self {
            devices: Vec::new(),
            extents: Vec::with_capacity(outputs.len()),
        };
        for (output, sources) in outputs.iter().enumerate() {
            let mut extent = (end, begin);
            for source in *sources {
                let from = source.from.as_micros().max(begin);
                let to = source.to.map_or(end, |to| to.as_micros().min(end));
                if from >= to {
                    continue;
                }
                extent = (extent.0.min(from), extent.1.max(to));
                plan.add(inner, project, output, source, Spans::one(from, to))
                    .await?;
            }
            plan.extents.push((extent.0.min(extent.1), extent.1));
        }
        Ok(plan)
    }

    async fn add(
        &mut self,
        inner: &Inner,
        project: ProjectId,
        output: usize,
        source: &Source,
        times: Spans,
    ) -> Result<(), StoreError> {
        let id: DeviceId = source.device;
        let known = self
            .devices
            .iter()
            .position(|wanted| wanted.device.id == id);
        let place = match known {
            Some(place) => place,
            None => {
                let origin = Origin {
                    project,
                    device: id,
                };
                let Some(device) = inner.find_device(origin).await? else {
                    return Ok(());
                };
                self.devices.push(Wanted {
                    streams: device.streams(&inner.database).await?,
                    device,
                    targets: Vec::new(),
                });
                self.devices.len() - 1
            }
        };
        let Some(wanted) = self.devices.get_mut(place) else {
            return Ok(());
        };
        let same =
            |target: &&mut Target| target.output == output && target.channel == source.channel;
        match wanted.targets.iter_mut().find(same) {
            Some(target) => target.times = target.times.union(&times),
            None => wanted.targets.push(Target {
                output,
                channel: source.channel.clone(),
                times,
            }),
        }
        Ok(())
    }

    /// The extent of an output.
    pub(crate) fn extent(&self, output: usize) -> (i64, i64) {
        self.extents.get(output).copied().unwrap_or_default()
    }

    /// The nominal interval where no value of an output says one: from the newest table that knows its first source.
    pub(crate) async fn interval(&self, inner: &Inner, output: usize) -> Result<u64, StoreError> {
        for wanted in &self.devices {
            let mut targets = wanted.targets.iter();
            if targets.all(|target| target.output != output) {
                continue;
            }
            for stream in wanted.streams.iter().rev() {
                let revisions: Vec<u32> = {
                    let state = stream.state(&inner.database).await?;
                    state.revisions.iter().rev().copied().collect()
                };
                for revision in revisions {
                    let Some(table) = inner.table(stream, revision).await? else {
                        continue;
                    };
                    let channel = wanted
                        .targets
                        .iter()
                        .filter(|target| target.output == output)
                        .find_map(|target| table.channel(&target.channel));
                    if let Some(channel) = channel {
                        return Ok(channel.interval_us);
                    }
                }
            }
        }
        Ok(0)
    }
}

/// Where a whole row explains a gap, its interval is that of the values around it.
pub(crate) const UNKNOWN: u64 = 1;

/// One pass over a plan: what is where was read as of one instant for each device.
pub(crate) struct Sweep<'a> {
    inner: &'a Inner,
    readers: Vec<Reader<'a>>,
}

impl<'a> Sweep<'a> {
    /// A pass over everything from `from` on, with the roll-ups up to a level.
    pub(crate) async fn open(
        inner: &'a Inner,
        plan: &'a Plan,
        from: i64,
        level: Option<Level>,
    ) -> Result<Self, StoreError> {
        let mut readers = Vec::with_capacity(plan.devices.len());
        for wanted in &plan.devices {
            readers.extend(Reader::open(inner, wanted, from, level).await?);
        }
        Ok(Self { inner, readers })
    }

    /// A pass over the hot rows alone that had arrived by a time, with the channel tables of then.
    pub(crate) fn known(inner: &'a Inner, plan: &'a Plan, from: i64, known_at: Timestamp) -> Self {
        let devices = plan.devices.iter();
        let readers = devices.filter_map(|wanted| Reader::known(wanted, from, known_at));
        Self {
            inner,
            readers: readers.collect(),
        }
    }

    /// Gives what roll-ups say; the points behind it are left out of [`Sweep::run`]. There is one visitor for each output.
    pub(crate) async fn roll<V: Rolled + Send>(
        &mut self,
        plan: &Plan,
        visitors: &mut [V],
    ) -> Result<Swept, StoreError> {
        for reader in &mut self.readers {
            if reader.roll(self.inner, plan, visitors).await? == Swept::Moved {
                return Ok(Swept::Moved);
            }
        }
        Ok(Swept::Done)
    }

    /// Visits everything else, by time. There is one visitor for each output.
    pub(crate) async fn run<V: Visitor + Send>(
        mut self,
        visitors: &mut [V],
    ) -> Result<Swept, StoreError> {
        let mut feed = Feed::new(&self.inner.database);
        let mut chunks = Vec::new();
        for (place, reader) in self.readers.iter_mut().enumerate() {
            reader.stamped(self.inner, visitors).await?;
            reader.fill(&mut feed).await?;
            chunks.extend(reader.chunks().map(|chunk| (chunk, place)));
        }
        chunks.sort_by_key(|(chunk, _)| chunk.from);
        let mut chunks: VecDeque<(Entry, usize)> = chunks.into();
        loop {
            let row = feed.peek().await?;
            let chunk = chunks.front().map(|(chunk, _)| chunk.from);
            let Some(begin) = row.into_iter().chain(chunk).min() else {
                return Ok(Swept::Done);
            };
            let mut goes_on = false;
            for visitor in &mut *visitors {
                goes_on |= visitor.goes_on(begin);
            }
            if !goes_on {
                return Ok(Swept::Done);
            }
            if chunk == Some(begin) {
                let Some((chunk, place)) = chunks.pop_front() else {
                    continue;
                };
                let Some(reader) = self.readers.get_mut(place) else {
                    continue;
                };
                let read = reader.chunk(self.inner, &chunk, &mut feed, visitors);
                if read.await? == Swept::Moved {
                    return Ok(Swept::Moved);
                }
            } else if let Some(fed) = feed.next().await? {
                let device = fed.stream.identity.device;
                let mut readers = self.readers.iter_mut();
                if let Some(reader) = readers.find(|reader| reader.wanted.device.id == device) {
                    reader.row(self.inner, fed, visitors).await?;
                }
            }
        }
    }
}

impl Inner {
    /// The table that explains a revision of a stream, if it is there and whole.
    pub(crate) async fn table(
        &self,
        stream: &Stream,
        revision: u32,
    ) -> Result<Option<Arc<ChannelTable>>, StoreError> {
        let known = stream
            .state(&self.database)
            .await?
            .revisions
            .contains(&revision);
        if !known {
            return Ok(None);
        }
        self.tables
            .table(&self.database, &self.keys, &stream.identity, revision)
            .await
    }

    /// The batch as the device sent it; `None`, and a line in the log, if the row is damaged.
    pub(crate) async fn open_batch(
        &self,
        stream: &Stream,
        row: Stored,
    ) -> Result<Option<Vec<u8>>, StoreError> {
        let identity = &stream.identity;
        let subject = Subject {
            project: identity.project.id,
            kind: Kind::Batch,
            device: identity.device,
            epoch: identity.epoch.0,
            first: row.first,
            count: row.count,
            branch: row.branch,
        };
        let key = self.keys.opening(identity.project, row.key_id).await?;
        let plain = key.and_then(|key| key.open(&subject, row.counter, row.payload));
        if plain.is_none() {
            // Logged there; the caller goes on with the neighbours.
            let _ = subject.damaged();
        }
        Ok(plain)
    }
}

pub(crate) fn reason(reason: Reason) -> GapReason {
    match reason {
        Reason::SensorError => GapReason::SensorError,
        Reason::Dropped => GapReason::Dropped,
        Reason::NotSampled | Reason::None => GapReason::NotSampled,
    }
}
