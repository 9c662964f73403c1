//! How many bytes each table takes, its indexes included: for measuring, not for serving, as every page is read.

use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// The tables with their bytes in the database file, as of the last checkpoint or later.
    pub async fn table_bytes(&self) -> Result<Vec<(String, u64)>, StoreError> {
        let tables = self.inner.database.table_bytes().await?;
        Ok(tables
            .into_iter()
            .map(|(table, bytes)| (table, u64::try_from(bytes).unwrap_or(0)))
            .collect())
    }
}
