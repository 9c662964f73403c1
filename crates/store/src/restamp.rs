//! Gives batches other times: by judgement, or because a person says so.
//!
//! One transaction changes the rows, keeps the stamps with who and why, marks the old and the new extent dirty and enters
//! the change. Promises that payloads stay as sent, that nothing becomes readable with times that cannot be true, and
//! that a judgement never overrules a person.

use std::sync::Arc;

use fieldkeep_protocol::batch::Batch;
use fieldkeep_protocol::{ClockQuality, Epoch, Timestamp, limits};

use crate::append::{AHEAD_US, EARLIEST_US};
use crate::changes::{Cause, record_change};
use crate::cipher::{Kind, Sealed, Subject};
use crate::days::{self, day_of};
use crate::error::StoreError;
use crate::feed::Stored;
use crate::sql::{SqlError, Transaction};
use crate::stamp::{Shift, Stamp, StampCause, Timing, extent, overlap};
use crate::store::{Inner, Origin, Store};
use crate::stream::{Stream, Times};

/// Batches of one transaction.
const PAGE: usize = 256;
/// Batches that one act of a person may give other times.
pub const MOST_STAMPED: usize = if cfg!(test) { 600 } else { 20_000 };
/// How often an act begins again because another came between.
const TRIES: usize = 8;
/// `dirty.cause` of a stamp.
const DIRTY_STAMP: i64 = 3;

/// Records that a person gives other times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restamp {
    /// Their epoch.
    pub epoch: Epoch,
    /// The first record.
    pub first: u64,
    /// The last record, inclusive.
    pub last: u64,
    /// How their times are set right; `None`: they are right as sent.
    pub correction: Option<ClockCorrection>,
}

/// How times are set right: sent + offset, and what the clock was slow since an anchor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockCorrection {
    /// Added to the times as sent.
    pub offset_us: i64,
    /// A corrected time at which the drift is nothing, and nanoseconds lost a second since.
    pub drift: Option<(Timestamp, i64)>,
    /// How far the corrected times may be off; `None`: nothing bounds it.
    pub error_us: Option<i64>,
}

/// Who acts, and why. Both are kept sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockNote {
    /// The actor.
    pub actor: String,
    /// The reason in their words.
    pub reason: String,
}

impl ClockNote {
    pub(crate) fn text(&self) -> String {
        format!("{}\n{}", self.actor, self.reason)
    }

    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let (actor, reason) = std::str::from_utf8(text).ok()?.split_once('\n')?;
        Some(Self {
            actor: actor.to_owned(),
            reason: reason.to_owned(),
        })
    }
}

/// What got other times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Restamped {
    /// How many batches.
    pub batches: u64,
    /// Their earliest time now.
    pub from: Option<Timestamp>,
    /// Their latest time now.
    pub to: Option<Timestamp>,
}

/// Why times are not changed.
#[derive(Debug, thiserror::Error)]
pub enum ClockError {
    /// No stored record is in the range.
    #[error("no stored record is in this range")]
    NoRecords,
    /// The range holds more batches than one act may change.
    #[error("the range holds more than {MOST_STAMPED} batches: take a part of it")]
    TooMany,
    /// The times would be before 2000 or more than a day ahead.
    #[error("record {record} would be before 2000 or more than a day ahead of now")]
    Impossible {
        /// The first record of the batch that it is about.
        record: u64,
    },
    /// Some records of a batch whose clock was unset are left out.
    #[error(
        "records {first} to {last} were taken with one unset clock and get their times together"
    )]
    Partly {
        /// The batch's first record.
        first: u64,
        /// Its last record, inclusive.
        last: u64,
    },
    /// There is no such proposal of this device.
    #[error("there is no such proposal")]
    NoProposal,
    /// Somebody has decided it already.
    #[error("the proposal has been decided already")]
    Decided,
    /// Others changed the same records again and again meanwhile.
    #[error("the records are being changed by others: try again")]
    Raced,
    /// The store failed.
    #[error("the measurement store failed")]
    Store(#[from] StoreError),
}

impl From<SqlError> for ClockError {
    fn from(error: SqlError) -> Self {
        Self::Store(error.into())
    }
}

/// A stamp that is to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    pub(crate) batch: i64,
    pub(crate) first: u64,
    /// Inclusive.
    pub(crate) last: u64,
    pub(crate) shift: Shift,
    pub(crate) error_us: Option<i64>,
    pub(crate) cause: StampCause,
}

/// On whose behalf.
pub(crate) struct Act<'a> {
    pub(crate) note: Option<&'a ClockNote>,
    pub(crate) now: Timestamp,
    /// A judgement: it gives way to what persons said, and leaves held what it cannot set right.
    pub(crate) automatic: bool,
}

struct Prepared {
    wish: Wish,
    previous: Option<i64>,
    was_held: bool,
    old: (i64, i64),
    new: (i64, i64),
}

impl Store {
    /// Gives records other times, or says that they are right as sent. Durable when this returns; a range of many batches
    /// becomes so in parts, and asking again goes on.
    ///
    /// # Errors
    /// What would be impossible is said before anything is changed.
    pub async fn restamp(
        &self,
        origin: Origin,
        wanted: &Restamp,
        note: &ClockNote,
        now: Timestamp,
    ) -> Result<Restamped, ClockError> {
        let inner = &self.inner;
        let stream = inner.stream(origin, wanted.epoch).await?;
        let stream = stream.ok_or(ClockError::NoRecords)?;
        let (shift, error_us, cause) = match wanted.correction {
            None => (Shift::default(), Some(0), StampCause::Released),
            Some(correction) => {
                let (anchor, drift_ppb) = correction.drift.unwrap_or_default();
                let shift = Shift {
                    offset_us: correction.offset_us,
                    anchor_us: anchor.as_micros(),
                    drift_ppb,
                    unstepped: false,
                };
                (shift, correction.error_us, StampCause::Person)
            }
        };
        let wish = Wish {
            batch: 0,
            first: wanted.first,
            last: wanted.last,
            shift,
            error_us,
            cause,
        };
        let wishes = inner.wishes(&stream, None, wish).await?;
        let act = Act {
            note: Some(note),
            now,
            automatic: false,
        };
        inner.restamp_all(origin, &stream, &wishes, &act).await
    }
}

impl Inner {
    /// The wish for each stored batch that has some of its records, of one branch or of all.
    pub(crate) async fn wishes(
        &self,
        stream: &Stream,
        branch: Option<i64>,
        wish: Wish,
    ) -> Result<Vec<Wish>, ClockError> {
        let longest = limits::BATCH_RECORDS as u64;
        let rows = self
            .database
            .fetch_all(
                "SELECT id, first, count FROM hot WHERE project = $1 AND stream = $2 AND first >= $3 AND first <= $4 \
                   AND first + count > $5 AND (branch = $6 OR $6 < 0) ORDER BY first, branch LIMIT $7",
                &[
                    stream.identity.project.number.into(),
                    stream.identity.id.into(),
                    clamped(wish.first.saturating_sub(longest)).into(),
                    clamped(wish.last).into(),
                    clamped(wish.first).into(),
                    branch.unwrap_or(-1).into(),
                    i64::try_from(MOST_STAMPED + 1).unwrap_or(i64::MAX).into(),
                ],
            )
            .await?;
        if rows.is_empty() {
            return Err(ClockError::NoRecords);
        }
        if rows.len() > MOST_STAMPED {
            return Err(ClockError::TooMany);
        }
        let mut wishes = Vec::with_capacity(rows.len());
        for row in rows {
            let range = fieldkeep_protocol::RecordRange {
                first: row.i64(1)?.cast_unsigned(),
                count: u32::try_from(row.i64(2)?).unwrap_or(u32::MAX),
            };
            if let Some((first, last)) = overlap(range, wish.first, wish.last) {
                wishes.push(Wish {
                    batch: row.i64(0)?,
                    first,
                    last,
                    ..wish
                });
            }
        }
        Ok(wishes)
    }

    /// Checks all wishes of a person, then makes them.
    pub(crate) async fn restamp_all(
        &self,
        origin: Origin,
        stream: &Arc<Stream>,
        wishes: &[Wish],
        act: &Act<'_>,
    ) -> Result<Restamped, ClockError> {
        for page in wishes.chunks(PAGE) {
            self.prepare(stream, page, act).await?;
        }
        self.stamp(origin, stream, wishes, act).await
    }

    /// Makes the wishes of a judgement; what a person said, and what is so already, is left out.
    pub(crate) async fn restamp(
        &self,
        origin: Origin,
        stream: &Arc<Stream>,
        wishes: &[Wish],
        act: &Act<'_>,
    ) -> Result<Restamped, StoreError> {
        match self.stamp(origin, stream, wishes, act).await {
            Ok(done) => Ok(done),
            Err(ClockError::Store(error)) => Err(error),
            // The next look at the boot does the rest.
            Err(_) => Ok(Restamped::default()),
        }
    }

    async fn stamp(
        &self,
        origin: Origin,
        stream: &Arc<Stream>,
        wishes: &[Wish],
        act: &Act<'_>,
    ) -> Result<Restamped, ClockError> {
        let mut done = Restamped::default();
        let mut name = None;
        for page in wishes.chunks(PAGE) {
            let mut tries = 0;
            let prepared = loop {
                let prepared = self.prepare(stream, page, act).await?;
                if prepared.is_empty() || self.commit(stream, &prepared, act, &mut name).await? {
                    break prepared;
                }
                tries += 1;
                if tries >= TRIES {
                    return Err(ClockError::Raced);
                }
            };
            let Some((from, to)) = union(prepared.iter().map(|one| one.new)) else {
                continue;
            };
            self.learn(origin, stream, &prepared, (from, to)).await?;
            done.batches += prepared.len() as u64;
            let earliest = done.from.map_or(from, |old| old.as_micros().min(from));
            let latest = done.to.map_or(to, |old| old.as_micros().max(to));
            done.from = Some(Timestamp::from_micros(earliest));
            done.to = Some(Timestamp::from_micros(latest));
        }
        Ok(done)
    }

    async fn prepare(
        &self,
        stream: &Stream,
        wishes: &[Wish],
        act: &Act<'_>,
    ) -> Result<Vec<Prepared>, ClockError> {
        let mut prepared = Vec::new();
        for wish in wishes {
            let row = self
                .database
                .fetch_optional(
                    "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id, held \
                     FROM batch WHERE project = $1 AND stream = $2 AND id = $3",
                    &[
                        stream.identity.project.number.into(),
                        stream.identity.id.into(),
                        wish.batch.into(),
                    ],
                )
                .await?;
            let Some(row) = row else { continue };
            let was_held = row.bool(11)?;
            let row = Stored::from_row(&row)?;
            let (previous, old) = (row.stamp, (row.from_us, row.to_us));
            let timing = Timing::of(&self.database, stream, &row).await?;
            let stamp = Stamp {
                first: wish.first,
                last: wish.last,
                shift: wish.shift,
                error_us: wish.error_us,
                cause: wish.cause,
            };
            if act.automatic
                && timing
                    .newest()
                    .is_some_and(|newest| *newest == stamp || !newest.cause.is_automatic())
            {
                continue;
            }
            // Damaged: logged there, and its neighbours get their times.
            let Some(plain) = self.open_batch(stream, row).await? else {
                continue;
            };
            let Ok(batch) = Batch::decode(&plain) else {
                continue;
            };
            let timing = timing.with(stamp);
            let header = batch.header();
            let (first, last) = (header.first, header.range().end().saturating_sub(1));
            if header.clock == ClockQuality::Unset
                && (first..=last).any(|record| timing.of_record(record).is_none())
            {
                return Err(ClockError::Partly { first, last });
            }
            let new = extent(&batch, &timing);
            let latest = act.now.as_micros().saturating_add(AHEAD_US);
            if new.0 < EARLIEST_US || new.1 > latest {
                if act.automatic {
                    continue;
                }
                return Err(ClockError::Impossible { record: first });
            }
            prepared.push(Prepared {
                wish: *wish,
                previous,
                was_held,
                old,
                new,
            });
        }
        Ok(prepared)
    }

    /// `false` if a row was changed by another meanwhile: nothing was done then.
    async fn commit(
        &self,
        stream: &Stream,
        prepared: &[Prepared],
        act: &Act<'_>,
        name: &mut Option<i64>,
    ) -> Result<bool, ClockError> {
        let identity = &stream.identity;
        let (project, now_us) = (identity.project.number, act.now.as_micros());
        // A new data key is durable by a transaction of its own.
        let key = self.keys.current(identity.project, act.now).await?;
        let mut transaction = self.database.begin().await?;
        let mut act_id = *name;
        let mut days = Vec::with_capacity(prepared.len());
        for one in prepared {
            let Wish {
                batch,
                first,
                last,
                shift,
                error_us,
                cause,
            } = one.wish;
            let rows = transaction
                .fetch_all(
                    "INSERT INTO stamp (project, stream, batch, first, last, offset_us, anchor_us, drift_ppb, unstepped, \
                       error_us, cause, act, previous, created_us) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) RETURNING id",
                    &[
                        project.into(),
                        identity.id.into(),
                        batch.into(),
                        clamped(first).into(),
                        clamped(last).into(),
                        shift.offset_us.into(),
                        shift.anchor_us.into(),
                        shift.drift_ppb.into(),
                        shift.unstepped.into(),
                        error_us.into(),
                        cause.code().into(),
                        act_id.unwrap_or_default().into(),
                        one.previous.into(),
                        now_us.into(),
                    ],
                )
                .await?;
            let id = rows.first().ok_or(StoreError::Closed)?.i64(0)?;
            if act_id.is_none() {
                act_id = Some(id);
                let note = match act.note {
                    Some(note) => {
                        let subject = note_subject(stream, id, NOTE_OF_STAMP);
                        Some(key.seal(&subject, note.text().as_bytes())?)
                    }
                    None => None,
                };
                name_act(&mut transaction, id, note.as_ref()).await?;
            }
            let touched = transaction
                .execute(
                    "UPDATE batch SET from_us = $1, span_us = $2, held = false, stamp = $3 \
                     WHERE project = $4 AND id = $5 AND coalesce(stamp, 0) = $6",
                    &[
                        one.new.0.into(),
                        one.new.1.saturating_sub(one.new.0).into(),
                        id.into(),
                        project.into(),
                        batch.into(),
                        one.previous.unwrap_or_default().into(),
                    ],
                )
                .await?;
            if touched == 0 {
                return Ok(false);
            }
            days.push((project, identity.id, day_of(false, one.new.0)));
        }
        days::list(&mut transaction, &days).await?;
        let old = union(
            prepared
                .iter()
                .filter(|one| !one.was_held)
                .map(|one| one.old),
        );
        let new = union(prepared.iter().map(|one| one.new));
        for (from, to) in [old, new].into_iter().flatten() {
            let range = (from, to.saturating_add(1));
            transaction
                .execute(
                    "INSERT INTO dirty (project, device, from_us, to_us, cause, batch, marked_us) \
                     VALUES ($1, $2, $3, $4, $5, NULL, $6)",
                    &[
                        project.into(),
                        identity.device.as_bytes().into(),
                        range.0.into(),
                        range.1.into(),
                        DIRTY_STAMP.into(),
                        now_us.into(),
                    ],
                )
                .await?;
            record_change(
                &mut transaction,
                identity.project,
                identity.device,
                range,
                Cause::Corrected,
                act.now,
            )
            .await?;
        }
        // Before it is durable: whoever sees the change finds the rows by it.
        if let (Some((from, to)), Some(mut state)) = (new, stream.loaded()) {
            let spans = prepared
                .iter()
                .map(|one| one.new.1.saturating_sub(one.new.0));
            let span = spans.max().unwrap_or_default();
            state.restamped(0, Times { from, to, span });
        }
        transaction.commit().await?;
        *name = act_id;
        Ok(true)
    }

    /// What memory has to know of new times.
    async fn learn(
        &self,
        origin: Origin,
        stream: &Stream,
        prepared: &[Prepared],
        (from, to): (i64, i64),
    ) -> Result<(), StoreError> {
        let readable = prepared.iter().filter(|one| one.was_held).count() as u64;
        let span = prepared
            .iter()
            .map(|one| one.new.1.saturating_sub(one.new.0))
            .max();
        if let Some(mut state) = stream.loaded() {
            state.restamped(
                readable,
                Times {
                    from,
                    to,
                    span: span.unwrap_or_default(),
                },
            );
        }
        if let Some(device) = self.find_device(origin).await? {
            device.newest.forget();
        }
        let old = prepared.iter().filter(|one| !one.was_held);
        let old = old.map(|one| one.old.1).max().unwrap_or(i64::MIN);
        self.moved(old, to).await
    }
}

pub(crate) const NOTE_OF_STAMP: u32 = 0;
pub(crate) const NOTE_OF_PROPOSAL: u32 = 1;

/// What a note belongs to: an act by the id of its first stamp, or a proposal.
pub(crate) fn note_subject(stream: &Stream, id: i64, of: u32) -> Subject {
    Subject {
        project: stream.identity.project.id,
        kind: Kind::Note,
        device: stream.identity.device,
        epoch: stream.identity.epoch.0,
        first: id.cast_unsigned(),
        count: 0,
        branch: of,
    }
}

async fn name_act(
    transaction: &mut Transaction,
    id: i64,
    note: Option<&Sealed>,
) -> Result<(), SqlError> {
    transaction
        .execute(
            "UPDATE stamp SET act = $1, key_id = $2, counter = $3, note = $4 WHERE id = $1",
            &[
                id.into(),
                note.map(|note| note.key_id).into(),
                note.map(|note| note.counter).into(),
                note.map(|note| &note.payload).into(),
            ],
        )
        .await?;
    Ok(())
}

/// Record numbers fit in the column as they are stored; a bound from outside need not.
fn clamped(record: u64) -> i64 {
    i64::try_from(record).unwrap_or(i64::MAX)
}

fn union(extents: impl Iterator<Item = (i64, i64)>) -> Option<(i64, i64)> {
    extents.reduce(|one, other| (one.0.min(other.0), one.1.max(other.1)))
}
