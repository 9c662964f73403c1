//! What there is to do for one device: first the stale windows, then the closed ones at the horizon, oldest first.
//!
//! Marks are read before the highest batch id, and this before any row: whatever a mark stands for is inside what is made
//! after it was read. A mark is deleted with the last of its windows; one without a batch shrinks with each of them.

use std::sync::Arc;

use fieldkeep_protocol::Timestamp;

use super::choose::{self, Standing};
use super::commit::{Before, Committed, Finished, Marks, Rolled};
use super::read::{self, Rows};
use super::{Length, Level, Rollup, Series, Window, fold};
use crate::cipher::{Kind, Subject};
use crate::devices::Device;
use crate::error::StoreError;
use crate::store::Inner;
use crate::stream::Stream;

/// How the work for a device ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing is left that could be done.
    Nothing,
    /// There is more, for which there was no room in this round.
    More,
}

/// One device's work.
pub(super) struct DeviceWork<'a> {
    inner: &'a Inner,
    device: &'a Arc<Device>,
    streams: Vec<Arc<Stream>>,
    holder: [u8; 16],
    now: Timestamp,
    room: usize,
    standing: Standing,
    /// No row above this id goes into what is made here.
    built: i64,
    marks: Vec<Mark>,
    pub(super) moved: usize,
    pub(super) renewed: usize,
}

/// A mark, and how far its windows are done.
struct Mark {
    id: i64,
    from: i64,
    at: i64,
    to: i64,
    batch: Option<i64>,
}

/// A window to be made.
#[derive(Clone, Copy)]
struct Target {
    window: Window,
    length: Length,
    moves: bool,
}

/// How a window's work ended.
enum Outcome {
    Done,
    Overtaken,
    TooMany,
}

/// What was made of a window's rows.
struct Made {
    chunk: Option<(Vec<u8>, i64)>,
    series: Vec<(Level, Vec<(String, Series)>)>,
}

impl<'a> DeviceWork<'a> {
    pub(super) async fn begin(
        inner: &'a Inner,
        device: &'a Arc<Device>,
        holder: [u8; 16],
        now: Timestamp,
        room: usize,
    ) -> Result<Self, StoreError> {
        let database = &inner.database;
        // The writer asks it of memory alone.
        device.horizon(database).await?;
        let standing = Standing::load(database, device).await?;
        let rows = database
            .fetch_all(
                "SELECT id, from_us, to_us, batch FROM dirty WHERE project = $1 AND device = $2 ORDER BY from_us, id",
                &[device.project.number.into(), device.id.as_bytes().into()],
            )
            .await?;
        let mut marks = Vec::with_capacity(rows.len());
        for row in rows {
            marks.push(Mark {
                id: row.i64(0)?,
                from: row.i64(1)?,
                at: row.i64(1)?,
                to: row.i64(2)?,
                batch: row.opt_i64(3)?,
            });
        }
        let built = database
            .fetch_optional("SELECT coalesce(max(id), 0) FROM batch", &[])
            .await?
            .map_or(Ok(0), |row| row.i64(0))?;
        let streams = device.streams(database).await?;
        for stream in &streams {
            // Memory learns of a commit only after it: rows up to that id may lie outside of what it knows.
            stream.widen_from_rows(database).await?;
        }
        Ok(Self {
            inner,
            device,
            streams,
            holder,
            now,
            room,
            standing,
            built,
            marks,
            moved: 0,
            renewed: 0,
        })
    }

    pub(super) async fn run(&mut self) -> Result<Ended, StoreError> {
        self.split_at_floor().await?;
        while let Some(target) = self.next_stale().await? {
            if self.renewed >= self.room {
                return Ok(Ended::More);
            }
            match self.make(target).await? {
                Outcome::Done => self.renewed += 1,
                Outcome::Overtaken => return Ok(Ended::More),
                // A window keeps its length; its marks keep their times hot.
                Outcome::TooMany => self.leave(target.window),
            }
        }
        self.finish_marks().await?;
        let mut below = None;
        while let Some(target) = self.next_closed(below).await? {
            if self.moved + self.renewed >= self.room {
                return Ok(Ended::More);
            }
            match self.make(target).await? {
                Outcome::Done => {
                    self.moved += 1;
                    self.standing.horizon = target.window.to;
                    below = None;
                }
                Outcome::Overtaken => return Ok(Ended::More),
                Outcome::TooMany => below = Some(target.length),
            }
        }
        Ok(Ended::Nothing)
    }

    /// Where hot rows are gone nothing is made again: of a mark that reaches over the end of what is gone, the part
    /// behind it gets a mark of its own.
    async fn split_at_floor(&mut self) -> Result<(), StoreError> {
        let floor = self.standing.floor;
        for mark in &mut self.marks {
            if mark.at >= floor || mark.to <= floor || mark.batch.is_some() {
                continue;
            }
            let mut transaction = self.inner.database.begin().await?;
            let rows = transaction
                .fetch_all(
                    "INSERT INTO dirty (project, device, from_us, to_us, cause, batch, marked_us) \
                     SELECT project, device, $2, to_us, cause, batch, marked_us FROM dirty WHERE id = $1 RETURNING id",
                    &[mark.id.into(), floor.into()],
                )
                .await?;
            transaction
                .execute(
                    "UPDATE dirty SET to_us = $2 WHERE id = $1",
                    &[mark.id.into(), floor.into()],
                )
                .await?;
            transaction.commit().await?;
            if let Some(row) = rows.first() {
                mark.id = row.i64(0)?;
                mark.from = floor;
                mark.at = floor;
            }
        }
        self.marks.retain(|mark| mark.at >= floor);
        Ok(())
    }

    /// The first stale window that is not done. Where nothing is, there is nothing to make: marks pass over it.
    async fn next_stale(&mut self) -> Result<Option<Target>, StoreError> {
        let database = &self.inner.database;
        loop {
            let horizon = self.standing.horizon;
            let open = self
                .marks
                .iter()
                .filter(|mark| mark.at < mark.to.min(horizon));
            let Some(mark) = open.min_by_key(|mark| mark.at) else {
                return Ok(None);
            };
            let rest = Window {
                from: mark.at,
                to: mark.to.min(horizon),
            };
            let chunk = choose::chunk(database, self.device, rest).await?;
            let hot = self.first_instant(rest).await?;
            let instant = match (chunk, hot) {
                (Some(chunk), hot) => hot
                    .unwrap_or(i64::MAX)
                    .min(chunk.window.from.max(rest.from)),
                (None, Some(hot)) => hot,
                (None, None) => {
                    let id = mark.id;
                    self.pass(id, rest.to);
                    continue;
                }
            };
            if let Some(known) = chunk.filter(|known| known.window.contains(instant)) {
                let inside = mark.batch.is_some_and(|batch| batch <= known.built);
                if inside || known.window.from < self.standing.floor {
                    let id = mark.id;
                    self.pass(id, known.window.to);
                    continue;
                }
                return Ok(Some(Target {
                    window: known.window,
                    length: known.length,
                    moves: false,
                }));
            }
            let chosen =
                choose::behind(self.inner, self.device, self.standing, instant, None).await?;
            let Some((length, window)) = chosen else {
                self.leave(Length::Hour.around(instant));
                continue;
            };
            return Ok(Some(Target {
                window,
                length,
                moves: false,
            }));
        }
    }

    /// Moves a mark on.
    fn pass(&mut self, id: i64, to: i64) {
        for mark in self.marks.iter_mut().filter(|mark| mark.id == id) {
            mark.at = to;
        }
    }

    /// Leaves the marks that touch a window for a later round: their times stay hot.
    fn leave(&mut self, window: Window) {
        self.marks
            .retain(|mark| mark.at >= window.to || mark.to <= window.from);
    }

    /// Deletes the marks that had nothing more to be made.
    async fn finish_marks(&mut self) -> Result<(), StoreError> {
        let horizon = self.standing.horizon;
        // Those that begin at the horizon or after it go with the window that they lie in.
        let done = self
            .marks
            .iter()
            .filter(|mark| mark.from < horizon && mark.to.min(horizon) <= mark.at);
        let done: Vec<i64> = done.map(|mark| mark.id).collect();
        if done.is_empty() {
            return Ok(());
        }
        let mut transaction = self.inner.database.begin().await?;
        for id in &done {
            transaction
                .execute("DELETE FROM dirty WHERE id = $1", &[(*id).into()])
                .await?;
        }
        transaction.commit().await?;
        self.marks.retain(|mark| !done.contains(&mark.id));
        Ok(())
    }

    /// The window at the horizon, if it is closed and there is something in it or after it.
    async fn next_closed(&self, below: Option<Length>) -> Result<Option<Target>, StoreError> {
        let now = self.now.as_micros();
        let settle = self.inner.settle_us;
        let rest = Window {
            from: self.standing.horizon.max(self.standing.floor),
            to: now.saturating_sub(settle),
        };
        let Some(first) = self.first_instant(rest).await? else {
            return Ok(None);
        };
        let chosen =
            choose::at_horizon(self.inner, self.device, self.standing, (first, now), below).await?;
        let Some((length, window)) = chosen else {
            tracing::warn!(
                project.id = %self.device.project.id, device.id = %self.device.id,
                "an hour holds more records than a chunk may have; they stay as they came"
            );
            return Ok(None);
        };
        let closed = window.to.saturating_add(settle) <= now;
        Ok(closed.then_some(Target {
            window,
            length,
            moves: true,
        }))
    }

    async fn first_instant(&self, window: Window) -> Result<Option<i64>, StoreError> {
        let mut first: Option<i64> = None;
        for stream in &self.streams {
            let instant =
                choose::first_instant(&self.inner.database, stream, window, self.built).await?;
            first = first.into_iter().chain(instant).min();
        }
        Ok(first)
    }

    /// Makes a window and puts it in its place.
    async fn make(&mut self, target: Target) -> Result<Outcome, StoreError> {
        let inner = self.inner;
        let window = target.window;
        // Before the rows: whoever replaces it after this is seen in the commit.
        let before = self.chunk_before(window).await?;
        if before.is_some_and(|(_, built)| built > self.built) {
            return Ok(Outcome::Overtaken);
        }
        let rows = read::read(inner, &self.streams, window, self.built).await?;
        let Rows::All(builder) = rows else {
            return Ok(Outcome::TooMany);
        };
        let made = on_the_side(move || {
            let sorted = builder.sort();
            let series = Level::ALL.map(|level| {
                let channels = sorted.channels.iter();
                let folded = channels.filter_map(|channel| {
                    Some((channel.name.clone(), fold(&sorted, channel, level, window)?))
                });
                (level, folded.collect())
            });
            let points = i64::try_from(sorted.points()).unwrap_or(i64::MAX);
            Made {
                chunk: (!sorted.is_empty()).then(|| (sorted.encode(), points)),
                series: series.into(),
            }
        })
        .await?;
        let key = inner.keys.current(self.device.project, self.now).await?;
        let chunk = match &made.chunk {
            None => None,
            Some((plain, points)) => {
                let subject = self.subject(Kind::Chunk, window.from, target.length as u32);
                Some((key.seal(&subject, plain)?, *points))
            }
        };
        let mut rollups = Vec::new();
        for (level, series) in made.series {
            let row = self.rollup(level, window, series).await?;
            rollups.extend(row);
        }
        let finished = Finished {
            device: self.device,
            holder: &self.holder,
            standing: self.standing,
            window,
            length: target.length,
            moves: target.moves,
            built: self.built,
            now_us: self.now.as_micros(),
            before: before.map(|(before, _)| before),
            chunk,
            rollups,
            marks: self.marks_of(target),
        };
        let done = finished.marks.done.clone();
        match finished.commit(&inner.database).await? {
            Committed::Overtaken => Ok(Outcome::Overtaken),
            Committed::Done => {
                self.marks.retain(|mark| !done.contains(&mark.id));
                for mark in &mut self.marks {
                    if mark.at < window.to {
                        mark.at = window.to;
                    }
                }
                Ok(Outcome::Done)
            }
        }
    }

    /// What becomes of the marks with this window. They are done up to its beginning, as windows come by time.
    fn marks_of(&self, target: Target) -> Marks {
        let window = target.window;
        let mut marks = Marks::default();
        for mark in self.marks.iter().filter(|mark| mark.at < window.to) {
            // From the horizon on times are hot, and a mark says nothing about them.
            let is_last = target.moves || mark.to.min(self.standing.horizon) <= window.to;
            if is_last {
                marks.done.push(mark.id);
            } else if mark.batch.is_none() && mark.to > window.from {
                marks.begun.push(mark.id);
            }
        }
        marks
    }

    /// The chunk that is there, and what it was built from.
    async fn chunk_before(&self, window: Window) -> Result<Option<(Before, i64)>, StoreError> {
        let database = &self.inner.database;
        let row = database
            .fetch_optional(
                "SELECT id, key_id, counter, built FROM chunk WHERE project = $1 AND device = $2 AND from_us = $3 \
                 ORDER BY id DESC LIMIT 1",
                &[
                    self.device.project.number.into(),
                    self.device.id.as_bytes().into(),
                    window.from.into(),
                ],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let id = row.i64(0)?;
        // Where its pages cannot be read, they cannot be freed.
        let payload = "SELECT payload FROM chunk WHERE id = $1";
        let payload = database.fetch_whole(payload, &[id.into()]).await;
        let before = Before {
            id,
            seal: (row.i64(1)?, row.i64(2)?),
            stays: payload.is_err(),
        };
        Ok(Some((before, row.i64(3)?)))
    }

    /// The row of a level with this window replaced; `None` where there is none and none is needed.
    async fn rollup(
        &self,
        level: Level,
        window: Window,
        series: Vec<(String, Series)>,
    ) -> Result<Option<Rolled>, StoreError> {
        let inner = self.inner;
        let whole = level.row(window.from);
        let stored = inner
            .database
            .fetch_optional(
                "SELECT id, built, key_id, counter FROM rollup \
                 WHERE project = $1 AND device = $2 AND level = $3 AND from_us = $4 ORDER BY id DESC LIMIT 1",
                &[
                    self.device.project.number.into(),
                    self.device.id.as_bytes().into(),
                    (level as i64).into(),
                    whole.from.into(),
                ],
            )
            .await?;
        if stored.is_none() && series.is_empty() {
            return Ok(None);
        }
        let mut before = None;
        let mut known = None;
        if let Some(row) = stored {
            let (id, built) = (row.i64(0)?, row.i64(1)?);
            let (key_id, counter) = (row.i64(2)?, row.i64(3)?);
            let payload = "SELECT payload FROM rollup WHERE id = $1";
            let payload = inner.database.fetch_whole(payload, &[id.into()]).await;
            before = Some(Before {
                id,
                seal: (key_id, counter),
                stays: payload.is_err(),
            });
            let subject = Subject {
                first: built.cast_unsigned(),
                ..self.subject(Kind::Rollup, whole.from, level as u32)
            };
            let opening = inner.keys.opening(self.device.project, key_id).await?;
            if let (Some(row), Some(key)) = (
                payload.ok().and_then(|rows| rows.into_iter().next()),
                opening,
            ) {
                let plain = key.open(&subject, counter, row.bytes(0)?.to_vec());
                known = plain.and_then(Rollup::decode);
            }
            if known.is_none() {
                // Logged there. What else it held is read from the chunks until it is made anew.
                let _ = subject.damaged();
                inner
                    .worker
                    .found_damaged(self.device, (whole.from, whole.to));
            }
        }
        let plain = on_the_side(move || {
            let plain = Rollup::replace(level, whole.from, known.as_ref(), window, series);
            let is_empty =
                Rollup::decode(plain.clone()).is_none_or(|row| row.channels().next().is_none());
            (!is_empty).then_some(plain)
        })
        .await?;
        if plain.is_none() && before.is_none() {
            return Ok(None);
        }
        let subject = self.subject(Kind::Rollup, whole.from, level as u32);
        let key = inner.keys.current(self.device.project, self.now).await?;
        let sealed = plain.map(|plain| key.seal(&subject, &plain)).transpose()?;
        Ok(Some(Rolled {
            level,
            window: whole,
            before,
            sealed,
        }))
    }

    fn subject(&self, kind: Kind, from: i64, count: u32) -> Subject {
        Subject {
            project: self.device.project.id,
            kind,
            device: self.device.id,
            epoch: from.cast_unsigned(),
            first: self.built.cast_unsigned(),
            count,
            branch: 0,
        }
    }
}

/// Runs what takes long where it does not hold up the executor.
async fn on_the_side<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| StoreError::Closed)
}
