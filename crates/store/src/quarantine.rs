//! Messages that could not be understood: kept as they came, encrypted, within a bound per device.
//!
//! Rows are numbered per device without gaps, so that how many made room for newer ones is known without a counter.

use fieldkeep_protocol::Timestamp;

use crate::cipher::{Kind, Subject};
use crate::error::StoreError;
use crate::sql::Value;
use crate::store::{Origin, Store};

const MOST_ROWS: i64 = 1_000;
const MOST_BYTES: i64 = 16 * 1_024 * 1_024;

/// A quarantined message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quarantined {
    /// Counts up per device.
    pub number: u64,
    /// Why it was not understood.
    pub reason: String,
    /// When it came.
    pub received: Timestamp,
    /// As it came.
    pub bytes: Vec<u8>,
}

/// How much of a device is in quarantine, and was.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuarantineState {
    /// Messages that are kept.
    pub kept: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Messages that made room for newer ones.
    pub dropped: u64,
}

impl Store {
    /// Keeps a message that could not be understood; it is durable when this returns. The device's oldest ones make
    /// room beyond 1,000 messages or 16 MiB.
    pub async fn quarantine(
        &self,
        origin: Origin,
        reason: &'static str,
        bytes: &[u8],
        received: Timestamp,
    ) -> Result<(), StoreError> {
        let inner = &self.inner;
        inner.check_room()?;
        let project = inner.projects.open(origin.project).await?;
        let key = inner.keys.current(project, received).await?;
        let whose: [Value<'_>; 2] = [project.number.into(), origin.device.as_bytes().into()];
        let mut transaction = inner.database.begin().await?;
        let row = transaction
            .fetch_optional(
                "SELECT coalesce(max(number) + 1, 0) FROM quarantine WHERE project = $1 AND device = $2",
                &whose,
            )
            .await?;
        let number = row.map_or(Ok(0), |row| row.i64(0))?;
        let sealed = key.seal(&subject(origin, number), bytes)?;
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        transaction
            .execute(
                "INSERT INTO quarantine (project, device, number, reason, received_us, size_bytes, key_id, counter, payload) \
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
                &[
                    whose[0],
                    whose[1],
                    number.into(),
                    reason.into(),
                    received.as_micros().into(),
                    size.into(),
                    sealed.key_id.into(),
                    sealed.counter.into(),
                    (&sealed.payload).into(),
                ],
            )
            .await?;
        transaction
            .execute(
                "DELETE FROM quarantine WHERE project = $1 AND device = $2 AND number < $3 AND (number <= $3 - $4 \
                   OR number <= (SELECT max(number) FROM (SELECT number, sum(size_bytes) OVER (ORDER BY number DESC) AS total \
                     FROM quarantine WHERE project = $1 AND device = $2) AS sized WHERE total > $5))",
                &[whose[0], whose[1], number.into(), MOST_ROWS.into(), MOST_BYTES.into()],
            )
            .await?;
        transaction.commit().await?;
        Ok(())
    }

    /// The quarantined messages of a device, oldest first; damaged ones are left out and named in the log.
    pub async fn quarantined(&self, origin: Origin) -> Result<Vec<Quarantined>, StoreError> {
        let inner = &self.inner;
        let Some(project) = inner.projects.find(origin.project).await? else {
            return Ok(Vec::new());
        };
        let rows = inner
            .database
            .fetch_all(
                "SELECT number, reason, received_us, key_id, counter, payload FROM quarantine \
                 WHERE project = $1 AND device = $2 ORDER BY number",
                &[project.number.into(), origin.device.as_bytes().into()],
            )
            .await?;
        let mut messages = Vec::with_capacity(rows.len());
        for row in rows {
            let number = row.i64(0)?;
            let subject = subject(origin, number);
            let (counter, payload) = (row.i64(4)?, row.bytes(5)?.to_vec());
            let key = inner.keys.opening(project, row.i64(3)?).await?;
            let Some(bytes) = key.and_then(|key| key.open(&subject, counter, payload)) else {
                // Logged there; the others are readable.
                let _ = subject.damaged();
                continue;
            };
            messages.push(Quarantined {
                number: number.cast_unsigned(),
                reason: row.text(1)?.to_owned(),
                received: Timestamp::from_micros(row.i64(2)?),
                bytes,
            });
        }
        Ok(messages)
    }

    /// How much of a device is in quarantine, and was.
    pub async fn quarantine_state(&self, origin: Origin) -> Result<QuarantineState, StoreError> {
        let Some(project) = self.inner.projects.find(origin.project).await? else {
            return Ok(QuarantineState::default());
        };
        let row = self
            .inner
            .database
            .fetch_optional(
                "SELECT count(*), coalesce(sum(size_bytes), 0), coalesce(max(number) + 1, 0) FROM quarantine \
                 WHERE project = $1 AND device = $2",
                &[project.number.into(), origin.device.as_bytes().into()],
            )
            .await?;
        let Some(row) = row else {
            return Ok(QuarantineState::default());
        };
        let kept = row.i64(0)?.cast_unsigned();
        Ok(QuarantineState {
            kept,
            bytes: row.i64(1)?.cast_unsigned(),
            dropped: row.i64(2)?.cast_unsigned().saturating_sub(kept),
        })
    }
}

fn subject(origin: Origin, number: i64) -> Subject {
    Subject {
        project: origin.project,
        kind: Kind::Quarantine,
        device: origin.device,
        epoch: 0,
        first: number.cast_unsigned(),
        count: 0,
        branch: 0,
    }
}
