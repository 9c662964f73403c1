//! Puts a finished chunk and its roll-ups in the place of what was there, in one short transaction.
//!
//! What the result rests on is asked again inside the transaction: the lease, the horizon, the chunk and the roll-ups that
//! are replaced. If any of it has changed, nothing is written ([`Committed::Overtaken`]) and the work is done again. Killed at any statement, nothing of it has happened.

use super::choose::Standing;
use super::mark::Stale;
use super::{Length, Level, Window};
use crate::cipher::Sealed;
use crate::days::day;
use crate::devices::Device;
use crate::error::StoreError;
use crate::sql::{Database, Row, Transaction, Value};

/// What is to be committed.
pub(super) struct Finished<'a> {
    pub(super) device: &'a Device,
    pub(super) holder: &'a [u8; 16],
    /// As the work found it.
    pub(super) standing: Standing,
    pub(super) window: Window,
    pub(super) length: Length,
    /// The window lies at the horizon, which moves to its end.
    pub(super) moves: bool,
    pub(super) built: i64,
    pub(super) now_us: i64,
    /// The chunk that was there.
    pub(super) before: Option<Before>,
    /// The new chunk and its number of points; none where there is nothing in the window.
    pub(super) chunk: Option<(Sealed, i64)>,
    pub(super) rollups: Vec<Rolled>,
    pub(super) marks: Marks,
}

/// A row that is replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub(super) id: i64,
    /// Key and counter.
    pub(super) seal: (i64, i64),
    /// Its pages are damaged: it cannot be removed, and the newer one counts.
    pub(super) stays: bool,
}

/// A roll-up row that changes.
pub(super) struct Rolled {
    pub(super) level: Level,
    pub(super) window: Window,
    /// What was there.
    pub(super) before: Option<Before>,
    /// None where nothing is left in it.
    pub(super) sealed: Option<Sealed>,
}

/// What becomes of the marks that were read.
#[derive(Default)]
pub(super) struct Marks {
    /// Done with.
    pub(super) done: Vec<i64>,
    /// Done with up to the window's end.
    pub(super) begun: Vec<i64>,
}

/// How a commit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Committed {
    /// It is durable.
    Done,
    /// Something that the work rests on had changed; nothing was written.
    Overtaken,
}

impl Finished<'_> {
    pub(super) async fn commit(self, database: &Database) -> Result<Committed, StoreError> {
        let mut transaction = database.begin().await?;
        if !self.still_holds(&mut transaction).await? {
            return Ok(Committed::Overtaken);
        }
        self.put_chunk(&mut transaction).await?;
        for row in &self.rollups {
            self.put_rollup(&mut transaction, row).await?;
        }
        if self.moves {
            self.move_horizon(&mut transaction).await?;
        }
        for id in &self.marks.done {
            transaction
                .execute("DELETE FROM dirty WHERE id = $1", &[(*id).into()])
                .await?;
        }
        for id in &self.marks.begun {
            transaction
                .execute(
                    "UPDATE dirty SET from_us = $2 WHERE id = $1 AND from_us < $2",
                    &[(*id).into(), self.window.to.into()],
                )
                .await?;
        }
        transaction.commit().await?;
        Ok(Committed::Done)
    }

    fn place(&self) -> [Value<'_>; 2] {
        [
            self.device.project.number.into(),
            self.device.id.as_bytes().into(),
        ]
    }

    async fn still_holds(&self, transaction: &mut Transaction) -> Result<bool, StoreError> {
        let [project, device] = self.place();
        let row = transaction
            .fetch_optional(
                "SELECT (SELECT until_us FROM cold WHERE project = $1 AND device = $2), \
                   (SELECT until_us FROM evidence_gone WHERE project = $1 AND device = $2) \
                 FROM lease WHERE project = $1 AND device = $2 AND holder = $3",
                &[project, device, self.holder.into()],
            )
            .await?;
        let Some(row) = row else { return Ok(false) };
        let horizon = row.opt_i64(0)?.unwrap_or(i64::MIN);
        let floor = row.opt_i64(1)?.unwrap_or(i64::MIN);
        if horizon != self.standing.horizon || floor > self.window.from {
            return Ok(false);
        }
        let chunks = transaction
            .fetch_all(
                "SELECT from_us, to_us, key_id, counter, id FROM chunk \
                 WHERE project = $1 AND device = $2 AND from_us < $4 AND to_us > $3 ORDER BY from_us, id DESC",
                &[
                    project,
                    device,
                    self.window.from.into(),
                    self.window.to.into(),
                ],
            )
            .await?;
        let mut same = chunks.is_empty() == self.before.is_none();
        for (place, row) in chunks.iter().enumerate() {
            // Behind the first one stand those in whose place it was made.
            same &= (row.i64(0)?, row.i64(1)?) == (self.window.from, self.window.to);
            if place == 0 {
                same &= self.before.is_some_and(|before| before.is(row, [4, 2, 3]));
            }
        }
        if !same {
            return Ok(false);
        }
        for row in &self.rollups {
            let found = transaction
                .fetch_optional(
                    "SELECT key_id, counter, id FROM rollup \
                     WHERE project = $1 AND device = $2 AND level = $3 AND from_us = $4 ORDER BY id DESC LIMIT 1",
                    &[
                        project,
                        device,
                        (row.level as i64).into(),
                        row.window.from.into(),
                    ],
                )
                .await?;
            let same = match (found, row.before) {
                (None, None) => true,
                (Some(found), Some(before)) => before.is(&found, [2, 0, 1]),
                _ => false,
            };
            if !same {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn put_chunk(&self, transaction: &mut Transaction) -> Result<(), StoreError> {
        let [project, device] = self.place();
        if let Some(before) = self.before.filter(|before| !before.stays) {
            transaction
                .execute("DELETE FROM chunk WHERE id = $1", &[before.id.into()])
                .await?;
        }
        if let Some((sealed, points)) = &self.chunk {
            transaction
                .execute(
                    "INSERT INTO chunk (project, device, kind, from_us, to_us, built, points, key_id, counter, payload) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
                    &[
                        project,
                        device,
                        (self.length as i64).into(),
                        self.window.from.into(),
                        self.window.to.into(),
                        self.built.into(),
                        (*points).into(),
                        sealed.key_id.into(),
                        sealed.counter.into(),
                        (&sealed.payload).into(),
                    ],
                )
                .await?;
        }
        Ok(())
    }

    async fn put_rollup(
        &self,
        transaction: &mut Transaction,
        row: &Rolled,
    ) -> Result<(), StoreError> {
        let [project, device] = self.place();
        if let Some(before) = row.before.filter(|before| !before.stays) {
            transaction
                .execute("DELETE FROM rollup WHERE id = $1", &[before.id.into()])
                .await?;
        }
        let Some(sealed) = &row.sealed else {
            return Ok(());
        };
        transaction
            .execute(
                "INSERT INTO rollup (project, device, level, from_us, to_us, built, key_id, counter, payload) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                &[
                    project,
                    device,
                    (row.level as i64).into(),
                    row.window.from.into(),
                    row.window.to.into(),
                    self.built.into(),
                    sealed.key_id.into(),
                    sealed.counter.into(),
                    (&sealed.payload).into(),
                ],
            )
            .await?;
        Ok(())
    }

    /// Marks the rows that came while the chunk was made, and makes its times cold.
    async fn move_horizon(&self, transaction: &mut Transaction) -> Result<(), StoreError> {
        let [project, device] = self.place();
        let until = self.window.to;
        // Before the commit: a row that is written after it knows that it is late, and none is written meanwhile.
        self.device.raise_horizon(until);
        transaction
            .execute(
                "INSERT INTO dirty (project, device, from_us, to_us, cause, batch, marked_us) \
                 SELECT $1, $2, from_us, from_us + span_us + 1, $6, id, $7 FROM hot WHERE project = $1 \
                   AND stream IN (SELECT stream.id FROM stream WHERE stream.project = $1 AND stream.device = $2) \
                   AND day >= $8 AND day <= $9 AND held = false AND from_us >= $3 AND from_us < $4 AND id > $5",
                &[
                    project,
                    device,
                    self.standing.horizon.into(),
                    until.into(),
                    self.built.into(),
                    (Stale::Late as i64).into(),
                    self.now_us.into(),
                    day(self.standing.horizon).into(),
                    day(until).into(),
                ],
            )
            .await?;
        transaction
            .execute(
                "INSERT INTO cold (project, device, until_us) VALUES ($1, $2, $3) \
                 ON CONFLICT (project, device) DO UPDATE SET until_us = excluded.until_us",
                &[project, device, until.into()],
            )
            .await?;
        Ok(())
    }
}

impl Before {
    /// Whether a row with id, key and counter in these columns is this one.
    fn is(&self, row: &Row, [id, key, counter]: [usize; 3]) -> bool {
        let found = (row.i64(id), row.i64(key), row.i64(counter));
        matches!(found, (Ok(id), Ok(key), Ok(counter)) if id == self.id && (key, counter) == self.seal)
    }
}
