//! Owns what a running logger knows: its journal, its judgement of the clock, its log for the cloud, its counts.
//! Turns what the session heard into what the journal keeps, and what the journal keeps into what the session sends.
//! Touches the world only through the journal.

use std::{collections::VecDeque, sync::Arc};

use fieldkeep_protocol::{
    ClockQuality, Epoch, Timestamp, limits,
    message::{Level, LogLine, State},
};

use crate::{
    clock::{Judge, Reading},
    identity::Identity,
    journal::{BatchKey, Closed, Journal, JournalError, Stamp},
    sample::{Channels, Record},
    seal::{self, Claim},
    session::{Item, Session},
};

const MINUTE_US: i64 = 60_000_000;
/// A seal at least this often while there is something new.
const SEAL_US: i64 = 60 * MINUTE_US;
/// And not more often than this.
const SEAL_LEAST_US: i64 = 5 * MINUTE_US;
/// Log lines that wait; older ones make room.
const LOG_LINES: usize = 64;
/// States told of older epochs at the start of a session.
const OLDER_EPOCHS: usize = 8;

/// What was counted since the logger started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records that were measured and kept.
    pub sampled: u64,
    /// Records that the cloud acknowledged.
    pub acknowledged: u64,
    /// Records that could not be kept.
    pub lost: u64,
}

struct Line {
    time_us: i64,
    level: Level,
    code: &'static str,
    text: String,
}

/// What a running logger knows.
pub struct Books {
    /// Everything measured.
    pub journal: Journal,
    /// How far the clock can be believed.
    pub judge: Judge,
    /// What was counted.
    pub counts: Counts,
    /// The time of the newest record of this run.
    pub newest_us: Option<i64>,
    log: VecDeque<Line>,
    cursor: Option<BatchKey>,
    acknowledged: Vec<BatchKey>,
    storing_fails: bool,
}

impl Books {
    /// Begins with a journal and a judge.
    pub fn new(journal: Journal, judge: Judge) -> Books {
        Books {
            journal,
            judge,
            counts: Counts::default(),
            newest_us: None,
            log: VecDeque::new(),
            cursor: None,
            acknowledged: Vec::new(),
            storing_fails: false,
        }
    }

    /// Keeps a record, and closes its batch if that has so many records; whether one was closed.
    pub fn record(
        &mut self,
        channels: &Arc<Channels>,
        record: &Record,
        is_history: bool,
        most: u32,
        reading: Reading,
    ) -> bool {
        let (now_us, quality, step_us) = if is_history {
            let (now_us, quality) = self.judge.time(reading);
            (now_us, quality, None)
        } else {
            let judged = self.judge.judge(reading);
            (judged.time_us, judged.quality, judged.step_us)
        };
        let stamp = Stamp {
            now_us,
            ticks_us: reading.ticks_us,
            clock: quality,
            step_us,
        };
        match self.journal.record(channels, record, stamp) {
            Ok(_) => {
                self.counts.sampled += 1;
                self.newest_us = Some(record.time_us);
            }
            Err(error) => {
                self.counts.lost += 1;
                self.storing_failed(&error, reading);
                return false;
            }
        }
        let full = self
            .journal
            .open_batch()
            .is_some_and(|(count, _)| count >= most);
        full && self.close(reading)
    }

    /// Closes the open batch; whether there is one more to send.
    pub fn close(&mut self, reading: Reading) -> bool {
        match self.journal.close() {
            Ok(closed) => {
                self.storing_fails = false;
                closed.is_some()
            }
            Err(error) => {
                self.storing_failed(&error, reading);
                false
            }
        }
    }

    fn storing_failed(&mut self, error: &JournalError, reading: Reading) {
        // Told once per trouble, not once per record.
        if !std::mem::replace(&mut self.storing_fails, true) {
            let source =
                std::error::Error::source(error).map_or(String::new(), |s| format!(": {s}"));
            tracing::error!("{error}{source}");
            self.note(
                reading,
                Level::Error,
                "journal.write",
                format!("{error}{source}"),
            );
        }
    }

    /// Adds a line to the log that the cloud shows.
    pub fn note(&mut self, reading: Reading, level: Level, code: &'static str, text: String) {
        if self.log.len() >= LOG_LINES {
            self.log.pop_front();
        }
        let text = text.chars().filter(|c| !c.is_control()).take(220).collect();
        let time_us = self.judge.time(reading).0;
        self.log.push_back(Line {
            time_us,
            level,
            code,
            text,
        });
    }

    /// A session begins: everything unacknowledged is offered again.
    pub fn rewind(&mut self) {
        self.cursor = None;
    }

    /// The states that a session begins with: older epochs that are kept, then the current one.
    pub fn states(&self, reading: Reading) -> Vec<Vec<u8>> {
        let facts = self.journal.facts();
        let mut older = self.journal.older_epochs();
        let skip = older.len().saturating_sub(OLDER_EPOCHS);
        let current = State {
            epoch: Epoch(facts.epoch),
            oldest: facts.oldest,
            next: facts.next,
            dropped_total: facts.dropped,
            journal_bytes: facts.bytes,
            uptime_s: reading.ticks_us / 1_000_000,
            clock: self.judge.time(reading).1,
            version: env!("CARGO_PKG_VERSION"),
        };
        let past = older.drain(skip..).map(|(epoch, first, next)| State {
            epoch: Epoch(epoch),
            oldest: Some(first),
            next,
            dropped_total: 0,
            ..current
        });
        past.chain([current])
            .filter_map(|state| {
                let mut bytes = vec![0; limits::STATE_BYTES];
                let length = state.encode(&mut bytes).ok()?;
                bytes.truncate(length);
                Some(bytes)
            })
            .collect()
    }

    /// What the cloud has of an epoch. `fresh_epoch` is a random number, used if this journal turns out to be older
    /// than what the cloud has of it.
    pub fn ledger(
        &mut self,
        epoch: u64,
        next: u64,
        holes: &[fieldkeep_protocol::Span],
        fresh_epoch: u64,
        reading: Reading,
    ) -> Result<(), JournalError> {
        if self.journal.is_behind(epoch, next) {
            let text = "the cloud has records that this journal never gave out: it is a copy or was restored; a new epoch begins";
            tracing::warn!("{text}");
            self.note(reading, Level::Warning, "journal.behind", text.to_owned());
            return self.journal.begin_epoch(fresh_epoch);
        }
        let again = self.journal.apply_ledger(epoch, next, holes)?;
        if again > 0 {
            tracing::info!(batches = again, "the cloud asks for batches again");
            self.cursor = None;
        }
        Ok(())
    }

    /// Whether there is something that this session has not been given yet.
    pub fn waits(&self) -> bool {
        self.journal.next_unacknowledged(self.cursor).is_some()
    }

    /// Lets acknowledged records go that were kept long enough. Only a clock that agrees with the cloud says so: one that
    /// has jumped ahead would empty the journal at once.
    pub fn expire(&mut self, reading: Reading) {
        let (time_us, quality) = self.judge.time(reading);
        if quality == ClockQuality::Synchronised
            && let Err(error) = self.journal.expire(time_us)
        {
            tracing::warn!(%error, "old records cannot be let go");
        }
    }

    /// Gives the session as much as it can take, oldest first.
    pub fn fill(
        &mut self,
        session: &mut Session,
        identity: &Identity,
        is_final: bool,
        reading: Reading,
    ) {
        let now_us = reading.ticks_us;
        while session.vacancy() > 0 {
            let Some(key) = self.journal.next_unacknowledged(self.cursor) else {
                break;
            };
            if session.is_in_flight(&Item::Batch(key)) {
                self.cursor = Some(key);
                continue;
            }
            let batch = match self.journal.batch(key) {
                Ok(batch) => batch,
                Err(JournalError::Absent) => {
                    self.note(
                        reading,
                        Level::Error,
                        "journal.damaged",
                        "a batch was damaged on the medium and is given up".to_owned(),
                    );
                    continue;
                }
                // A sector that cannot be read must not hold up what lies behind it; it is tried again next time.
                Err(error) => {
                    self.storing_failed(&error, reading);
                    self.cursor = Some(key);
                    continue;
                }
            };
            if !self.offer_table(session, &batch, now_us) {
                break;
            }
            if !session.publish(Item::Batch(key), &batch.bytes, now_us) {
                break;
            }
            self.cursor = Some(key);
        }
        self.offer_log(session, now_us);
        self.offer_seal(session, identity, is_final, reading);
    }

    /// Sends the batch's table first if the cloud may not have it; whether the batch may follow.
    fn offer_table(&self, session: &mut Session, batch: &Closed, now_us: u64) -> bool {
        let Some(table) = self.journal.table_to_send(batch.epoch, batch.revision) else {
            return true;
        };
        let item = Item::Table {
            epoch: batch.epoch,
            revision: batch.revision,
        };
        if session.is_in_flight(&item) {
            return true;
        }
        session.publish(item, table, now_us) && session.vacancy() > 0
    }

    fn offer_log(&mut self, session: &mut Session, now_us: u64) {
        let Some(line) = self.log.front() else {
            return;
        };
        if session.vacancy() == 0 || session.is_in_flight(&Item::Log) {
            return;
        }
        let message = LogLine {
            time: Timestamp::from_micros(line.time_us),
            level: line.level,
            code: line.code,
            text: &line.text,
        };
        let mut bytes = vec![0; limits::LOG_BYTES];
        match message.encode(&mut bytes) {
            Ok(length) => {
                session.publish(Item::Log, &bytes[..length], now_us);
            }
            Err(error) => {
                tracing::warn!(%error, code = line.code, "a log line cannot be sent");
                self.log.pop_front();
            }
        }
    }

    fn offer_seal(
        &mut self,
        session: &mut Session,
        identity: &Identity,
        is_final: bool,
        reading: Reading,
    ) {
        if session.vacancy() == 0 || (is_final && self.waits()) {
            return;
        }
        let Some(claim) = self.seal_due(is_final, reading) else {
            return;
        };
        let item = Item::Seal {
            epoch: claim.epoch,
            last: claim.last,
            time_us: claim.time_us,
        };
        if session.is_sealing() {
            return;
        }
        match seal::make(&claim, identity) {
            Some(bytes) => {
                session.publish(item, &bytes, reading.ticks_us);
            }
            None => tracing::error!("a seal cannot be made"),
        }
    }

    /// What is to be sealed, if a seal is due.
    pub fn seal_due(&self, is_final: bool, reading: Reading) -> Option<Claim> {
        let (time_us, quality) = self.judge.time(reading);
        if quality == ClockQuality::Unset {
            return None;
        }
        let uptime_us = i64::try_from(reading.ticks_us).unwrap_or(i64::MAX);
        // A seal from the future is one of a wrong clock; it must not stop those to come.
        let since = match self.journal.sealed() {
            Some((_, _, at)) if at <= time_us => time_us - at,
            Some(_) => SEAL_US,
            None if is_final => SEAL_US,
            None => uptime_us,
        };
        if since < if is_final { SEAL_LEAST_US } else { SEAL_US } {
            return None;
        }
        let epoch = self.journal.facts().epoch;
        let (last, hash) = self.journal.sealable()?;
        let already = self
            .journal
            .sealed()
            .is_some_and(|(e, l, _)| (e, l) == (epoch, last));
        (!already).then(|| Claim {
            epoch,
            last,
            hash,
            time_us,
            dropped: self.journal.dropped(),
        })
    }

    /// The cloud has an item for good. For batches that counts only once `settle` has written it down.
    pub fn durable(&mut self, item: &Item) -> Result<(), JournalError> {
        match item {
            Item::Batch(key) => self.acknowledged.push(*key),
            Item::Table { epoch, revision } => self.journal.acknowledge_table(*epoch, *revision)?,
            Item::Seal {
                epoch,
                last,
                time_us,
            } => self.journal.acknowledge_seal(*epoch, *last, *time_us)?,
            Item::Log => {
                self.log.pop_front();
            }
            Item::State => {}
        }
        Ok(())
    }

    /// Writes down which batches the cloud has, all at once: a sync for each would limit how fast a backlog shrinks.
    pub fn settle(&mut self) -> Result<(), JournalError> {
        let keys = std::mem::take(&mut self.acknowledged);
        self.counts.acknowledged += self.journal.acknowledge(&keys)?;
        self.judge.prove(self.journal.proven_us());
        Ok(())
    }

    /// The cloud can never read an item; a batch is handed out, to be put aside.
    pub fn undecodable(
        &mut self,
        item: &Item,
        reading: Reading,
    ) -> Result<Option<Closed>, JournalError> {
        tracing::error!(?item, "the cloud cannot read what it was sent");
        match item {
            Item::Batch(key) => {
                let batch = self.journal.batch(*key)?;
                self.journal.reject(*key)?;
                let text = format!(
                    "the cloud cannot read the batch of {} records from {}",
                    batch.count, batch.first
                );
                self.note(reading, Level::Error, "batch.rejected", text);
                Ok(Some(batch))
            }
            // Sending them again would change nothing: they count as done.
            other => self.durable(other).map(|()| None),
        }
    }

    /// The cloud cannot take an item now.
    pub fn later(&mut self, reading: Reading) {
        self.cursor = None;
        if self
            .log
            .back()
            .is_none_or(|line| line.code != "cloud.later")
        {
            self.note(
                reading,
                Level::Warning,
                "cloud.later",
                "the cloud cannot take more now; it is tried again later".to_owned(),
            );
        }
    }
}
