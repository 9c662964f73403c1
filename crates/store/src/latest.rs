//! The newest points of a device's channels: kept in memory once they were asked for.
//!
//! A channel that somebody asked for is watched: each batch of the device brings its newest point along when it is
//! queued, and the writer enters it when the batch is durable. What cannot be followed exactly (a batch that was queued
//! before its channel was watched, a channel table that came late) empties the memory, and the rows are asked again.

mod removed;

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fieldkeep_protocol::ProjectId;
use fieldkeep_protocol::batch::Batch;

use crate::days::day;
use crate::devices::Device;
use crate::error::StoreError;
use crate::feed::Stored;
use crate::scan::{Cursor, Found, Point, Source};
use crate::stamp::{Timing, cells};
use crate::store::{Inner, Origin, Store};
use crate::stream::Stream;

/// Channels watched per device; a device has no more, but may rename them.
const WATCHED: usize = 512;
/// Rows of the first statement that looks for a newest point, and of later ones.
const ROWS: (i64, i64) = (2, 64);

/// The watched channels of one device.
#[derive(Default)]
pub(crate) struct Newest(Mutex<Watched>);

#[derive(Default)]
struct Watched {
    /// Counts the changes of the set of channels.
    version: u64,
    /// Counts batches that became durable.
    arrivals: u64,
    points: HashMap<String, Option<Found>>,
}

/// What a batch brings to the watched channels.
#[derive(Debug)]
pub(crate) struct News {
    version: u64,
    /// `None` where the batch cannot be read yet, or is held: it says nothing.
    points: Vec<(String, Found)>,
}

/// A state of the memory, to tell whether it is still the same.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moment(u64);

impl Newest {
    /// The point of a channel: `None` if it is not watched, `Some(None)` if it has no point.
    pub(crate) fn known(&self, channel: &str) -> Option<Option<Found>> {
        self.lock().points.get(channel).copied()
    }

    /// Now; to be taken before the rows are asked.
    pub(crate) fn moment(&self) -> Moment {
        Moment(self.lock().arrivals)
    }

    /// Begins to watch a channel with what the rows said, unless a batch became durable since `moment`.
    pub(crate) fn watch(&self, channel: &str, point: Option<Found>, moment: Moment) {
        let mut watched = self.lock();
        if watched.arrivals != moment.0 {
            return;
        }
        if watched.points.len() >= WATCHED {
            watched.points.clear();
        }
        watched.version += 1;
        watched.points.insert(channel.to_owned(), point);
    }

    /// Gathers what a batch brings: `newest` gives its newest point of a channel.
    pub(crate) fn news(&self, newest: impl Fn(&str) -> Option<Found>) -> News {
        let (version, channels): (u64, Vec<String>) = {
            let watched = self.lock();
            (watched.version, watched.points.keys().cloned().collect())
        };
        let points = channels
            .into_iter()
            .filter_map(|channel| newest(&channel).map(|point| (channel, point)))
            .collect();
        News { version, points }
    }

    /// Enters what a durable batch brought.
    pub(crate) fn apply(&self, news: News) {
        let mut watched = self.lock();
        watched.arrivals += 1;
        if news.version != watched.version {
            watched.points.clear();
            return;
        }
        for (channel, point) in news.points {
            if let Some(known) = watched.points.get_mut(&channel)
                && known.is_none_or(|known| known.key < point.key)
            {
                *known = Some(point);
            }
        }
    }

    /// Forgets everything.
    pub(crate) fn forget(&self) {
        let mut watched = self.lock();
        watched.version += 1;
        watched.arrivals += 1;
        watched.points.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store {
    /// The newest point of some sources.
    pub async fn latest(
        &self,
        project: ProjectId,
        sources: &[Source],
    ) -> Result<Option<Point>, StoreError> {
        let mut newest: Option<Found> = None;
        for source in sources {
            let found = self.inner.newest_of(project, source).await?;
            newest = later(newest, found);
        }
        Ok(newest.map(|found| found.point()))
    }
}

impl Inner {
    async fn newest_of(
        &self,
        project: ProjectId,
        source: &Source,
    ) -> Result<Option<Found>, StoreError> {
        let origin = Origin {
            project,
            device: source.device,
        };
        let Some(device) = self.find_device(origin).await? else {
            return Ok(None);
        };
        let (from, to) = (source.from.as_micros(), source.to.map(|to| to.as_micros()));
        let newest = match device.newest.known(&source.channel) {
            Some(newest) => newest,
            None => {
                let moment = device.newest.moment();
                let newest = self
                    .search(&device, &source.channel, (i64::MIN, i64::MAX))
                    .await?;
                device.newest.watch(&source.channel, newest, moment);
                newest
            }
        };
        match (newest, to) {
            (Some(found), Some(to)) if found.key.time >= to => {
                self.search(&device, &source.channel, (from, to)).await
            }
            (found, _) => Ok(found.filter(|found| found.key.time >= from)),
        }
    }

    /// The newest point with an instant in `window`, from the rows, and from chunks where rows are gone.
    async fn search(
        &self,
        device: &Device,
        channel: &str,
        window: (i64, i64),
    ) -> Result<Option<Found>, StoreError> {
        let mut newest = None;
        for stream in device.streams(&self.database).await? {
            let times = stream.state(&self.database).await?.times;
            let Some(times) = times else { continue };
            // Past rows that begin this long before the best point, none can hold a newer one.
            let is_past = |newest: &Option<Found>, from_us: i64| {
                let latest = from_us.saturating_add(times.span);
                latest < window.0 || newest.is_some_and(|newest| latest < newest.key.time)
            };
            let mut before = [window.1, i64::MIN, 0, 0, 0];
            let mut limit = ROWS.0;
            loop {
                let rows = self.rows_before(&stream, before, limit).await?;
                let is_last = (rows.len() as u64) < limit.cast_unsigned();
                let mut past = false;
                for row in rows {
                    before = row.place();
                    if is_past(&newest, row.from_us) {
                        past = true;
                        break;
                    }
                    let found = self.newest_in(&stream, row, channel, window).await?;
                    newest = later(newest, found);
                }
                if past || is_last {
                    break;
                }
                limit = ROWS.1;
            }
        }
        self.newest_removed(device, channel, window, newest).await
    }

    async fn rows_before(
        &self,
        stream: &Stream,
        before: [i64; 5],
        limit: i64,
    ) -> Result<Vec<Stored>, StoreError> {
        let [from_us, span_us, first, count, branch] = before;
        let rows = self
            .database
            .fetch_all(
                "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id FROM hot \
                 WHERE project = $1 AND stream = $2 AND day <= $9 AND held = false \
                   AND (from_us, span_us, first, count, branch) < ($3, $4, $5, $6, $7) \
                 ORDER BY day DESC, from_us DESC, span_us DESC, first DESC, count DESC, branch DESC LIMIT $8",
                &[
                    stream.identity.project.number.into(),
                    stream.identity.id.into(),
                    from_us.into(),
                    span_us.into(),
                    first.into(),
                    count.into(),
                    branch.into(),
                    limit.into(),
                    day(from_us).into(),
                ],
            )
            .await?;
        rows.iter().map(Stored::from_row).collect()
    }

    async fn newest_in(
        &self,
        stream: &Stream,
        row: Stored,
        channel: &str,
        window: (i64, i64),
    ) -> Result<Option<Found>, StoreError> {
        let branch = row.branch;
        let Some(table) = self.table(stream, row.revision).await? else {
            return Ok(None);
        };
        let Some(channel) = table.channel(channel) else {
            return Ok(None);
        };
        let timing = Timing::of(&self.database, stream, &row).await?;
        let Some(plain) = self.open_batch(stream, row).await? else {
            return Ok(None);
        };
        let place = Place {
            stream: stream.identity.id,
            branch,
            channel: channel.index,
            interval_us: channel.interval_us,
        };
        Ok(Batch::decode(&plain)
            .ok()
            .and_then(|batch| place.newest(&batch, &timing, window)))
    }
}

/// Where the values of a column belong.
#[derive(Clone, Copy)]
pub(crate) struct Place {
    pub(crate) stream: i64,
    pub(crate) branch: u32,
    pub(crate) channel: u16,
    pub(crate) interval_us: u64,
}

impl Place {
    /// The newest value of a batch in this column, with an instant in `window`.
    pub(crate) fn newest(
        self,
        batch: &Batch<'_>,
        timing: &Timing,
        window: (i64, i64),
    ) -> Option<Found> {
        cells(batch, self.channel, self.interval_us, timing)
            .filter(|(_, time, _)| *time >= window.0 && *time < window.1)
            .filter_map(|(record, time, cell)| {
                let key = Cursor {
                    time,
                    stream: self.stream,
                    branch: self.branch,
                    record,
                    channel: self.channel,
                    seen: time,
                };
                Some(Found {
                    key,
                    value: cell.value?,
                    flag: cell.flag,
                    interval_us: 0,
                })
            })
            .max_by_key(|found| found.key)
    }
}

fn later(one: Option<Found>, other: Option<Found>) -> Option<Found> {
    [one, other]
        .into_iter()
        .flatten()
        .max_by_key(|found| found.key)
}

#[cfg(test)]
mod tests {
    use fieldkeep_protocol::Flag;

    use super::{Found, Newest};
    use crate::scan::Cursor;

    fn found(time: i64) -> Found {
        let key = Cursor {
            time,
            stream: 1,
            branch: 0,
            record: 0,
            channel: 0,
            seen: time,
        };
        Found {
            key,
            value: 1.0,
            flag: Flag::Pass,
            interval_us: 0,
        }
    }

    fn time(newest: &Newest) -> Option<Option<i64>> {
        let known = newest.known("a")?;
        Some(known.map(|found| found.key.time))
    }

    #[test]
    fn a_watched_channel_follows_durable_batches_and_only_forward() {
        let newest = Newest::default();
        assert_eq!(time(&newest), None);
        newest.watch("a", None, newest.moment());
        assert_eq!(time(&newest), Some(None));
        for (arrives, expected) in [(5, 5), (3, 5), (9, 9)] {
            newest.apply(newest.news(|_| Some(found(arrives))));
            assert_eq!(time(&newest), Some(Some(expected)));
        }
        newest.apply(newest.news(|_| None));
        assert_eq!(time(&newest), Some(Some(9)));
    }

    #[test]
    fn what_became_durable_while_the_rows_were_asked_is_not_missed() {
        let newest = Newest::default();
        let moment = newest.moment();
        newest.apply(newest.news(|_| Some(found(5))));
        newest.watch("a", None, moment);
        assert_eq!(time(&newest), None);
    }

    #[test]
    fn what_was_queued_before_its_channel_was_watched_is_not_missed() {
        let newest = Newest::default();
        let news = newest.news(|_| Some(found(5)));
        newest.watch("a", None, newest.moment());
        newest.apply(news);
        assert_eq!(time(&newest), None);
    }
}
