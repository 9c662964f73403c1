//! The way in: decode, judge by the ledger, encrypt, queue, and answer when the writer has committed.
//!
//! Arrivals of one stream are judged one after the other; from the moment an arrival is entered as pending until it is
//! in the queue there is no point at which it can be cancelled, so a caller that goes away changes nothing.

use std::sync::Arc;

use fieldkeep_protocol::batch::{self, Batch, Header};
use fieldkeep_protocol::channels::Channels;
use fieldkeep_protocol::seal::Seal;
use fieldkeep_protocol::{ClockQuality, Epoch, RecordRange, Timestamp};
use tokio::sync::oneshot;

use crate::changes::{Cause, Waiting, record_change};
use crate::cipher::{Kind, Sealed, Subject};
use crate::cold::{Stale, mark_changed};
use crate::days::day_of;
use crate::devices::Device;
use crate::error::{AppendError, StoreError};
use crate::feed::Stored;
use crate::kept::{self, print};
use crate::lanes::Closed;
use crate::latest::{self, News};
use crate::sql::Value;
use crate::stamp::Timing;
use crate::store::{Inner, Origin, Store};
use crate::stream::{Committed, Pending, Place, Stream};
use crate::tables::ChannelTable;
use crate::writer::{BatchRow, Item, Row, SealRow};

/// 2000-01-01T00:00:00Z.
pub(crate) const EARLIEST_US: i64 = 946_684_800_000_000;
pub(crate) const AHEAD_US: i64 = 86_400_000_000;
/// How far behind a machine's clock may be that nothing has set: it begins in 1970, or when its battery was empty.
const DOUBT_US: i64 = 100 * 366 * AHEAD_US;

/// What became of a batch. It is durable, whatever the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// New, and stored.
    Stored,
    /// It was there already.
    Duplicate,
    /// Some of its numbers were there with other content: stored beside the first, a finding.
    Fork {
        /// Its branch number; 0 is the branch of the first arrival.
        branch: u32,
    },
}

/// The answer to a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its record numbers.
    pub range: RecordRange,
    /// What became of it.
    pub outcome: Outcome,
    /// Its times are not to be believed: it is kept, and not read.
    pub held: bool,
    /// Its channel table is known.
    pub readable: bool,
    /// Its earliest time.
    pub from: Timestamp,
    /// Its latest time.
    pub to: Timestamp,
    /// How far its times can be believed.
    pub clock: ClockQuality,
}

/// The answer to a channel table.
#[derive(Clone, Debug)]
pub struct ChannelsReceipt {
    /// It is the first table of its revision.
    pub new: bool,
    /// Another table was there for this revision: both are kept, the first one is read.
    pub conflict: bool,
    /// The table that is read.
    pub table: Arc<ChannelTable>,
}

impl Store {
    /// Stores a batch; it is durable when this returns. Redelivery is recognised, whatever its order. Dropping the
    /// future leaves the batch stored or not, never half.
    ///
    /// # Errors
    /// Nothing was acknowledged and nothing else is touched; only [`AppendError::Undecodable`] is for ever.
    pub async fn append(
        &self,
        origin: Origin,
        bytes: &[u8],
        received: Timestamp,
    ) -> Result<Receipt, AppendError> {
        let batch = Batch::decode(bytes)?;
        let arrival = Arrival {
            header: *batch.header(),
            hash: batch::hash(bytes),
            held: is_held(
                &batch,
                received,
                self.inner.newest(),
                self.inner.trusts_clock(),
            ),
            batch,
            bytes,
            received,
        };
        let inner = &self.inner;
        inner.check_room()?;
        let device = inner.open_device(origin).await?;
        loop {
            if let Some(receipt) = inner.try_append(&device, &arrival).await? {
                return Ok(receipt);
            }
        }
    }

    /// Stores a channel table; it is durable when this returns.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append_channels(
        &self,
        origin: Origin,
        bytes: &[u8],
        received: Timestamp,
    ) -> Result<ChannelsReceipt, AppendError> {
        let decoded = Channels::decode(bytes)?;
        let hash = batch::hash(bytes);
        let (epoch, revision) = (decoded.epoch(), decoded.revision());
        let inner = &self.inner;
        inner.check_room()?;
        let device = inner.open_device(origin).await?;
        let stream = device.open_stream(&inner.database, epoch, received).await?;
        drop(stream.state(&inner.database).await?);
        let key = inner.keys.current(device.project, received).await?;
        let _gate = stream.gate.lock().await;
        let place = [
            device.project.number.into(),
            stream.identity.id.into(),
            revision.into(),
        ];
        let known = inner
            .database
            .fetch_all(
                "SELECT hash FROM channels WHERE project = $1 AND stream = $2 AND revision = $3 ORDER BY branch",
                &place,
            )
            .await?;
        let mut position = None;
        for (branch, row) in known.iter().enumerate() {
            if row.bytes(0)? == hash {
                position = Some(branch);
            }
        }
        let is_new = position.is_none();
        let branch = u32::try_from(position.unwrap_or(known.len())).unwrap_or(u32::MAX);
        if is_new {
            let sealed = key.seal(
                &Subject {
                    project: device.project.id,
                    kind: Kind::Channels,
                    device: device.id,
                    epoch: epoch.0,
                    first: revision.into(),
                    count: 0,
                    branch,
                },
                bytes,
            )?;
            let row = TableRow {
                revision,
                branch,
                hash,
                received,
                sealed,
            };
            // Before it is durable: whoever sees the change reads with it.
            if let Some(mut state) = stream.loaded() {
                state.revisions.insert(revision);
            }
            inner.write_table(&device, &stream, &row).await?;
        }
        if branch > 0 {
            tracing::warn!(device.id = %device.id, revision, branch, "another channel table for a known revision");
        }
        // What is stored says when it came first; a damaged one is healed in memory by its redelivery.
        let known = if is_new && branch == 0 {
            None
        } else {
            inner
                .tables
                .table(&inner.database, &inner.keys, &stream.identity, revision)
                .await?
        };
        let table = known.unwrap_or_else(|| {
            let table = Arc::new(ChannelTable::new(&decoded, branch, received));
            if branch == 0 {
                inner.tables.learn(stream.identity.id, Arc::clone(&table));
            }
            table
        });
        // Batches of this revision that came before it become readable now.
        device.newest.forget();
        Ok(ChannelsReceipt {
            new: is_new && branch == 0,
            conflict: branch > 0,
            table,
        })
    }

    /// Stores a seal whose signature the caller has verified; it is durable when this returns.
    ///
    /// # Errors
    /// As [`Store::append`].
    pub async fn append_seal(
        &self,
        origin: Origin,
        bytes: &[u8],
        received: Timestamp,
    ) -> Result<(), AppendError> {
        let decoded = Seal::decode(bytes)?;
        let payload = decoded.payload();
        let (epoch, last, time) = (payload.epoch, payload.last, payload.time);
        let inner = &self.inner;
        inner.check_room()?;
        let device = inner.open_device(origin).await?;
        let stream = device.open_stream(&inner.database, epoch, received).await?;
        let key = inner.keys.current(device.project, received).await?;
        let subject = Subject {
            project: device.project.id,
            kind: Kind::Seal,
            device: device.id,
            epoch: epoch.0,
            first: last,
            count: 0,
            branch: 0,
        };
        let (done, answer) = oneshot::channel();
        let row = SealRow {
            last,
            hash: batch::hash(bytes),
            time,
            received,
            sealed: key.seal(&subject, bytes)?,
            done,
        };
        let item = Item {
            device,
            stream,
            row: Row::Seal(row),
        };
        let place = inner.queue.reserve(origin.project).await;
        place
            .map_err(|Closed| StoreError::Closed)?
            .send(item.bytes(), item);
        wait(answer).await
    }
}

/// A channel table that is encrypted.
struct TableRow {
    revision: u32,
    branch: u32,
    hash: [u8; 32],
    received: Timestamp,
    sealed: Sealed,
}

struct Arrival<'a> {
    batch: Batch<'a>,
    header: Header,
    hash: [u8; 32],
    held: bool,
    bytes: &'a [u8],
    received: Timestamp,
}

impl Inner {
    /// One attempt; `None` if the stream was thrown away meanwhile and has to be asked again.
    async fn try_append(
        &self,
        device: &Arc<Device>,
        arrival: &Arrival<'_>,
    ) -> Result<Option<Receipt>, AppendError> {
        let header = &arrival.header;
        let stream = device
            .open_stream(&self.database, header.epoch, arrival.received)
            .await?;
        // The writer tells a late row by it.
        device.horizon(&self.database).await?;
        let revisions = {
            let state = stream.state(&self.database).await?;
            state.revisions.contains(&header.revision)
        };
        let table = if revisions {
            self.tables
                .table(
                    &self.database,
                    &self.keys,
                    &stream.identity,
                    header.revision,
                )
                .await?
        } else {
            None
        };
        let receipt = |outcome| Receipt {
            epoch: header.epoch,
            range: header.range(),
            outcome,
            held: arrival.held,
            readable: table.is_some(),
            from: arrival.batch.min_time(),
            to: arrival.batch.max_time(),
            clock: header.clock,
        };
        let key = self.keys.current(device.project, arrival.received).await?;
        device.know_newest(&self.database).await?;

        let gate = stream.gate.lock().await;
        let place = {
            let mut state = stream.state(&self.database).await?;
            if state.broken.is_some() {
                return Ok(None);
            }
            state.place(header.first, header.count, &arrival.hash)
        };
        match place {
            Place::Pending(answer) => {
                drop(gate);
                wait(answer).await?;
                return Ok(Some(receipt(Outcome::Duplicate)));
            }
            Place::Taken if self.is_stored(&stream, arrival).await? => {
                return Ok(Some(receipt(Outcome::Duplicate)));
            }
            Place::Taken | Place::Free => {}
        }
        let forked = matches!(place, Place::Taken);
        let permit = self.queue.reserve(device.project.id).await;
        let permit = permit.map_err(|Closed| StoreError::Closed)?;
        let (branch, answer) = {
            let mut state = stream.state(&self.database).await?;
            if state.broken.is_some() {
                return Ok(None);
            }
            let (branch, linked) = state.branch_of(header.first, header.count, &header.prev);
            let subject = Subject {
                project: device.project.id,
                kind: Kind::Batch,
                device: device.id,
                epoch: header.epoch.0,
                first: header.first,
                count: header.count,
                branch,
            };
            let sealed = key.seal(&subject, arrival.bytes)?;
            let (waiter, answer) = oneshot::channel();
            let marked = state.marks(&arrival.batch, branch);
            state.enter(
                Pending {
                    first: header.first,
                    branch,
                    hash: arrival.hash,
                    waiters: vec![waiter],
                },
                &arrival.batch,
            );
            let from_us = arrival.batch.min_time().as_micros();
            let item = Item {
                device: Arc::clone(device),
                stream: Arc::clone(&stream),
                row: Row::Batch(BatchRow {
                    first: header.first,
                    count: header.count,
                    branch,
                    print: print(&arrival.hash),
                    prev: (!linked).then_some(header.prev),
                    from_us,
                    span_us: arrival.batch.max_time().as_micros().saturating_sub(from_us),
                    received: arrival.received,
                    revision: header.revision,
                    held: arrival.held,
                    marked,
                    sealed,
                    news: news(device, &stream, arrival, branch, table.as_deref()),
                }),
            };
            permit.send(item.bytes(), item);
            (branch, answer)
        };
        drop(gate);
        wait(answer).await?;
        if !forked && branch == 0 {
            return Ok(Some(receipt(Outcome::Stored)));
        }
        tracing::warn!(
            device.id = %device.id,
            epoch = header.epoch.0,
            first = header.first,
            branch,
            "record numbers are there with other content: the journal was cloned or restored"
        );
        Ok(Some(receipt(Outcome::Fork { branch })))
    }

    /// Writes a channel table and, where batches were waiting for it, that they can be read from now on. The caller holds
    /// the stream's gate.
    async fn write_table(
        &self,
        device: &Device,
        stream: &Stream,
        row: &TableRow,
    ) -> Result<(), StoreError> {
        let identity = &stream.identity;
        // Asked for before the transaction, because all rows of the stream are looked at; what was queued then is behind it.
        let waiting = match row.branch {
            0 => self.waiting(stream, row.revision).await?,
            _ => Waiting::default(),
        };
        let mut transaction = self.database.begin().await?;
        transaction
            .execute(
                "INSERT INTO channels (project, stream, revision, branch, hash, received_us, key_id, counter, payload) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                &[
                    identity.project.number.into(),
                    identity.id.into(),
                    row.revision.into(),
                    row.branch.into(),
                    (&row.hash).into(),
                    row.received.as_micros().into(),
                    row.sealed.key_id.into(),
                    row.sealed.counter.into(),
                    (&row.sealed.payload).into(),
                ],
            )
            .await?;
        if row.branch == 0 {
            let extent = waiting
                .and_since(&mut transaction, identity, row.revision)
                .await?;
            if let Some(extent) = extent {
                record_change(
                    &mut transaction,
                    device.project,
                    device.id,
                    extent,
                    Cause::Readable,
                    row.received,
                )
                .await?;
                mark_changed(
                    &mut transaction,
                    device,
                    extent,
                    Stale::Channels,
                    row.received,
                )
                .await?;
            }
        }
        transaction.commit().await?;
        Ok(())
    }

    async fn is_stored(&self, stream: &Stream, arrival: &Arrival<'_>) -> Result<bool, AppendError> {
        let from_us = arrival.batch.min_time().as_micros();
        let place: [Value<'_>; 3] = [
            stream.identity.project.number.into(),
            stream.identity.id.into(),
            arrival.header.first.cast_signed().into(),
        ];
        let [project, id, number] = place;
        // As sent, and held or not, which may have been judged otherwise when it came first.
        let days = [day_of(false, from_us), day_of(true, from_us)].map(Value::from);
        let rows = self
            .database
            .fetch_all(
                "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id, hash FROM hot \
                 WHERE project = $1 AND stream = $2 AND first = $3 AND day IN ($4, $5) AND from_us = $6",
                &[project, id, number, days[0], days[1], from_us.into()],
            )
            .await?;
        let stamped = if rows.is_empty() {
            // Its row may stand elsewhere, if it has other times now.
            self.database
                .fetch_all(
                    "SELECT first, count, branch, from_us, span_us, revision, key_id, counter, payload, stamp, id, hash \
                     FROM batch WHERE id IN (SELECT batch FROM stamp WHERE project = $1 AND stream = $2) AND first = $3",
                    &place,
                )
                .await?
        } else {
            Vec::new()
        };
        for row in rows.iter().chain(&stamped) {
            if print(row.bytes(11)?) != print(&arrival.hash) {
                continue;
            }
            // A payload that does not open any more says nothing against it.
            let plain = self.open_batch(stream, Stored::from_row(row)?).await?;
            if plain.is_none_or(|plain| plain == arrival.bytes) {
                return Ok(true);
            }
        }
        let (first, count) = (arrival.header.first, arrival.header.count);
        let last = first + u64::from(count).saturating_sub(1);
        Ok(kept::holds(&self.database, stream, first, last, print(&arrival.hash)).await?)
    }
}

/// Times that cannot be true. What is stored was at most a day ahead when it came; where it is more than that ahead of
/// now, it is this cloud's clock that has gone back, and the stored times say more than it does. A clock that is not
/// trusted calls nothing ahead that lies within its own possible error.
pub(crate) fn is_held(
    batch: &Batch<'_>,
    received: Timestamp,
    newest_us: i64,
    trusts_clock: bool,
) -> bool {
    let ahead = received.as_micros().saturating_add(AHEAD_US);
    let latest = if !trusts_clock {
        received.as_micros().max(newest_us).saturating_add(DOUBT_US)
    } else if newest_us > ahead {
        newest_us.saturating_add(AHEAD_US)
    } else {
        ahead
    };
    batch.header().clock == ClockQuality::Unset
        || batch.min_time().as_micros() < EARLIEST_US
        || batch.max_time().as_micros() > latest
}

fn news(
    device: &Device,
    stream: &Stream,
    arrival: &Arrival<'_>,
    branch: u32,
    table: Option<&ChannelTable>,
) -> News {
    device.newest.news(|name| {
        let channel = table.filter(|_| !arrival.held)?.channel(name)?;
        let place = latest::Place {
            stream: stream.identity.id,
            branch,
            channel: channel.index,
            interval_us: channel.interval_us,
        };
        place.newest(&arrival.batch, &Timing::AS_SENT, (i64::MIN, i64::MAX))
    })
}

async fn wait(answer: oneshot::Receiver<Committed>) -> Result<(), AppendError> {
    match answer.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(StoreError::Commit(error).into()),
        Err(_) => Err(StoreError::Closed.into()),
    }
}
