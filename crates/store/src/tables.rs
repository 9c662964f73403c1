//! Channel tables: what the columns of a revision's batches are.
//!
//! Two different tables for one revision are both kept; the first one is read. Decoded tables are cached within a bound.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fieldkeep_protocol::channels::{Channels, Kind};
use fieldkeep_protocol::{Epoch, Timestamp};

use crate::cipher::{DataKeys, Kind as PayloadKind, Subject};
use crate::error::StoreError;
use crate::sql::{Database, Row};
use crate::stream::Identity;

/// Channels of all cached tables together, about 150 bytes each.
const KEPT: usize = 262_144;

/// One channel of a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// The number that columns name it by.
    pub index: u16,
    /// Its name on the device.
    pub name: String,
    /// UCUM code of the unit.
    pub unit: String,
    /// What the values are.
    pub kind: Kind,
    /// Decimal places worth showing.
    pub digits: u8,
    /// Nominal sampling interval; 0 when it is sampled on events.
    pub interval_us: u64,
    /// A name for people.
    pub label: Option<String>,
}

/// The channel table of one configuration revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelTable {
    /// The epoch whose batches it explains.
    pub epoch: Epoch,
    /// The configuration revision.
    pub revision: u32,
    /// 0 is the table that is read; others are kept beside it.
    pub branch: u32,
    /// When the cloud had it.
    pub received: Timestamp,
    /// The channels, by ascending index.
    pub channels: Vec<Channel>,
}

impl ChannelTable {
    pub(crate) fn new(table: &Channels<'_>, branch: u32, received: Timestamp) -> Self {
        let channels = table
            .iter()
            .map(|channel| Channel {
                index: channel.index,
                name: channel.name.to_owned(),
                unit: channel.unit.to_owned(),
                kind: channel.kind,
                digits: channel.digits,
                interval_us: channel.interval_us,
                label: channel.label.map(str::to_owned),
            })
            .collect();
        Self {
            epoch: table.epoch(),
            revision: table.revision(),
            branch,
            received,
            channels,
        }
    }

    /// The channel of a name.
    pub fn channel(&self, name: &str) -> Option<&Channel> {
        self.channels.iter().find(|channel| channel.name == name)
    }
}

/// The tables that were read lately.
#[derive(Default)]
pub(crate) struct Tables {
    known: Mutex<HashMap<(i64, u32), Arc<ChannelTable>>>,
}

impl Tables {
    /// The table that explains a revision's batches. The caller knows that there is one; `None` if it is damaged.
    pub(crate) async fn table(
        &self,
        database: &Database,
        keys: &DataKeys,
        identity: &Identity,
        revision: u32,
    ) -> Result<Option<Arc<ChannelTable>>, StoreError> {
        let known = self
            .known
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(identity.id, revision))
            .map(Arc::clone);
        if known.is_some() {
            return Ok(known);
        }
        let row = database
            .fetch_optional(
                "SELECT revision, branch, received_us, key_id, counter, payload FROM channels \
                 WHERE project = $1 AND stream = $2 AND revision = $3 AND branch = 0",
                &[
                    identity.project.number.into(),
                    identity.id.into(),
                    revision.into(),
                ],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let table = open(keys, identity, &row).await?.map(Arc::new);
        if let Some(table) = &table {
            self.learn(identity.id, Arc::clone(table));
        }
        Ok(table)
    }

    /// Enters a table that is durable.
    pub(crate) fn learn(&self, stream: i64, table: Arc<ChannelTable>) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let kept: usize = known.values().map(|table| table.channels.len()).sum();
        if kept + table.channels.len() > KEPT {
            known.clear();
        }
        known.insert((stream, table.revision), table);
    }
}

/// All tables of a stream, the damaged ones left out, by revision and branch.
pub(crate) async fn of_stream(
    database: &Database,
    keys: &DataKeys,
    identity: &Identity,
) -> Result<Vec<ChannelTable>, StoreError> {
    let rows = database
        .fetch_all(
            "SELECT revision, branch, received_us, key_id, counter, payload FROM channels \
             WHERE project = $1 AND stream = $2 ORDER BY revision, branch",
            &[identity.project.number.into(), identity.id.into()],
        )
        .await?;
    let mut tables = Vec::with_capacity(rows.len());
    for row in rows {
        tables.extend(open(keys, identity, &row).await?);
    }
    Ok(tables)
}

async fn open(
    keys: &DataKeys,
    identity: &Identity,
    row: &Row,
) -> Result<Option<ChannelTable>, StoreError> {
    let branch = u32::try_from(row.i64(1)?).unwrap_or(u32::MAX);
    let subject = Subject {
        project: identity.project.id,
        kind: PayloadKind::Channels,
        device: identity.device,
        epoch: identity.epoch.0,
        first: row.i64(0)?.cast_unsigned(),
        count: 0,
        branch,
    };
    let key = keys.opening(identity.project, row.i64(3)?).await?;
    let plain = key.and_then(|key| {
        let counter = row.i64(4).ok()?;
        key.open(&subject, counter, row.bytes(5).ok()?.to_vec())
    });
    let table = plain.as_deref().and_then(|plain| {
        let table = Channels::decode(plain).ok()?;
        let received = Timestamp::from_micros(row.i64(2).ok()?);
        Some(ChannelTable::new(&table, branch, received))
    });
    if table.is_none() {
        // Logged there; the batches it explains stay unreadable, their neighbours do not.
        let _ = subject.damaged();
    }
    Ok(table)
}
