//! The measurement store as a device reaches it: its own records, and nothing else.

use fieldkeep_protocol::{Epoch, Timestamp};
use fieldkeep_store::{AppendError, ChannelsReceipt, Origin, Receipt, Store, StoreError};

use crate::clock::Clock;
use crate::pki::DeviceSession;

/// Records may be this far ahead of the time they arrive; the store holds those that are further.
const AHEAD_US: i64 = 86_400 * 1_000_000;

#[derive(Clone)]
pub(super) struct Records {
    store: Store,
    clock: Clock,
}

impl Records {
    pub(super) fn new(store: Store, clock: Clock) -> Self {
        Self { store, clock }
    }

    /// Durable when it returns.
    pub(super) async fn append(
        &self,
        session: &DeviceSession,
        bytes: &[u8],
    ) -> Result<Receipt, AppendError> {
        self.store
            .append(origin(session), bytes, self.clock.now())
            .await
    }

    /// Durable when it returns.
    pub(super) async fn append_channels(
        &self,
        session: &DeviceSession,
        bytes: &[u8],
    ) -> Result<ChannelsReceipt, AppendError> {
        self.store
            .append_channels(origin(session), bytes, self.clock.now())
            .await
    }

    /// Durable when it returns. The signature has been verified.
    pub(super) async fn append_seal(
        &self,
        session: &DeviceSession,
        bytes: &[u8],
    ) -> Result<(), AppendError> {
        self.store
            .append_seal(origin(session), bytes, self.clock.now())
            .await
    }

    /// Keeps bytes that cannot be read, apart and bounded. Durable when it returns.
    pub(super) async fn quarantine(
        &self,
        session: &DeviceSession,
        reason: &'static str,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        self.store
            .quarantine(origin(session), reason, bytes, self.clock.now())
            .await
    }

    /// One past the highest durable record, and the holes of `from..` below it and below `to`.
    pub(super) async fn ledger(
        &self,
        session: &DeviceSession,
        epoch: Epoch,
        from: u64,
        to: u64,
    ) -> Result<(u64, Vec<(u64, u64)>), StoreError> {
        let next = self.store.next_record(origin(session), epoch).await?;
        let to = to.min(next);
        if from >= to {
            return Ok((next, Vec::new()));
        }
        let holes = self.store.holes(origin(session), epoch, from, to).await?;
        Ok((next, holes))
    }

    /// The time, if this cloud's clock can be right. Records of all projects were at most a day ahead when they came,
    /// so one that is more than a day ahead of now proves that the clock has gone back.
    pub(super) async fn sound_time(&self) -> Result<Option<Timestamp>, StoreError> {
        let now = self.clock.now();
        let newest = self.store.newest().await?;
        let sound = newest.is_none_or(|newest| newest.saturating_since(now) <= AHEAD_US);
        Ok(sound.then_some(now))
    }
}

fn origin(session: &DeviceSession) -> Origin {
    Origin {
        project: session.project(),
        device: session.device(),
    }
}
