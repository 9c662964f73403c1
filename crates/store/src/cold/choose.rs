//! Which window comes next: how long it is follows from how many records there are.
//!
//! A quiet device gets four weeks in one chunk, a busy one an hour. Windows are aligned and nested, and those of one
//! device never overlap: a window begins at the horizon or after it, and a rewrite keeps the window that is there.

use super::{CHUNK_ROWS, Length, WEEK_US, Window};
use crate::days::day;
use crate::devices::Device;
use crate::error::StoreError;
use crate::sql::Database;
use crate::store::Inner;
use crate::stream::Stream;

/// How much of a window must have passed before its number of records is foretold: a share, as a divisor.
const FORETELL: i64 = 32;

/// Records of a window of each length at most, the longest first.
fn lengths(inner: &Inner) -> [(Length, i64); 4] {
    let [four_weeks, week, day] = inner.window_records;
    [
        (Length::FourWeeks, four_weeks),
        (Length::Week, week),
        (Length::Day, day),
        (Length::Hour, CHUNK_ROWS as i64),
    ]
}

/// Where a device stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    /// Times before it are cold; `i64::MIN` while none is.
    pub(super) horizon: i64,
    /// Windows that begin before it are never made again: their hot rows are gone.
    pub(super) floor: i64,
}

/// A chunk that is there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Known {
    pub(super) window: Window,
    pub(super) length: Length,
    pub(super) built: i64,
}

impl Standing {
    pub(super) async fn load(database: &Database, device: &Device) -> Result<Self, StoreError> {
        let row = database
            .fetch_optional(
                "SELECT (SELECT until_us FROM cold WHERE project = $1 AND device = $2), \
                   (SELECT until_us FROM evidence_gone WHERE project = $1 AND device = $2)",
                &[device.project.number.into(), device.id.as_bytes().into()],
            )
            .await?;
        let at = |column| {
            let known = row.as_ref().map(|row| row.opt_i64(column)).transpose()?;
            Ok::<_, StoreError>(known.flatten().unwrap_or(i64::MIN))
        };
        Ok(Self {
            horizon: at(0)?,
            floor: at(1)?,
        })
    }
}

/// The window at the horizon that holds `first`, the first instant from the horizon on that has records; shorter than
/// `below`, if that is given. `None` where even an hour has more than one chunk may have.
pub(super) async fn at_horizon(
    inner: &Inner,
    device: &Device,
    standing: Standing,
    (first, now_us): (i64, i64),
    below: Option<Length>,
) -> Result<Option<(Length, Window)>, StoreError> {
    let database = &inner.database;
    for (length, most) in lengths(inner) {
        let window = length.around(first);
        let fits = window.from >= standing.horizon.max(standing.floor);
        if !fits || below.is_some_and(|below| length >= below) {
            continue;
        }
        let records = records(database, device, window).await?;
        if foretold(records, first.max(window.from), window, now_us) <= most {
            return Ok(Some((length, window)));
        }
    }
    Ok(None)
}

/// The window before the horizon that holds `time`, where there is no chunk.
pub(super) async fn behind(
    inner: &Inner,
    device: &Device,
    standing: Standing,
    time: i64,
    below: Option<Length>,
) -> Result<Option<(Length, Window)>, StoreError> {
    let database = &inner.database;
    for (length, most) in lengths(inner) {
        let window = length.around(time);
        let fits = window.from >= standing.floor && window.to <= standing.horizon;
        if !fits || below.is_some_and(|below| length >= below) {
            continue;
        }
        let is_free = chunk(database, device, window).await?.is_none();
        if is_free && records(database, device, window).await? <= most {
            return Ok(Some((length, window)));
        }
    }
    Ok(None)
}

/// The first chunk that touches some times.
pub(super) async fn chunk(
    database: &Database,
    device: &Device,
    window: Window,
) -> Result<Option<Known>, StoreError> {
    let row = database
        .fetch_optional(
            "SELECT kind, from_us, to_us, built FROM chunk WHERE project = $1 AND device = $2 AND from_us < $4 AND to_us > $3 \
             ORDER BY from_us, id DESC LIMIT 1",
            &[
                device.project.number.into(),
                device.id.as_bytes().into(),
                window.from.into(),
                window.to.into(),
                day(window.from).into(),
                day(window.to).into(),
            ],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let kind = row.i64(0)?;
    let length = Length::ALL
        .into_iter()
        .find(|length| *length as i64 == kind);
    Ok(Some(Known {
        length: length.unwrap_or(Length::Hour),
        window: Window {
            from: row.i64(1)?,
            to: row.i64(2)?,
        },
        built: row.i64(3)?,
    }))
}

/// The first instant from `window.from` on, and before its end, at which a hot row up to the id `built` has its extent.
pub(super) async fn first_instant(
    database: &Database,
    stream: &Stream,
    window: Window,
    built: i64,
) -> Result<Option<i64>, StoreError> {
    let times = stream.state(database).await?.times;
    let Some(times) = times.filter(|times| times.to >= window.from && times.from < window.to)
    else {
        return Ok(None);
    };
    let identity = &stream.identity;
    let row = database
        .fetch_optional(
            "SELECT from_us FROM hot WHERE project = $1 AND stream = $2 AND day >= $7 AND day <= $8 AND held = false \
               AND from_us >= $3 AND from_us < $4 AND from_us + span_us >= $5 AND id <= $6 ORDER BY day, from_us LIMIT 1",
            &[
                identity.project.number.into(),
                identity.id.into(),
                window.from.saturating_sub(times.span).into(),
                window.to.into(),
                window.from.into(),
                built.into(),
                day(window.from.saturating_sub(times.span)).into(),
                day(window.to).into(),
            ],
        )
        .await?;
    let from = row.map(|row| row.i64(0)).transpose()?;
    Ok(from.map(|from| from.max(window.from)))
}

/// The number of records of rows that begin in the window.
async fn records(database: &Database, device: &Device, window: Window) -> Result<i64, StoreError> {
    let row = database
        .fetch_optional(
            "SELECT coalesce(sum(count), 0) FROM hot WHERE project = $1 \
               AND stream IN (SELECT id FROM stream WHERE project = $1 AND device = $2) \
               AND day >= $5 AND day <= $6 AND held = false AND from_us >= $3 AND from_us < $4",
            &[
                device.project.number.into(),
                device.id.as_bytes().into(),
                window.from.into(),
                window.to.into(),
                day(window.from).into(),
                day(window.to).into(),
            ],
        )
        .await?;
    Ok(row.map_or(Ok(0), |row| row.i64(0))?)
}

/// How many records an open window will have, if it goes on as it began.
fn foretold(records: i64, first: i64, window: Window, now_us: i64) -> i64 {
    let span = window.to.saturating_sub(window.from);
    let seen = now_us.min(window.to).saturating_sub(first);
    if seen >= span || seen < (span / FORETELL).min(WEEK_US) {
        return records;
    }
    let whole = i128::from(records) * i128::from(span) / i128::from(seen.max(1));
    i64::try_from(whole).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_open_window_is_judged_by_how_it_began() {
        let window = Length::FourWeeks.around(0);
        let day = Length::Day.us();
        let after =
            |days: i64| foretold(1_440 * days, window.from, window, window.from + days * day);
        assert_eq!(after(28), 1_440 * 28);
        assert_eq!(after(7), 1_440 * 28);
        let early = window.from + day / 2;
        assert_eq!(foretold(720, window.from, window, early), 720);
    }
}
