//! The map of a device's tiers where a page of the file is damaged: whatever can still be read of it.
//!
//! The horizon, the marks and what is gone come first and must be whole. Then roll-ups, which are done without where they
//! cannot be read, and chunks one by one: of one that cannot be read its beginning is known from an index, and its times
//! are read from hot rows; without the index all times are. A chunk that was made anew after the first statement is as good.

use super::{Entry, LOST};
use crate::cold::Length;
use crate::devices::Device;
use crate::error::StoreError;
use crate::spans::Spans;
use crate::sql::{Database, Row, Value};

const GROUND: &str = "SELECT 0, 0, 0, until_us, until_us, 0, 0, 0 FROM cold WHERE project = $1 AND device = $2 \
    UNION ALL SELECT 1, id, 0, from_us, to_us, coalesce(batch, 0), 0, 0 FROM dirty \
      WHERE project = $1 AND device = $2 AND from_us < $4 AND to_us > $3 \
    UNION ALL SELECT 4, 0, 0, until_us, until_us, 0, 0, 0 FROM evidence_gone WHERE project = $1 AND device = $2";
const ROLLUPS: &str = "SELECT 3, id, level, from_us, to_us, built, key_id, counter FROM rollup \
    WHERE project = $1 AND device = $2 AND level BETWEEN 1 AND $5 AND from_us < $4 AND to_us > $3";
const CHUNKS: &str = "SELECT 2, id, kind, from_us, to_us, built, key_id, counter FROM chunk \
    WHERE project = $1 AND device = $2 AND from_us < $4 AND to_us > $3";

/// What [`super::Tiers::load`] asks in one statement, part by part.
pub(super) async fn load(
    database: &Database,
    device: &Device,
    (from, to): (i64, i64),
    level: i64,
) -> Result<Vec<(i64, Entry)>, StoreError> {
    let place = [
        device.project.number.into(),
        device.id.as_bytes().into(),
        from.into(),
        to.into(),
    ];
    let mut found = Vec::new();
    for row in database.fetch_all(GROUND, &place).await? {
        found.push(Entry::from_row(&row)?);
    }
    let [project, id, begin, end] = place;
    let values = [project, id, begin, end, Value::from(level)];
    match database.fetch_all(ROLLUPS, &values).await {
        Ok(rows) => {
            for row in &rows {
                found.push(Entry::from_row(row)?);
            }
        }
        Err(_) => tracing::error!(
            project.id = %device.project.id, device.id = %device.id, from, to,
            "roll-ups of a device cannot be read, a page of the file is damaged; its points are read instead"
        ),
    }
    let chunks = match database.fetch_all(CHUNKS, &place).await {
        Ok(rows) => rows.iter().map(Entry::from_row).collect::<Result<_, _>>()?,
        Err(_) => one_by_one(database, device, (from, to)).await?,
    };
    found.extend(chunks);
    Ok(found)
}

async fn one_by_one(
    database: &Database,
    device: &Device,
    (from, to): (i64, i64),
) -> Result<Vec<(i64, Entry)>, StoreError> {
    // All of it is in one index.
    let listed = database
        .fetch_all(
            "SELECT id, from_us FROM chunk WHERE project = $1 AND device = $2 AND from_us > $3 AND from_us < $4 \
             ORDER BY from_us, id",
            &[
                device.project.number.into(),
                device.id.as_bytes().into(),
                from.saturating_sub(Length::FourWeeks.us()).into(),
                to.into(),
            ],
        )
        .await;
    let Ok(listed) = listed else {
        lost(device, (from, to));
        return Ok(vec![(2, Entry::lost(from, to))]);
    };
    let mut chunks = Vec::new();
    let mut damaged = Vec::new();
    for (place, row) in listed.iter().enumerate() {
        let (id, begin) = (row.i64(0)?, row.i64(1)?);
        let next = listed.get(place + 1).map(|row| row.i64(1)).transpose()?;
        if next == Some(begin) {
            continue;
        }
        let read = database
            .fetch_optional(
                "SELECT 2, id, kind, from_us, to_us, built, key_id, counter FROM chunk WHERE id = $1",
                &[id.into()],
            )
            .await;
        match read {
            Ok(row) => chunks.extend(row.as_ref().map(Entry::from_row).transpose()?),
            Err(_) => {
                // No window is longer, and none reaches into the next one.
                let longest = begin.saturating_add(Length::FourWeeks.us());
                damaged.push((begin, next.unwrap_or(longest).min(longest)));
            }
        }
    }
    let whole = chunks.iter().map(|(_, chunk)| (chunk.from, chunk.to));
    let rest = Spans::of(damaged).without(&Spans::of(whole));
    for (from, to) in rest.intersect(&Spans::one(from, to)).iter() {
        lost(device, (from, to));
        chunks.push((2, Entry::lost(from, to)));
    }
    chunks.retain(|(_, chunk)| chunk.to > from);
    Ok(chunks)
}

fn lost(device: &Device, (from, to): (i64, i64)) {
    tracing::error!(
        project.id = %device.project.id, device.id = %device.id, from, to,
        "what is stored of these times of a device as a chunk cannot be found, a page of the file is damaged; they are \
         read as they came, as far as that is kept"
    );
}

impl Entry {
    /// The number of the part that a row is of, and what it says.
    pub(super) fn from_row(row: &Row) -> Result<(i64, Self), StoreError> {
        let entry = Self {
            id: row.i64(1)?,
            kind: row.i64(2)?,
            from: row.i64(3)?,
            to: row.i64(4)?,
            built: row.i64(5)?,
            key_id: row.i64(6)?,
            counter: row.i64(7)?,
        };
        Ok((row.i64(0)?, entry))
    }

    /// What stands for chunks that cannot be read: every row is inside, as it would be read with the hot ones.
    fn lost(from: i64, to: i64) -> Self {
        Self {
            id: LOST,
            kind: 0,
            from,
            to,
            built: i64::MAX - 1,
            key_id: 0,
            counter: 0,
        }
    }
}
