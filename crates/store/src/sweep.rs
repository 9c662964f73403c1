//! Reads what some sources measured in a range of time: finds the rows, opens and decodes each batch once, and hands
//! every cell to a visitor.
//!
//! A row that cannot be read is named in the log, counted and reported as a gap; its neighbours are read as ever.

use std::sync::Arc;

use fieldkeep_protocol::batch::Batch;
use fieldkeep_protocol::{DeviceId, ProjectId, Reason};

use crate::cipher::{Kind, Subject};
use crate::devices::Device;
use crate::error::StoreError;
use crate::feed::{Feed, Stored};
use crate::gaps::{GapReason, Run};
use crate::scan::{Cursor, Found, Source, TimeRange};
use crate::stamp::{Timing, cells};
use crate::store::{Inner, Origin};
use crate::stream::Stream;
use crate::tables::ChannelTable;

/// What to read: the sources by device, cut to the range.
pub(crate) struct Plan {
    pub(crate) devices: Vec<Wanted>,
    /// From the first source's beginning to the last one's end, within the range.
    pub(crate) from: i64,
    /// Exclusive.
    pub(crate) to: i64,
}

/// What to read of one device.
pub(crate) struct Wanted {
    pub(crate) device: Arc<Device>,
    pub(crate) streams: Vec<Arc<Stream>>,
    channels: Vec<(String, Vec<(i64, i64)>)>,
    /// The earliest instant that is read of it.
    pub(crate) from: i64,
    to: i64,
}

/// Gets what a sweep finds.
pub(crate) trait Visitor {
    /// A row comes that begins here, and so do all after it; `false` ends the sweep.
    fn goes_on(&mut self, from_us: i64) -> bool;
    /// A value.
    fn value(&mut self, found: Found);
    /// Something is stored, but no value.
    fn absent(&mut self, reason: GapReason, run: Run);
}

impl Plan {
    pub(crate) async fn new(
        inner: &Inner,
        project: ProjectId,
        sources: &[Source],
        range: TimeRange,
    ) -> Result<Self, StoreError> {
        let mut plan = Self {
            devices: Vec::new(),
            from: range.to.as_micros(),
            to: range.from.as_micros(),
        };
        for source in sources {
            let from = source.from.max(range.from).as_micros();
            let to = source
                .to
                .map_or(range.to, |to| to.min(range.to))
                .as_micros();
            if from >= to {
                continue;
            }
            plan.from = plan.from.min(from);
            plan.to = plan.to.max(to);
            plan.add(inner, project, source.device, &source.channel, (from, to))
                .await?;
        }
        plan.from = plan.from.min(plan.to);
        Ok(plan)
    }

    async fn add(
        &mut self,
        inner: &Inner,
        project: ProjectId,
        device: DeviceId,
        channel: &str,
        window: (i64, i64),
    ) -> Result<(), StoreError> {
        if !self.devices.iter().any(|wanted| wanted.device.id == device) {
            let Some(device) = inner.find_device(Origin { project, device }).await? else {
                return Ok(());
            };
            self.devices.push(Wanted {
                streams: device.streams(&inner.database).await?,
                device,
                channels: Vec::new(),
                from: window.0,
                to: window.1,
            });
        }
        if let Some(wanted) = self
            .devices
            .iter_mut()
            .find(|wanted| wanted.device.id == device)
        {
            wanted.from = wanted.from.min(window.0);
            wanted.to = wanted.to.max(window.1);
            match wanted.channels.iter_mut().find(|(name, _)| name == channel) {
                Some((_, windows)) => windows.push(window),
                None => wanted.channels.push((channel.to_owned(), vec![window])),
            }
        }
        Ok(())
    }

    /// Visits everything from `from` on; answers how many rows could not be opened.
    pub(crate) async fn sweep(
        &self,
        inner: &Inner,
        from: i64,
        visitor: &mut (impl Visitor + Send),
    ) -> Result<u64, StoreError> {
        let mut damaged = 0;
        // Collected: a lazy chain held over an await would keep callers' futures from being Send.
        let streams: Vec<_> = self
            .devices
            .iter()
            .flat_map(|wanted| wanted.streams.iter().map(Arc::clone))
            .collect();
        let mut feed = Feed::open(&inner.database, streams, from.max(self.from), self.to).await?;
        while let Some((stream, row)) = feed.next().await? {
            if !visitor.goes_on(row.from_us) {
                break;
            }
            let device = stream.identity.device;
            let Some(wanted) = self
                .devices
                .iter()
                .find(|wanted| wanted.device.id == device)
            else {
                continue;
            };
            let whole = Run {
                from: row.from_us,
                to: row.to_us,
                interval_us: UNKNOWN,
            };
            let Some(table) = inner.table(&stream, row.revision).await? else {
                visitor.absent(GapReason::Held, whole);
                continue;
            };
            if !wanted
                .channels
                .iter()
                .any(|(name, _)| table.channel(name).is_some())
            {
                continue;
            }
            let branch = row.branch;
            let timing = Timing::of(&inner.database, &stream, &row).await?;
            match inner.open_batch(&stream, row).await? {
                Some(plain) => wanted.visit(&stream, branch, (&table, &timing), &plain, visitor),
                None => {
                    damaged += 1;
                    visitor.absent(GapReason::Damaged, whole);
                }
            }
        }
        Ok(damaged)
    }

    /// The nominal interval where no value says one: from the newest table that knows the first source.
    pub(crate) async fn interval(&self, inner: &Inner) -> Result<u64, StoreError> {
        for wanted in &self.devices {
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
                        .channels
                        .iter()
                        .find_map(|(name, _)| table.channel(name));
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

impl Wanted {
    pub(crate) fn visit(
        &self,
        stream: &Stream,
        branch: u32,
        (table, timing): (&ChannelTable, &Timing),
        plain: &[u8],
        visitor: &mut impl Visitor,
    ) {
        // It was checked when it came and has authenticated since; a version that is gone would be a defect of ours.
        let Ok(batch) = Batch::decode(plain) else {
            return;
        };
        for (name, windows) in &self.channels {
            let Some(channel) = table.channel(name) else {
                continue;
            };
            let interval_us = channel.interval_us;
            for (record, time, cell) in cells(&batch, channel.index, interval_us, timing) {
                if !windows
                    .iter()
                    .any(|window| time >= window.0 && time < window.1)
                {
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
                    stream: stream.identity.id,
                    branch,
                    record,
                    channel: channel.index,
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

fn reason(reason: Reason) -> GapReason {
    match reason {
        Reason::SensorError => GapReason::SensorError,
        Reason::Dropped => GapReason::Dropped,
        Reason::NotSampled | Reason::None => GapReason::NotSampled,
    }
}
