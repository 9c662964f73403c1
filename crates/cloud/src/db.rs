//! The catalogue database: people, projects, devices, settings.
//!
//! Owns the file `catalogue.db` in the data folder, its migrations and the table `setting`. Promises that whoever holds
//! a [`Db`] sees the newest schema. Knows no other table: each room owns its own statements.

mod remembered;

use std::ops::Deref;
use std::path::Path;

use fieldkeep_store::sql::{Database, DatabaseKey, Migration};

pub use fieldkeep_store::sql::{Row, SqlError, State, Transaction, Value};
pub use remembered::Remembered;

/// The catalogue's file in the data folder.
pub const FILE: &str = "catalogue.db";

/// The steps of the catalogue's schema.
pub const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        sql: include_str!("../migrations/catalogue/0001_first.sql"),
    },
    Migration {
        number: 2,
        sql: include_str!("../migrations/catalogue/0002_retention.sql"),
    },
    Migration {
        number: 3,
        sql: include_str!("../migrations/catalogue/0003_trail.sql"),
    },
    Migration {
        number: 4,
        sql: include_str!("../migrations/catalogue/0004_people.sql"),
    },
    Migration {
        number: 5,
        sql: include_str!("../migrations/catalogue/0005_service.sql"),
    },
    Migration {
        number: 6,
        sql: include_str!("../migrations/catalogue/0006_units_and_repeats.sql"),
    },
];

/// The open catalogue. Cheap to clone; all clones share its connections.
#[derive(Clone, Debug)]
pub struct Db(Database);

impl Db {
    /// Opens the catalogue of a data folder and brings its schema up to date.
    ///
    /// # Errors
    /// [`SqlError::WrongKey`] and [`SqlError::Newer`] leave the file untouched.
    pub async fn open(data: &Path, key: &DatabaseKey) -> Result<Self, SqlError> {
        Database::open(&data.join(FILE), key, MIGRATIONS)
            .await
            .map(Self)
    }

    /// A setting of the instance, if it was ever set.
    pub async fn setting(&self, name: &str) -> Result<Option<String>, SqlError> {
        let row = self
            .fetch_optional("SELECT value FROM setting WHERE name = $1", &[name.into()])
            .await?;
        row.map(|row| row.text(0).map(str::to_owned)).transpose()
    }

    /// Sets some settings, all or none; durable when this returns.
    pub async fn set(&self, settings: &[(&str, &str)]) -> Result<(), SqlError> {
        let mut transaction = self.begin().await?;
        for (name, value) in settings {
            transaction
                .execute(
                    "INSERT INTO setting (name, value) VALUES ($1, $2)
                     ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    &[(*name).into(), (*value).into()],
                )
                .await?;
        }
        transaction.commit().await
    }
}

impl Deref for Db {
    type Target = Database;

    fn deref(&self) -> &Database {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn two_processes_may_bring_the_schema_up_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let key = DatabaseKey::new([7; 32]);
        let open = || Db::open(folder.path(), &key);
        let (one, two, three) = tokio::join!(open(), open(), open());
        for db in [one.unwrap(), two.unwrap(), three.unwrap()] {
            assert!(db.fetch_all("SELECT id FROM project", &[]).await.is_ok());
        }
    }
}
