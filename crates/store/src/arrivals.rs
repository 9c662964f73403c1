//! What arrived, in the order in which it became durable: the live tail, and where it goes on after a break.

use std::sync::Arc;

use fieldkeep_protocol::batch::Batch;
use fieldkeep_protocol::{DeviceId, Epoch, ProjectId, Timestamp};

use crate::error::StoreError;
use crate::feed::Stored;
use crate::scan::Point;
use crate::stamp::{Timing, cells};
use crate::store::{Inner, Origin, Store};
use crate::stream::Stream;

/// Rows read at a time.
const PAGE: usize = 64;
/// Points after which an answer ends with the batch that they are in: a batch of a few KiB may hold a million.
const MOST_POINTS: usize = 262_144;

/// A batch has become durable and can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Grows with every batch of the instance.
    pub sequence: i64,
    /// The project.
    pub project: ProjectId,
    /// The device.
    pub device: DeviceId,
    /// Its earliest time.
    pub from: Timestamp,
    /// Its latest time.
    pub to: Timestamp,
}

/// A batch that arrived, decoded.
#[derive(Clone, Debug, PartialEq)]
pub struct Arrived {
    /// Its place in the order of arrivals.
    pub sequence: i64,
    /// The device.
    pub device: DeviceId,
    /// Its channels that have values.
    pub channels: Vec<ArrivedChannel>,
}

/// The values of one channel of a batch.
#[derive(Clone, Debug, PartialEq)]
pub struct ArrivedChannel {
    /// The channel's name on the device.
    pub channel: String,
    /// The points, in the order of their records.
    pub points: Vec<Point>,
}

impl Store {
    /// At most `limit` batches of a project that arrived after `sequence`, oldest first; fewer where they are large. Held and damaged batches and
    /// those without a channel table are passed over; an empty answer means that there is nothing newer.
    pub async fn arrived_since(
        &self,
        project: ProjectId,
        sequence: i64,
        limit: usize,
    ) -> Result<Vec<Arrived>, StoreError> {
        let inner = &self.inner;
        let Some(known) = inner.projects.find(project).await? else {
            return Ok(Vec::new());
        };
        let mut arrived = Vec::new();
        let mut points = 0;
        let mut after = sequence;
        loop {
            // The plus keeps SQLite from collecting and sorting all rows of the project instead of going on from the id.
            let rows = inner
                .database
                .fetch_all(
                    "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, \
                       stamp, batch.id, device, epoch FROM batch JOIN stream ON stream.id = batch.stream \
                     WHERE batch.id > $1 AND +batch.project = $2 AND held = false ORDER BY batch.id LIMIT $3",
                    &[
                        after.into(),
                        known.number.into(),
                        i64::try_from(PAGE.min(limit)).unwrap_or(i64::MAX).into(),
                    ],
                )
                .await?;
            for row in &rows {
                after = row.i64(10)?;
                let device = DeviceId::from_bytes(row.array(11)?);
                let epoch = Epoch(row.i64(12)?.cast_unsigned());
                let Some(stream) = inner.stream(Origin { project, device }, epoch).await? else {
                    continue;
                };
                let channels = inner.decode(&stream, Stored::from_row(row)?).await?;
                if !channels.is_empty() {
                    points += channels.iter().map(|c| c.points.len()).sum::<usize>();
                    arrived.push(Arrived {
                        sequence: after,
                        device,
                        channels,
                    });
                }
                if arrived.len() >= limit || points >= MOST_POINTS {
                    return Ok(arrived);
                }
            }
            if rows.len() < PAGE.min(limit) {
                return Ok(arrived);
            }
        }
    }
}

impl Inner {
    /// The stream of a device's epoch, if anything of it is there.
    pub(crate) async fn stream(
        &self,
        origin: Origin,
        epoch: Epoch,
    ) -> Result<Option<Arc<Stream>>, StoreError> {
        match self.find_device(origin).await? {
            Some(device) => device.stream(&self.database, epoch).await,
            None => Ok(None),
        }
    }

    async fn decode(
        &self,
        stream: &Stream,
        row: Stored,
    ) -> Result<Vec<ArrivedChannel>, StoreError> {
        let Some(table) = self.table(stream, row.revision).await? else {
            return Ok(Vec::new());
        };
        let timing = Timing::of(&self.database, stream, &row).await?;
        let Some(plain) = self.open_batch(stream, row).await? else {
            return Ok(Vec::new());
        };
        // It was checked when it came and has authenticated since.
        let Ok(batch) = Batch::decode(&plain) else {
            return Ok(Vec::new());
        };
        let channels = table.channels.iter().map(|channel| ArrivedChannel {
            channel: channel.name.clone(),
            points: cells(&batch, channel.index, channel.interval_us, &timing)
                .filter_map(|(_, time, cell)| {
                    Some(Point {
                        time: Timestamp::from_micros(time),
                        value: cell.value?,
                        flag: cell.flag,
                    })
                })
                .collect(),
        });
        Ok(channels
            .filter(|channel| !channel.points.is_empty())
            .collect())
    }
}
