//! Makes windows of any length cold, for tests of what depends on where windows end. What the store's own worker does is
//! tested with itself.

use std::collections::BTreeSet;

use fieldkeep_protocol::batch::Batch;

use super::*;
use crate::cipher::{Kind, Subject};
use crate::cold::{ChunkBuilder, Origin as Cold, Place, Unread, Window};
use crate::devices::Device;
use crate::feed::Feed;
use crate::gaps::GapReason;
use crate::sql::{Transaction, Value};
use crate::stamp::{Timing, cells};

/// What a worker has read and made of one window, to be committed later.
pub(super) struct Made {
    window: Window,
    built: i64,
    marks: Vec<i64>,
    chunk: Option<(Vec<u8>, usize)>,
}

/// Reads a window's rows and makes its chunk.
async fn make(store: &Store, device: &Device, window: Window) -> Made {
    let database = &store.inner.database;
    let built = one(database, "SELECT coalesce(max(id), 0) FROM batch").await;
    let key: [Value<'_>; 4] = [
        device.project.number.into(),
        device.id.as_bytes().into(),
        window.from.into(),
        window.to.into(),
    ];
    // Only marks that lie in the window entirely are done with after it.
    let marks = database
        .fetch_all(
            "SELECT id FROM dirty WHERE project = $1 AND device = $2 AND from_us >= $3 AND to_us <= $4",
            &key,
        )
        .await
        .unwrap();
    let marks = marks.iter().map(|row| row.i64(0).unwrap()).collect();
    let mut builder = ChunkBuilder::new();
    let mut feed = Feed::new(database);
    for stream in device.streams(database).await.unwrap() {
        feed.add(&stream, (window.from, window.to), built)
            .await
            .unwrap();
    }
    while let Some(fed) = feed.next().await.unwrap() {
        let (stream, row) = (fed.stream, fed.row);
        let origin = Cold {
            stream: stream.identity.id,
            branch: row.branch,
            revision: row.revision,
        };
        let number = builder.origin(origin);
        let mut unread = Unread {
            origin,
            first: row.first,
            count: row.count,
            from_us: row.from_us,
            to_us: row.to_us,
            reason: GapReason::Held,
        };
        let Some(table) = store.inner.table(&stream, row.revision).await.unwrap() else {
            builder.unread(unread);
            continue;
        };
        for channel in &table.channels {
            let place = Place {
                channel: channel.index,
                interval_us: channel.interval_us,
            };
            builder.place(number, &channel.name, place);
        }
        let Some(plain) = store.inner.open_batch(&stream, row).await.unwrap() else {
            unread.reason = GapReason::Damaged;
            builder.unread(unread);
            continue;
        };
        let batch = Batch::decode(&plain).unwrap();
        let mut rows = Vec::new();
        for (record, time) in (batch.header().first..).zip(batch.times()) {
            let row = window.contains(time);
            rows.push(row.then(|| builder.row(number, time, record).unwrap()));
        }
        for channel in &table.channels {
            let cells =
                cells(&batch, channel.index, channel.interval_us, &Timing::AS_SENT).zip(&rows);
            let cells = cells.filter_map(|((_, _, cell), row)| Some(((*row)?, cell)));
            builder.add(&channel.name, cells);
        }
    }
    let sorted = builder.sort();
    Made {
        window,
        built,
        marks,
        chunk: (!sorted.is_empty()).then(|| (sorted.encode(), sorted.points())),
    }
}

/// Puts what was made in the place of what was there.
async fn commit(store: &Store, device: &Device, made: Made, until: i64) {
    let inner = &store.inner;
    let key = inner
        .keys
        .current(device.project, received())
        .await
        .unwrap();
    let mut transaction = inner.database.begin().await.unwrap();
    let (project, id) = (device.project.number, device.id);
    let window = made.window;
    let horizon = device.known_horizon().max(until);
    device.raise_horizon(until);
    // Whatever became durable since the rows were read, and begins before the horizon as it becomes.
    execute(
        &mut transaction,
        "INSERT INTO dirty (project, device, from_us, to_us, cause, batch, marked_us) \
         SELECT $1, $2, b.from_us, b.from_us + b.span_us + 1, 1, b.id, 0 FROM batch b JOIN stream s ON s.id = b.stream \
         WHERE s.project = $1 AND s.device = $2 AND b.id > $3 AND b.from_us < $4 AND b.held = false \
           AND NOT EXISTS (SELECT 1 FROM dirty d WHERE d.batch = b.id)",
        &[project.into(), id.as_bytes().into(), made.built.into(), horizon.into()],
    )
    .await;
    execute(
        &mut transaction,
        "DELETE FROM chunk WHERE project = $1 AND device = $2 AND from_us = $3",
        &[project.into(), id.as_bytes().into(), window.from.into()],
    )
    .await;
    if let Some((plain, points)) = &made.chunk {
        let sealed = key
            .seal(&subject(device, window.from, made.built), plain)
            .unwrap();
        execute(
            &mut transaction,
            "INSERT INTO chunk (project, device, kind, from_us, to_us, built, points, key_id, counter, payload) \
             VALUES ($1, $2, 2, $3, $4, $5, $6, $7, $8, $9)",
            &[
                project.into(),
                id.as_bytes().into(),
                window.from.into(),
                window.to.into(),
                made.built.into(),
                i64::try_from(*points).unwrap().into(),
                sealed.key_id.into(),
                sealed.counter.into(),
                (&sealed.payload).into(),
            ],
        )
        .await;
    }
    execute(
        &mut transaction,
        "INSERT INTO cold (project, device, until_us) VALUES ($1, $2, $3) ON CONFLICT (project, device) DO UPDATE \
         SET until_us = excluded.until_us WHERE excluded.until_us > cold.until_us",
        &[project.into(), id.as_bytes().into(), until.into()],
    )
    .await;
    for mark in made.marks {
        execute(
            &mut transaction,
            "DELETE FROM dirty WHERE id = $1",
            &[mark.into()],
        )
        .await;
    }
    transaction.commit().await.unwrap();
}

/// Moves everything before `until`, and everything that is marked, in windows of `length_us`.
pub(super) async fn compact(store: &Store, of: Origin, length_us: i64, until: i64) {
    let Some(device) = store.inner.find_device(of).await.unwrap() else {
        return;
    };
    let database = &store.inner.database;
    let horizon = device.horizon(database).await.unwrap();
    let mut windows = BTreeSet::new();
    let (mut earliest, mut latest) = (i64::MAX, i64::MIN);
    for stream in device.streams(database).await.unwrap() {
        if let Some(times) = stream.state(database).await.unwrap().times {
            earliest = earliest.min(times.from.div_euclid(length_us));
            latest = latest.max(times.to.div_euclid(length_us));
        }
    }
    let marks = database
        .fetch_all("SELECT from_us, to_us FROM dirty", &[])
        .await
        .unwrap();
    let marked = |window: Window| {
        let touches = |row: &crate::sql::Row| {
            row.i64(0).unwrap() < window.to && row.i64(1).unwrap() > window.from
        };
        marks.iter().any(touches)
    };
    for index in earliest..=latest {
        let window = Window {
            from: index * length_us,
            to: (index + 1) * length_us,
        };
        if window.to <= until.max(horizon) && (window.from >= horizon || marked(window)) {
            windows.insert(window);
        }
    }
    for window in windows {
        let made = make(store, &device, window).await;
        commit(store, &device, made, window.to).await;
    }
}

pub(super) async fn one(database: &crate::sql::Database, sql: &'static str) -> i64 {
    let row = database.fetch_optional(sql, &[]).await.unwrap();
    row.unwrap().i64(0).unwrap()
}

async fn execute(transaction: &mut Transaction, sql: &'static str, values: &[Value<'_>]) {
    transaction.execute(sql, values).await.unwrap();
}

fn subject(device: &Device, from: i64, built: i64) -> Subject {
    Subject {
        project: device.project.id,
        kind: Kind::Chunk,
        device: device.id,
        epoch: from.cast_unsigned(),
        first: built.cast_unsigned(),
        count: 2,
        branch: 0,
    }
}
