//! One stream: the record numbers of a device in one epoch, as derived from its hot rows and what is kept of removed ones.
//!
//! What is durable and what is on its way to the disk, per branch; the widest batch and the outermost times, by which
//! reads find their rows; the last hashes, by which the next batch is linked. Loaded at first touch from an index alone.
//! When a commit fails the whole object is thrown away ([`Stream::break_with`]) and the rows are asked again, so nothing
//! here ever has to be undone.

use std::collections::{BTreeSet, VecDeque};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fieldkeep_protocol::batch::Batch;
use fieldkeep_protocol::{ClockQuality, DeviceId, Epoch, Timestamp};
use tokio::sync::{OnceCell, oneshot};

use crate::error::StoreError;
use crate::judge;
use crate::kept::{self, Print, print};
use crate::projects::Project;
use crate::ranges::RangeSet;
use crate::sql::{Database, SqlError};

/// Ends of the chain that the next batch may continue: live and resent batches may alternate.
const TAILS: usize = 4;

/// What a waiter gets to hear of its commit.
pub(crate) type Committed = Result<(), Arc<SqlError>>;

/// Who a stream belongs to and where its rows are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity {
    pub(crate) id: i64,
    pub(crate) project: Project,
    pub(crate) device: DeviceId,
    pub(crate) epoch: Epoch,
    pub(crate) first_seen: Timestamp,
}

/// A stream; its state is loaded when first asked for.
pub(crate) struct Stream {
    pub(crate) identity: Identity,
    /// Held while an arrival is judged and queued, so that arrivals are judged one after the other.
    pub(crate) gate: tokio::sync::Mutex<()>,
    /// The day under which a batch was listed last; only read and changed inside a write transaction.
    listed: AtomicI64,
    state: OnceCell<Mutex<State>>,
}

/// A batch on its way to the disk.
pub(crate) struct Pending {
    pub(crate) first: u64,
    pub(crate) branch: u32,
    pub(crate) hash: [u8; 32],
    pub(crate) waiters: Vec<oneshot::Sender<Committed>>,
}

/// What is known of a stream.
#[derive(Default)]
pub(crate) struct State {
    /// Set when a commit failed: this object is no longer the truth.
    pub(crate) broken: Option<Arc<SqlError>>,
    /// Numbers that are durable, whatever their branch.
    pub(crate) durable: RangeSet,
    /// Numbers that are durable or pending, per branch; within a branch no number is there twice.
    pub(crate) branches: Vec<RangeSet>,
    pub(crate) pending: Vec<Pending>,
    pub(crate) batches: u64,
    pub(crate) records: u64,
    pub(crate) times: Option<Times>,
    pub(crate) held: u64,
    /// Revisions whose channel table is stored.
    pub(crate) revisions: BTreeSet<u32>,
    /// The boot whose clock will be looked at: one mark is enough.
    pub(crate) marked: Option<(u32, u32)>,
    /// How many batches there were when its clock was looked at last.
    pub(crate) looked_at: Option<u64>,
    tails: VecDeque<Tail>,
}

/// Extent of the readable (not held) batches of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) from: i64,
    /// Inclusive.
    pub(crate) to: i64,
    /// The longest time from a batch's first to its last instant.
    pub(crate) span: i64,
}

struct Tail {
    next: u64,
    branch: u32,
    print: Print,
    /// Its clock, where it was set and has been seen.
    clock: Option<Base>,
}

/// A boot, and time minus ticks in it at so many ticks.
#[derive(Clone, Copy, Debug)]
struct Base {
    boot: u32,
    base: i64,
    ticks_us: u64,
}

/// Where an arrival stands among what is there.
pub(crate) enum Place {
    /// None of its numbers is there.
    Free,
    /// The same batch is on its way.
    Pending(oneshot::Receiver<Committed>),
    /// Some of its numbers are there.
    Taken,
}

impl Stream {
    pub(crate) fn new(identity: Identity) -> Self {
        Self {
            identity,
            gate: tokio::sync::Mutex::default(),
            listed: AtomicI64::new(i64::MIN),
            state: OnceCell::new(),
        }
    }

    /// The state, loaded now if this is the first touch.
    pub(crate) async fn state(
        &self,
        database: &Database,
    ) -> Result<MutexGuard<'_, State>, StoreError> {
        let state = self
            .state
            .get_or_try_init(|| async { self.load(database).await.map(Mutex::new) })
            .await?;
        Ok(state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The state, if it is loaded.
    pub(crate) fn loaded(&self) -> Option<MutexGuard<'_, State>> {
        Some(
            self.state
                .get()?
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }

    /// Whether the day is known to be listed as one of its days.
    pub(crate) fn lists(&self, day: i64) -> bool {
        self.listed.load(Ordering::Relaxed) == day
    }

    /// Remembers that a day is listed.
    pub(crate) fn listed(&self, day: i64) {
        self.listed.store(day, Ordering::Relaxed);
    }

    /// Forgets it: days were removed.
    pub(crate) fn unlisted(&self) {
        self.listed.store(i64::MIN, Ordering::Relaxed);
    }

    /// Tells everybody who waits that the commit failed, and that this object is void.
    pub(crate) fn break_with(&self, error: &Arc<SqlError>) {
        let Some(mut state) = self.loaded() else {
            return;
        };
        state.broken = Some(Arc::clone(error));
        for waiter in state.pending.drain(..).flat_map(|pending| pending.waiters) {
            // A caller that went away has no use for the answer.
            let _ = waiter.send(Err(Arc::clone(error)));
        }
    }

    /// Asks the rows again how far they reach: memory learns of a commit only after it.
    pub(crate) async fn widen_from_rows(&self, database: &Database) -> Result<(), StoreError> {
        let times = self.stored_times(database).await?;
        let mut state = self.state(database).await?;
        if let Some(times) = times {
            state.widen(times);
        }
        Ok(())
    }

    async fn stored_times(&self, database: &Database) -> Result<Option<Times>, StoreError> {
        let row = database
            .fetch_optional(
                "SELECT min(from_us), max(from_us + span_us), max(span_us) FROM hot \
                 WHERE project = $1 AND stream = $2 AND held = false",
                &[self.identity.project.number.into(), self.identity.id.into()],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let Some(from) = row.opt_i64(0)? else {
            return Ok(None);
        };
        Ok(Some(Times {
            from,
            to: row.i64(1)?,
            span: row.i64(2)?,
        }))
    }

    async fn load(&self, database: &Database) -> Result<State, StoreError> {
        let key = [self.identity.project.number.into(), self.identity.id.into()];
        let mut state = State::default();
        // In one statement with the removed ones, between two of which rows could be removed.
        // Within a branch no two batches overlap, so islands are runs in which each begins where one ended.
        let islands = database
            .fetch_all(
                "SELECT branch, min(first), max(first + count), count(*), sum(count), sum(held) FROM (\
                   SELECT branch, first, count, held, sum(starts) OVER (PARTITION BY branch ORDER BY first) AS island FROM (\
                     SELECT branch, first, count, CASE WHEN held THEN 1 ELSE 0 END AS held, \
                       CASE WHEN first = lag(first + count) OVER (PARTITION BY branch ORDER BY first) THEN 0 ELSE 1 END AS starts \
                     FROM hot WHERE project = $1 AND stream = $2) AS marked) AS numbered \
                 GROUP BY branch, island \
                 UNION ALL SELECT branch, first, last + 1, batches, records, 0 FROM kept_numbers \
                   WHERE project = $1 AND stream = $2 \
                 ORDER BY 1, 2",
                &key,
            )
            .await?;
        for row in islands {
            let branch = u32::try_from(row.i64(0)?).unwrap_or(u32::MAX);
            let (first, end) = (row.i64(1)?.cast_unsigned(), row.i64(2)?.cast_unsigned());
            state.take(branch, first, end.saturating_sub(first));
            state.durable.insert(first, end.saturating_sub(first));
            state.batches += row.i64(3)?.cast_unsigned();
            state.records += row.i64(4)?.cast_unsigned();
            state.held += row.i64(5)?.cast_unsigned();
        }
        state.times = self.stored_times(database).await?;
        let tails = database
            .fetch_all(
                "SELECT first + count, branch, hash FROM batch WHERE id IN (\
                   SELECT id FROM hot WHERE project = $1 AND stream = $2 ORDER BY first DESC, branch DESC LIMIT 4)",
                &key,
            )
            .await?;
        for row in tails {
            state.tails.push_back(Tail {
                next: row.i64(0)?.cast_unsigned(),
                branch: u32::try_from(row.i64(1)?).unwrap_or(u32::MAX),
                print: print(row.bytes(2)?),
                clock: None,
            });
        }
        for (next, branch, print) in kept::ends(database, &self.identity, TAILS).await? {
            state.tails.push_back(Tail {
                next,
                branch,
                print,
                clock: None,
            });
        }
        let tails = state.tails.make_contiguous();
        tails.sort_by_key(|tail| std::cmp::Reverse((tail.next, tail.branch)));
        state.tails.truncate(TAILS);
        let revisions = database
            .fetch_all(
                "SELECT DISTINCT revision FROM channels WHERE project = $1 AND stream = $2",
                &key,
            )
            .await?;
        for row in revisions {
            state.revisions.extend(u32::try_from(row.i64(0)?).ok());
        }
        Ok(state)
    }
}

impl State {
    /// Judges an arrival of `count` numbers from `first` on.
    pub(crate) fn place(&mut self, first: u64, count: u32, hash: &[u8; 32]) -> Place {
        let same = |pending: &&mut Pending| pending.first == first && pending.hash == *hash;
        if let Some(pending) = self.pending.iter_mut().find(same) {
            let (waiter, answer) = oneshot::channel();
            pending.waiters.push(waiter);
            return Place::Pending(answer);
        }
        let taken = |branch: &RangeSet| branch.intersects(first, count.into());
        if self.branches.iter().any(taken) {
            return Place::Taken;
        }
        Place::Free
    }

    /// The branch for an arrival: its predecessor's where that has room, else the lowest that has; and whether its
    /// predecessor is there by number and hash.
    pub(crate) fn branch_of(&self, first: u64, count: u32, prev: &[u8; 32]) -> (u32, bool) {
        let has_room = |branch: u32| {
            self.branches
                .get(branch as usize)
                .is_none_or(|set| !set.intersects(first, count.into()))
        };
        let before = self
            .tails
            .iter()
            .find(|tail| tail.next == first && tail.print == print(prev));
        let branch = before
            .map(|tail| tail.branch)
            .filter(|branch| has_room(*branch))
            .or_else(|| (0..).find(|branch| has_room(*branch)))
            .unwrap_or(0);
        (branch, before.is_some() || (first == 0 && *prev == [0; 32]))
    }

    /// Whether the clock of an arrival has to be looked at: it is unset, was stepped, does not go on as the batch before
    /// it, or nothing here tells. Once a boot, until [`Self::marked`] is cleared.
    pub(crate) fn marks(&mut self, batch: &Batch<'_>, branch: u32) -> bool {
        let header = batch.header();
        let here = (branch, header.boot);
        if self.marked == Some(here) {
            return false;
        }
        let before = self
            .tails
            .iter()
            .find(|tail| tail.next == header.first && tail.branch == branch);
        let goes_on = match before.map(|tail| tail.clock) {
            None => header.first == 0,
            Some(None) => false,
            Some(Some(before)) => {
                let base = judge::base(batch.first_time().as_micros(), header.ticks_us);
                let apart = header.ticks_us.abs_diff(before.ticks_us);
                before.boot != header.boot || judge::is_same(before.base, base, apart)
            }
        };
        let is_followed = self
            .branches
            .get(branch as usize)
            .is_some_and(|set| set.contains(header.range().end()));
        let is_odd = header.clock == ClockQuality::Unset || batch.steps().next().is_some();
        let marks = is_odd || is_followed || !goes_on;
        if marks {
            self.marked = Some(here);
        }
        marks
    }

    /// Enters an arrival that is about to be queued.
    pub(crate) fn enter(&mut self, pending: Pending, batch: &Batch<'_>) {
        let header = batch.header();
        let count = header.count;
        let base = Base {
            boot: header.boot,
            base: judge::base(batch.first_time().as_micros(), header.ticks_us),
            ticks_us: header.ticks_us,
        };
        self.take(pending.branch, pending.first, count.into());
        let tail = Tail {
            next: pending.first + u64::from(count),
            branch: pending.branch,
            print: print(&pending.hash),
            clock: (header.clock != ClockQuality::Unset).then_some(base),
        };
        match self
            .tails
            .iter()
            .position(|old| old.next == pending.first && old.branch == tail.branch)
        {
            Some(position) => {
                self.tails.remove(position);
            }
            None => self.tails.truncate(TAILS - 1),
        }
        self.tails.push_front(tail);
        self.pending.push(pending);
    }

    /// Moves a pending batch to the durable ones and answers its waiters.
    pub(crate) fn settle(&mut self, first: u64, count: u32, branch: u32, times: Option<Times>) {
        self.durable.insert(first, count.into());
        self.batches += 1;
        self.records += u64::from(count);
        match times {
            Some(times) => self.widen(times),
            None => self.held += 1,
        }
        let same = |pending: &Pending| pending.first == first && pending.branch == branch;
        if let Some(position) = self.pending.iter().position(same) {
            for waiter in self.pending.swap_remove(position).waiters {
                // A caller that went away has no use for the answer.
                let _ = waiter.send(Ok(()));
            }
        }
    }

    /// Batches have other times now: `readable` of them were held before.
    pub(crate) fn restamped(&mut self, readable: u64, times: Times) {
        self.held = self.held.saturating_sub(readable);
        self.widen(times);
    }

    fn widen(&mut self, times: Times) {
        self.times = Some(self.times.map_or(times, |old| Times {
            from: old.from.min(times.from),
            to: old.to.max(times.to),
            span: old.span.max(times.span),
        }));
    }

    fn take(&mut self, branch: u32, first: u64, count: u64) {
        let branch = branch as usize;
        if self.branches.len() <= branch {
            self.branches.resize_with(branch + 1, RangeSet::default);
        }
        if let Some(set) = self.branches.get_mut(branch) {
            set.insert(first, count);
        }
    }
}
