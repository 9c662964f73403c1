//! Mail that this instance sends: invitations, and what operators must know.
//!
//! Owns the table `mail` (a bounded queue; letters are sealed), and the sending of it over SMTP with TLS, implicit or by
//! STARTTLS, the server's certificate verified: there is no other way. A letter that cannot be delivered is tried again for
//! a day and then dropped, with a line in the log that names nobody. Without a mail server nothing is queued, and whoever
//! asks gets to know: links are then shown to whoever may hand them over. Does not know what a letter says.

mod send;
#[cfg(test)]
mod tests;

use std::time::Duration;

use fieldkeep_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::clock::Clock;
use crate::config;
use crate::db::{Db, SqlError};
use crate::keys::{Keys, Unsealable, random};

pub use send::Sender;

/// Whether there is a mail server, as the running server noted it.
const ON: &str = "mail.on";
/// When a letter last could not be delivered, and nothing after it could.
const FAILED: &str = "mail.failed";
/// Letters that may wait.
const MOST: i64 = 1_000;
/// How often the queue is looked at: other processes fill it too.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Letters taken at a time.
const BATCH: i64 = 20;
const MINUTE_US: i64 = 60 * 1_000_000;
const LIFE_US: i64 = 24 * 60 * MINUTE_US;

/// A letter: plain text to one address.
#[derive(Serialize, Deserialize)]
pub struct Letter {
    /// To whom.
    pub to: String,
    /// Its subject.
    pub subject: String,
    /// What it says.
    pub text: String,
}

impl std::fmt::Debug for Letter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Letter")
    }
}

/// Why mail does not go.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// The catalogue failed.
    #[error("the catalogue failed")]
    Sql(#[from] SqlError),
    /// A letter does not open.
    #[error("a letter that waits does not open")]
    Sealed(#[from] Unsealable),
    /// As many letters wait as may.
    #[error("{MOST} letters wait already: look at the mail server (`fieldkeep admin doctor`)")]
    Full,
    /// A file of the settings cannot be read.
    #[error("[mail]: {file} cannot be read")]
    File {
        /// Which.
        file: String,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The settings do not make a sender.
    #[error("[mail]: {0}")]
    Settings(String),
}

/// How the mail is, for `admin doctor`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailState {
    /// Whether there is a mail server.
    pub on: bool,
    /// Letters that wait.
    pub waiting: u64,
    /// Since when none could be delivered.
    pub failing_since: Option<Timestamp>,
}

/// The queue. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Mail {
    db: Db,
    keys: Keys,
    clock: Clock,
}

impl Mail {
    /// The mail of an open catalogue.
    pub fn new(db: Db, keys: Keys, clock: Clock) -> Self {
        Self { db, keys, clock }
    }

    /// Queues a letter, in any process; the server sends it. False, and nothing is queued, without a mail server.
    ///
    /// # Errors
    /// [`MailError::Full`] when too many wait.
    pub async fn post(&self, letter: &Letter) -> Result<bool, MailError> {
        if !self.is_on().await? {
            return Ok(false);
        }
        let id: [u8; 16] = random();
        let plain = serde_json::to_vec(letter).expect("strings always serialize");
        let sealed = self.keys.instance().seal("mail.letter", &id, &plain);
        let now = self.clock.now().as_micros();
        let mut transaction = self.db.begin().await?;
        let waiting = transaction
            .fetch_optional("SELECT count(*) FROM mail", &[])
            .await?;
        if waiting.map_or(Ok(0), |row| row.i64(0))? >= MOST {
            return Err(MailError::Full);
        }
        transaction
            .execute(
                "INSERT INTO mail (id, letter_sealed, made_us, attempts, next_us) VALUES ($1, $2, $3, 0, $3)",
                &[(&id).into(), (&sealed).into(), now.into()],
            )
            .await?;
        transaction.commit().await?;
        Ok(true)
    }

    /// Whether the server that last ran on this data has a mail server.
    pub async fn is_on(&self) -> Result<bool, SqlError> {
        Ok(self.db.setting(ON).await?.as_deref() == Some("yes"))
    }

    /// How the mail is.
    pub async fn state(&self) -> Result<MailState, SqlError> {
        let row = self
            .db
            .fetch_optional("SELECT count(*) FROM mail", &[])
            .await?;
        let waiting = row.map_or(Ok(0), |row| row.i64(0))?;
        let failed = self.db.setting(FAILED).await?;
        Ok(MailState {
            on: self.is_on().await?,
            waiting: u64::try_from(waiting).unwrap_or_default(),
            failing_since: failed
                .and_then(|text| text.parse().ok())
                .filter(|us| *us > 0)
                .map(Timestamp::from_micros),
        })
    }

    /// Notes whether there is a mail server; before anybody is heard.
    pub async fn announce(&self, settings: Option<&config::Mail>) -> Result<(), SqlError> {
        let on = if settings.is_some() { "yes" } else { "no" };
        self.db.set(&[(ON, on)]).await
    }

    /// Sends what waits, for as long as the server runs.
    pub async fn run(&self, sender: Sender) {
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        loop {
            ticks.tick().await;
            if let Err(error) = self.send_due(&sender).await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "mail that waits cannot be read"
                );
            }
        }
    }

    /// Sends what is due; answers how many letters went.
    pub async fn send_due(&self, sender: &Sender) -> Result<u64, MailError> {
        let rows = self
            .db
            .fetch_all(
                "SELECT id, letter_sealed, made_us, attempts FROM mail WHERE next_us <= $1 ORDER BY next_us LIMIT $2",
                &[self.clock.now().as_micros().into(), BATCH.into()],
            )
            .await?;
        let mut sent = 0;
        for row in &rows {
            let id: [u8; 16] = row.array(0)?;
            let plain = self
                .keys
                .instance()
                .open("mail.letter", &id, row.bytes(1)?)?;
            let letter: Letter = serde_json::from_slice(&plain).map_err(|_| {
                MailError::Settings("a letter that waits cannot be read".to_owned())
            })?;
            match sender.send(&letter).await {
                Ok(()) => {
                    sent += 1;
                    self.forget(&id).await?;
                    self.db.set(&[(FAILED, "0")]).await?;
                }
                Err(refused) => self.later(&id, row.i64(2)?, row.i64(3)?, &refused).await?,
            }
        }
        Ok(sent)
    }

    async fn later(
        &self,
        id: &[u8; 16],
        made: i64,
        attempts: i64,
        refused: &send::Refused,
    ) -> Result<(), MailError> {
        let now = self.clock.now().as_micros();
        if refused.for_good || now.saturating_sub(made) > LIFE_US {
            tracing::error!(reason = %refused.reason, attempts, "a letter could not be delivered and is dropped");
            return self.forget(id).await;
        }
        tracing::warn!(reason = %refused.reason, attempts, "a letter could not be delivered; tried again later");
        // A minute, two, four …, an hour.
        let wait = MINUTE_US
            .saturating_mul(1 << attempts.clamp(0, 6))
            .min(60 * MINUTE_US);
        self.db
            .execute(
                "UPDATE mail SET attempts = attempts + 1, next_us = $2 WHERE id = $1",
                &[id.into(), now.saturating_add(wait).into()],
            )
            .await?;
        if self.state().await?.failing_since.is_none() {
            self.db.set(&[(FAILED, &now.to_string())]).await?;
        }
        Ok(())
    }

    async fn forget(&self, id: &[u8; 16]) -> Result<(), MailError> {
        self.db
            .execute("DELETE FROM mail WHERE id = $1", &[id.into()])
            .await?;
        Ok(())
    }
}
