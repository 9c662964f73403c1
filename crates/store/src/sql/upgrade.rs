//! Upgrades of a database file, and the way back.
//!
//! Owns the table `migration`, the copies that upgrades leave beside the file (`series.db.before-3`) and what an older
//! program does with them. Promises that an upgrade which is cut off anywhere has not happened, and that the file is copied
//! before wherever there is room.

use std::path::{Path, PathBuf};

use super::{Database, Engine, Migration, SqlError, Transaction};

impl Database {
    /// All missing steps in one transaction: cut off anywhere, the file is as it was. What the steps change is copied
    /// before, so that the program from before can still go back to it.
    pub(super) async fn migrate(
        &self,
        path: &Path,
        migrations: &[Migration],
    ) -> Result<(), SqlError> {
        let mut first = self.begin().await?;
        first
            .execute(
                "CREATE TABLE IF NOT EXISTS migration (number bigint PRIMARY KEY)",
                &[],
            )
            .await?;
        let done = schema(&mut first).await?;
        first.commit().await?;
        let known = migrations.last().map_or(0, |step| step.number);
        if done > known {
            return Err(SqlError::Newer {
                file: path.to_owned(),
                found: done,
                known,
            });
        }
        if done == known {
            return Ok(());
        }
        if done > 0 {
            self.copy_before(path, done).await;
        }
        let mut transaction = self.begin().await?;
        // Another process may have come first since `done` was read.
        let done = schema(&mut transaction).await?;
        for step in migrations.iter().filter(|step| step.number > done) {
            for statement in step.sql.split(";\n").filter(|part| !part.trim().is_empty()) {
                transaction.execute(statement, &[]).await?;
            }
            transaction
                .execute(
                    "INSERT INTO migration (number) VALUES ($1)",
                    &[step.number.into()],
                )
                .await?;
        }
        transaction.commit().await
    }

    /// Copies the file as it is under schema `number`. Without room for it the upgrade goes on: backups are the way back.
    async fn copy_before(&self, path: &Path, number: i64) {
        let Engine::Sqlite(sqlite) = &self.engine;
        let copy = copy_of(path, number);
        let partial = beside(path, "before.part");
        tracing::info!(file = %path.display(), copy = %copy.display(), "copying before the upgrade");
        let copied = async {
            remove(&partial)?;
            sqlite.copy(&partial).await?;
            std::fs::rename(&partial, &copy).map_err(|error| SqlError::Engine(error.into()))
        };
        if let Err(error) = copied.await {
            // What is left of it only takes room.
            let _ = remove(&partial);
            tracing::warn!(
                file = %path.display(),
                error = &error as &dyn std::error::Error,
                "there is no copy from before the upgrade: only a backup leads back"
            );
        }
    }
}

/// Puts the copy from before an upgrade in the place of a database that is too new for this program, which knows schema
/// `known`; the newer file stays beside it. `false` if there is no such copy. Nobody may have the database open.
///
/// # Errors
/// What the system says; calling again goes on.
pub fn go_back(file: &Path, known: i64) -> std::io::Result<bool> {
    let copy = copy_of(file, known);
    if !copy.try_exists()? {
        return Ok(false);
    }
    for ending in ["-wal", "-shm", ""] {
        let mut from = file.as_os_str().to_owned();
        from.push(ending);
        let from = PathBuf::from(from);
        if from.try_exists()? {
            let mut to = beside(file, "newer").into_os_string();
            to.push(ending);
            std::fs::rename(&from, PathBuf::from(to))?;
        }
    }
    std::fs::rename(&copy, file)?;
    Ok(true)
}

/// Where the copy of a file under a schema is: `series.db.before-3` was left by an upgrade of schema 3.
fn copy_of(file: &Path, number: i64) -> PathBuf {
    beside(file, &format!("before-{number}"))
}

fn beside(file: &Path, ending: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn remove(file: &Path) -> Result<(), SqlError> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(SqlError::Engine(error.into()))
        }
        _ => Ok(()),
    }
}

/// The schema of the file; 0 of a new one.
async fn schema(transaction: &mut Transaction) -> Result<i64, SqlError> {
    let rows = transaction
        .fetch_all("SELECT coalesce(max(number), 0) FROM migration", &[])
        .await?;
    rows.first().map_or(Ok(0), |row| row.i64(0))
}
