//! Steps of clocks that a person is asked about. A proposal changes and hides nothing until it is confirmed.
//!
//! Open proposals of a boot follow its judgement: what is judged otherwise when more arrived takes their place. What was
//! decided stays: records of a dismissed proposal are not asked about again, and what comes after a confirmed one is a
//! new question.

use fieldkeep_protocol::{Epoch, Timestamp};

use crate::error::StoreError;
use crate::judge::Suspicion;
use crate::restamp::{Act, ClockError, ClockNote, NOTE_OF_PROPOSAL, Restamped, Wish, note_subject};
use crate::settle::Boot;
use crate::sql::{Row, Value};
use crate::stamp::{Shift, StampCause};
use crate::store::{Inner, Origin, Store};
use crate::stream::Stream;

/// Two offsets nearer than this are one suspicion.
const SAME_US: u64 = 5_000_000;
/// Proposals that wait at once for one stream: a clock that steps more often is not to be set right one by one.
const MOST_OPEN: usize = 200;
/// Proposals that a list holds, newest first.
const LISTED: i64 = 200;

/// What became of a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposalState {
    /// Nobody has decided.
    Open,
    /// A person confirmed it: the records have other times.
    Confirmed,
    /// A person dismissed it: the records stay as they are.
    Dismissed,
}

/// A step of a clock, and what would set the times right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClockProposal {
    /// Its number in the instance.
    pub id: i64,
    /// The epoch of the records.
    pub epoch: Epoch,
    /// The first record.
    pub first: u64,
    /// The last record so far, inclusive.
    pub last: u64,
    /// What the device records from here on belongs to it too.
    pub open_end: bool,
    /// What would be added to their times.
    pub offset_us: i64,
    /// How far they could be off then.
    pub error_us: i64,
    /// The record before the step.
    pub since: u64,
    /// The record after the step.
    pub at: u64,
    /// What passed between the two by the device's clock.
    pub wall_us: i64,
    /// What passed between the two by its ticks.
    pub ticks_us: i64,
    /// The device itself said that its clock was stepped.
    pub declared: bool,
    /// When it was found.
    pub made: Timestamp,
    /// What became of it.
    pub state: ProposalState,
    /// When that was.
    pub decided: Option<Timestamp>,
    /// Who decided and why.
    pub note: Option<ClockNote>,
}

struct Known {
    id: i64,
    first: u64,
    last: u64,
    offset_us: i64,
    at: u64,
    state: i64,
}

impl Store {
    /// The newest proposals of a device, newest first.
    pub async fn clock_proposals(&self, origin: Origin) -> Result<Vec<ClockProposal>, StoreError> {
        let inner = &self.inner;
        let Some(project) = inner.projects.find(origin.project).await? else {
            return Ok(Vec::new());
        };
        let rows = inner
            .database
            .fetch_all(
                "SELECT proposal.id, stream.epoch, first, last, open_end, offset_us, error_us, since, at, wall_us, \
                   ticks_us, declared, made_us, state, decided_us, key_id, counter, note FROM proposal \
                 JOIN stream ON stream.id = proposal.stream \
                 WHERE proposal.project = $1 AND proposal.device = $2 ORDER BY proposal.id DESC LIMIT $3",
                &[
                    project.number.into(),
                    origin.device.as_bytes().into(),
                    LISTED.into(),
                ],
            )
            .await?;
        let mut list = Vec::with_capacity(rows.len());
        for row in rows {
            let epoch = Epoch(row.i64(1)?.cast_unsigned());
            let Some(stream) = inner.stream(origin, epoch).await? else {
                continue;
            };
            let note = inner
                .note(&stream, &row, 15, row.i64(0)?, NOTE_OF_PROPOSAL)
                .await?;
            list.push(ClockProposal {
                id: row.i64(0)?,
                epoch,
                first: row.i64(2)?.cast_unsigned(),
                last: row.i64(3)?.cast_unsigned(),
                open_end: row.bool(4)?,
                offset_us: row.i64(5)?,
                error_us: row.i64(6)?,
                since: row.i64(7)?.cast_unsigned(),
                at: row.i64(8)?.cast_unsigned(),
                wall_us: row.i64(9)?,
                ticks_us: row.i64(10)?,
                declared: row.bool(11)?,
                made: Timestamp::from_micros(row.i64(12)?),
                state: match row.i64(13)? {
                    OPEN => ProposalState::Open,
                    CONFIRMED => ProposalState::Confirmed,
                    _ => ProposalState::Dismissed,
                },
                decided: row.opt_i64(14)?.map(Timestamp::from_micros),
                note,
            });
        }
        Ok(list)
    }

    /// Decides a proposal; confirmed, its records have other times when this returns.
    ///
    /// # Errors
    /// What would be impossible is said, and the proposal stays open.
    pub async fn decide_clock_proposal(
        &self,
        origin: Origin,
        id: i64,
        confirmed: bool,
        note: &ClockNote,
        now: Timestamp,
    ) -> Result<Restamped, ClockError> {
        let inner = &self.inner;
        let project = inner.projects.find(origin.project).await?;
        let project = project.ok_or(ClockError::NoProposal)?;
        let row = inner
            .database
            .fetch_optional(
                "SELECT stream.epoch, branch, first, last, offset_us, error_us, state FROM proposal \
                 JOIN stream ON stream.id = proposal.stream \
                 WHERE proposal.project = $1 AND proposal.device = $2 AND proposal.id = $3",
                &[
                    project.number.into(),
                    origin.device.as_bytes().into(),
                    id.into(),
                ],
            )
            .await?
            .ok_or(ClockError::NoProposal)?;
        if row.i64(6)? != OPEN {
            return Err(ClockError::Decided);
        }
        let epoch = Epoch(row.i64(0)?.cast_unsigned());
        let stream = inner.stream(origin, epoch).await?;
        let stream = stream.ok_or(ClockError::NoProposal)?;
        let mut done = Restamped::default();
        if confirmed {
            let wish = Wish {
                batch: 0,
                first: row.i64(2)?.cast_unsigned(),
                last: row.i64(3)?.cast_unsigned(),
                shift: Shift {
                    offset_us: row.i64(4)?,
                    ..Shift::default()
                },
                error_us: Some(row.i64(5)?),
                cause: StampCause::Confirmed,
            };
            let wishes = inner.wishes(&stream, Some(row.i64(1)?), wish).await?;
            let act = Act {
                note: Some(note),
                now,
                automatic: false,
            };
            // Stamped first: if this ends here, deciding again stamps the same once more and ends it.
            done = inner.restamp_all(origin, &stream, &wishes, &act).await?;
        }
        let key = inner.keys.current(project, now).await?;
        let subject = note_subject(&stream, id, NOTE_OF_PROPOSAL);
        let sealed = key.seal(&subject, note.text().as_bytes())?;
        let state = if confirmed { CONFIRMED } else { DISMISSED };
        let touched = inner
            .database
            .execute(
                "UPDATE proposal SET state = $1, decided_us = $2, key_id = $3, counter = $4, note = $5 \
                 WHERE project = $6 AND id = $7 AND state = $8",
                &[
                    state.into(),
                    now.as_micros().into(),
                    sealed.key_id.into(),
                    sealed.counter.into(),
                    (&sealed.payload).into(),
                    project.number.into(),
                    id.into(),
                    OPEN.into(),
                ],
            )
            .await?;
        if touched == 0 {
            return Err(ClockError::Decided);
        }
        Ok(done)
    }
}

const OPEN: i64 = 0;
const CONFIRMED: i64 = 1;
const DISMISSED: i64 = 2;

impl Inner {
    /// Brings the open proposals of a boot in line with what is suspected now; answers how many are new.
    pub(crate) async fn propose(
        &self,
        stream: &Stream,
        branch: i64,
        (boot, is_over): (&Boot, bool),
        suspicions: &[Suspicion],
        now: Timestamp,
    ) -> Result<u64, StoreError> {
        let (Some(from), Some(to)) = (boot.seen.first(), boot.seen.last()) else {
            return Ok(0);
        };
        let (from, to) = (from.first, to.last);
        let identity = &stream.identity;
        let key: [Value<'_>; 3] = [
            identity.project.number.into(),
            identity.id.into(),
            branch.into(),
        ];
        let rows = self
            .database
            .fetch_all(
                "SELECT id, first, last, offset_us, at, state FROM proposal \
                 WHERE project = $1 AND stream = $2 AND branch = $3",
                &key,
            )
            .await?;
        let known: Vec<Known> = rows.iter().map(known).collect::<Result<_, _>>()?;
        let mut wanted: Vec<Suspicion> = suspicions
            .iter()
            .filter_map(|suspicion| undecided(*suspicion, &known))
            .collect();
        if wanted.is_empty() && known.iter().all(|old| old.state == DISMISSED) {
            return Ok(0);
        }
        let mut transaction = self.database.begin().await?;
        if is_over {
            transaction
                .execute(
                    "UPDATE proposal SET open_end = false WHERE project = $1 AND stream = $2 AND branch = $3 \
                       AND state = 1 AND open_end = true AND at <= $4",
                    &[key[0], key[1], key[2], to.cast_signed().into()],
                )
                .await?;
        }
        for old in known.iter().filter(|old| old.state == OPEN) {
            let is_here = from < old.at && old.at <= to;
            let same = wanted
                .iter()
                .position(|new| new.first == old.first && is_near(new.offset_us, old.offset_us));
            if let Some(position) = same {
                let new = wanted.remove(position);
                transaction
                    .execute(
                        "UPDATE proposal SET last = $1, open_end = $2 \
                         WHERE id = $3 AND state = 0 AND (last <> $1 OR open_end <> $2)",
                        &[
                            new.last.cast_signed().into(),
                            new.open_end.into(),
                            old.id.into(),
                        ],
                    )
                    .await?;
            } else if is_here {
                transaction
                    .execute(
                        "DELETE FROM proposal WHERE id = $1 AND state = 0",
                        &[old.id.into()],
                    )
                    .await?;
            }
        }
        let open = known.iter().filter(|old| old.state == OPEN).count();
        let room = MOST_OPEN.saturating_sub(open);
        if wanted.len() > room {
            tracing::warn!(
                device.id = %identity.device,
                left_out = wanted.len() - room,
                "too many steps of a clock wait for a decision"
            );
        }
        let mut made = 0;
        for new in wanted.into_iter().take(room) {
            made += transaction
                .execute(
                    "INSERT INTO proposal (project, device, stream, branch, first, last, open_end, offset_us, error_us, \
                       since, at, wall_us, ticks_us, declared, made_us, state) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, 0)",
                    &[
                        identity.project.number.into(),
                        identity.device.as_bytes().into(),
                        identity.id.into(),
                        branch.into(),
                        new.first.cast_signed().into(),
                        new.last.cast_signed().into(),
                        new.open_end.into(),
                        new.offset_us.into(),
                        new.error_us.into(),
                        new.since.cast_signed().into(),
                        new.at.cast_signed().into(),
                        new.wall_us.into(),
                        new.ticks_us.into(),
                        new.declared.into(),
                        now.as_micros().into(),
                    ],
                )
                .await?;
        }
        transaction.commit().await?;
        Ok(made)
    }

    /// The sealed note in three columns from `column` on, if there is one and it opens.
    pub(crate) async fn note(
        &self,
        stream: &Stream,
        row: &Row,
        column: usize,
        id: i64,
        of: u32,
    ) -> Result<Option<ClockNote>, StoreError> {
        let (Some(key_id), Some(counter)) = (row.opt_i64(column)?, row.opt_i64(column + 1)?) else {
            return Ok(None);
        };
        let subject = note_subject(stream, id, of);
        let payload = row.bytes(column + 2)?.to_vec();
        let key = self.keys.opening(stream.identity.project, key_id).await?;
        let plain = key.and_then(|key| key.open(&subject, counter, payload));
        if plain.is_none() {
            // Logged there; what was done stays known without it.
            let _ = subject.damaged();
        }
        Ok(plain.as_deref().and_then(ClockNote::parse))
    }
}

fn known(row: &Row) -> Result<Known, StoreError> {
    Ok(Known {
        id: row.i64(0)?,
        first: row.i64(1)?.cast_unsigned(),
        last: row.i64(2)?.cast_unsigned(),
        offset_us: row.i64(3)?,
        at: row.i64(4)?.cast_unsigned(),
        state: row.i64(5)?,
    })
}

/// What of a suspicion nobody has decided yet.
fn undecided(mut suspicion: Suspicion, known: &[Known]) -> Option<Suspicion> {
    for old in known {
        let touches = old.first <= suspicion.last && suspicion.first <= old.last;
        if old.state == OPEN || !touches || !is_near(old.offset_us, suspicion.offset_us) {
            continue;
        }
        if old.state == DISMISSED {
            return None;
        }
        if old.first > suspicion.first {
            // A hole before it was filled: the rest was confirmed, only the beginning is a question.
            suspicion.last = old.first.checked_sub(1)?;
            suspicion.open_end = false;
        } else {
            suspicion.first = old.last.checked_add(1)?;
        }
        if suspicion.first > suspicion.last {
            return None;
        }
    }
    Some(suspicion)
}

fn is_near(one: i64, other: i64) -> bool {
    one.abs_diff(other) <= SAME_US
}
