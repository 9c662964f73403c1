//! Bytes a point of our own store, by tier.
//!
//! Counts the pages of each table with its indexes in a file that no server holds: what the file takes after its log was
//! folded in. Hot is everything but the cold tiers, so the ledger's and the channel tables' bytes are in it.

use std::sync::Arc;

use anyhow::Result;
use fieldkeep_cloud::clock::Clock;
use fieldkeep_cloud::keys::{Keys, MasterKey};
use fieldkeep_store::{Options, Store};

use super::fleet::Instance;

/// Tables of the cold tiers.
const CHUNKS: &[&str] = &["chunk"];
const ROLLUPS: &[&str] = &["rollup"];
const MARKS: &[&str] = &["cold", "dirty", "lease"];

/// More than an empty table takes with its index.
const EMPTY_BYTES: u64 = 16 * 1_024;

/// Bytes by tier.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tiers {
    /// Batches as received, their ledger and what explains them.
    pub hot: u64,
    /// Chunks.
    pub cold: u64,
    /// Roll-ups.
    pub rollups: u64,
}

impl Tiers {
    /// What has been added since.
    #[must_use]
    pub fn beyond(self, before: &Self) -> Self {
        Self {
            hot: self.hot.saturating_sub(before.hot),
            cold: self.cold.saturating_sub(before.cold),
            rollups: self.rollups.saturating_sub(before.rollups),
        }
    }

    /// Whether anything was compacted: a table that is empty has its pages too.
    #[must_use]
    pub fn is_cold(&self) -> bool {
        self.cold > EMPTY_BYTES
    }
}

/// Measures an instance that was stopped.
pub async fn tiers(instance: &Instance) -> Result<Tiers> {
    let data = instance.data();
    let master = MasterKey::for_data(&instance.master_key(), &data)?;
    let opened = Keys::open(&data, &master, &Clock::system()).await?;
    let path = data.join("series.db");
    let store = Store::open(Options::new(
        path,
        opened.series,
        Arc::new(opened.keys.clone()),
    ))
    .await?;
    let tables = store.table_bytes().await;
    store.close().await;
    opened.keys.close().await;
    let mut tiers = Tiers::default();
    for (table, bytes) in tables? {
        let table = table.as_str();
        if CHUNKS.contains(&table) {
            tiers.cold += bytes;
        } else if ROLLUPS.contains(&table) {
            tiers.rollups += bytes;
        } else if !MARKS.contains(&table) {
            tiers.hot += bytes;
        }
    }
    Ok(tiers)
}

/// A size over a number of points.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn each(bytes: u64, points: u64) -> f64 {
    bytes as f64 / points.max(1) as f64
}
