//! Reading and filling a whole SQLite file.
//!
//! A snapshot is one reading transaction on a connection of its own: in WAL mode it sees one instant and hinders no
//! writer.

use futures_util::TryStreamExt as _;
use sqlx::sqlite::SqliteConnection;
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _, SqlSafeStr as _};
use tokio::sync::mpsc;

use super::super::whole::{Part, Table, is_data};
use super::super::{Row, SqlError, Value};
use super::{ASK, Open, Sqlite, classify, row};

/// About how many bytes of rows go into one part; a row is never split.
const PART_BYTES: usize = 256 * 1024;
const PART_ROWS: usize = 4_096;

const TABLES: &str = "SELECT m.name, c.name FROM sqlite_schema AS m JOIN pragma_table_info(m.name) AS c \
     WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY m.rowid, c.cid";

/// A connection in the middle of its one reading transaction.
pub(in crate::sql) struct Reading {
    connection: SqliteConnection,
}

impl Sqlite {
    pub(in crate::sql) async fn reading(&self) -> Result<Reading, SqlError> {
        let options = self.readers.options();
        let mut connection = options.connect().await.map_err(classify)?;
        // The first read after BEGIN is what fixes the instant.
        for sql in ["BEGIN", "SELECT count(*) FROM sqlite_schema"] {
            sqlx::query(sql)
                .execute(&mut connection)
                .await
                .map_err(classify)?;
        }
        Ok(Reading { connection })
    }

    pub(in crate::sql) async fn tables(&self) -> Result<Vec<Table>, SqlError> {
        grouped(&self.fetch_all(TABLES, &[]).await?)
    }

    pub(in crate::sql) async fn dangling(&self) -> Result<usize, SqlError> {
        Ok(self.fetch_all("PRAGMA foreign_key_check", &[]).await?.len())
    }
}

impl Reading {
    pub(in crate::sql) async fn schema(&mut self) -> Result<i64, SqlError> {
        let rows = self
            .fetch("SELECT coalesce(max(number), 0) FROM migration")
            .await?;
        rows.first().map_or(Ok(0), |row| row.i64(0))
    }

    /// Sends every part; ends early, and in peace, when nobody listens.
    pub(in crate::sql) async fn all(
        &mut self,
        parts: &mpsc::Sender<Result<Part, SqlError>>,
    ) -> Result<(), SqlError> {
        let tables = grouped(&self.fetch(TABLES).await?)?;
        for table in tables {
            // By the primary key, whatever index would be narrower.
            let sql = format!(
                "SELECT {} FROM {} NOT INDEXED",
                names(&table.columns),
                quoted(&table.name)
            );
            if parts.send(Ok(Part::Table(table))).await.is_err() {
                return Ok(());
            }
            // Built from names out of the schema alone.
            let mut rows =
                sqlx::query(AssertSqlSafe(sql).into_sql_str()).fetch(&mut self.connection);
            let (mut part, mut bytes) = (Vec::new(), 0);
            while let Some(found) = rows.try_next().await.map_err(classify)? {
                let found = row(&found)?;
                bytes += found.size();
                part.push(found);
                if bytes >= PART_BYTES || part.len() >= PART_ROWS {
                    bytes = 0;
                    let full = std::mem::take(&mut part);
                    if parts.send(Ok(Part::Rows(full))).await.is_err() {
                        return Ok(());
                    }
                }
            }
            if !part.is_empty() && parts.send(Ok(Part::Rows(part))).await.is_err() {
                return Ok(());
            }
        }
        // Fails if a row stood on a damaged page and was read without an error.
        self.fetch(ASK).await?;
        // Who listened to every part but this one has no use for it.
        let _ = parts.send(Ok(Part::End)).await;
        Ok(())
    }

    pub(in crate::sql) async fn end(self) {
        // It only read: however it ends, nothing is lost.
        let _ = self.connection.close().await;
    }

    async fn fetch(&mut self, sql: &'static str) -> Result<Vec<Row>, SqlError> {
        let rows = sqlx::query(sql)
            .fetch_all(&mut self.connection)
            .await
            .map_err(classify)?;
        rows.iter().map(row).collect()
    }
}

impl Open {
    pub(in crate::sql) async fn fill(
        &mut self,
        table: &Table,
        values: &[Value<'_>],
    ) -> Result<u64, SqlError> {
        let head = format!(
            "INSERT INTO {} ({}) VALUES",
            quoted(&table.name),
            names(&table.columns)
        );
        self.insert_rows(&head, "", table.columns.len(), values)
            .await
    }
}

/// Rows of (table, column) as tables.
fn grouped(rows: &[Row]) -> Result<Vec<Table>, SqlError> {
    let mut tables: Vec<Table> = Vec::new();
    for row in rows {
        let (name, column) = (row.text(0)?, row.text(1)?.to_owned());
        match tables.last_mut() {
            Some(table) if table.name == name => table.columns.push(column),
            _ if is_data(name) => tables.push(Table {
                name: name.to_owned(),
                columns: vec![column],
            }),
            _ => {}
        }
    }
    Ok(tables)
}

fn names(columns: &[String]) -> String {
    let names: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
    names.join(", ")
}

fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}
