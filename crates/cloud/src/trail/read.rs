//! Reading the trail: newest first, filtered, page by page.
//!
//! A row whose sealed part does not open is shown as damaged, with the columns that lie in clear: a reader must see that
//! somebody changed it, and the rest of the trail too.

use std::collections::BTreeSet;

use fieldkeep_protocol::{LocationId, ProjectId, Timestamp};
use serde_json::Value;

use super::entry::{Bound, Detail};
use super::{DETAIL, Trail, TrailError, scope};
use crate::db::{Row, SqlError};
use crate::keys::SealingKey;

/// Rows that one page looks at, at most: a filter that finds little answers a short page with a way to go on.
const LOOKED_AT: usize = 5_000;
const AT_ONCE: i64 = 500;

/// Which entries. The default is all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// By this actor's id.
    pub who: Option<String>,
    /// Of this act (`member.change`) or this group of acts (`member`).
    pub act: Option<String>,
    /// On the thing with this id.
    pub object: Option<String>,
    /// At or after.
    pub from: Option<Timestamp>,
    /// Before.
    pub to: Option<Timestamp>,
    /// `done`, `refused` or `failed`.
    pub result: Option<String>,
    /// Only what happened at these locations.
    pub locations: Option<BTreeSet<LocationId>>,
}

/// One entry as it was written.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its number in its project.
    pub id: i64,
    /// When.
    pub at: Timestamp,
    /// What kind of actor.
    pub who_kind: String,
    /// The actor's id.
    pub who: String,
    /// The actor's name at that time.
    pub name: Option<String>,
    /// What was done.
    pub act: String,
    /// What kind of thing it was done to.
    pub object_kind: String,
    /// The thing's id.
    pub object: String,
    /// Where in the project.
    pub location: Option<LocationId>,
    /// `done`, `refused` or `failed`.
    pub result: String,
    /// The problem's code of a refusal.
    pub code: String,
    /// How often.
    pub count: u64,
    /// What it was before.
    pub old: Option<Value>,
    /// What it is since.
    pub new: Option<Value>,
    /// Why.
    pub reason: Option<String>,
    /// From which address.
    pub address: Option<String>,
    /// In which request.
    pub request: Option<String>,
    /// Whether the row was changed after it was written: what was sealed does not open.
    pub damaged: bool,
}

/// Some entries, newest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Page {
    /// The entries.
    pub records: Vec<Record>,
    /// Ask for what is before this number to go on; None at the end.
    pub next: Option<i64>,
}

macro_rules! select {
    ($column:literal) => {
        concat!(
            "SELECT id, at_us, who_kind, who, act, object_kind, object, location, result, code, count,
                    detail_sealed
             FROM trail WHERE project = $1 AND id < $2 ",
            $column,
            " AND (CAST($4 AS text) IS NULL OR act = $4 OR substr(act, 1, length($4) + 1) = $4 || '.')
              AND (CAST($5 AS text) IS NULL OR result = $5)
              AND at_us >= $6 AND at_us < $7
              AND (CAST($9 AS text) IS NULL OR object = $9)
             ORDER BY id DESC LIMIT $8"
        )
    };
}

// Written out so that each takes its index.
const BY_ANYBODY: &str = select!("AND CAST($3 AS text) IS NULL");
const BY_ONE: &str = select!("AND who = $3");

impl Trail {
    /// Entries of a project, or of the instance (None), before a number. Only `access` asks, for who may see them.
    pub(crate) async fn page(
        &self,
        project: Option<ProjectId>,
        filter: &Filter,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Page, TrailError> {
        let key = self.key(project).await?;
        let scope = scope(project);
        let sql = if filter.who.is_some() {
            BY_ONE
        } else {
            BY_ANYBODY
        };
        let mut page = Page::default();
        let mut before = before.unwrap_or(i64::MAX);
        let mut looked_at = 0;
        loop {
            let rows = self
                .0
                .db
                .fetch_all(
                    sql,
                    &[
                        (&scope).into(),
                        before.into(),
                        filter.who.as_deref().into(),
                        filter.act.as_deref().into(),
                        filter.result.as_deref().into(),
                        filter.from.map_or(i64::MIN, Timestamp::as_micros).into(),
                        filter.to.map_or(i64::MAX, Timestamp::as_micros).into(),
                        AT_ONCE.into(),
                        filter.object.as_deref().into(),
                    ],
                )
                .await?;
            for row in &rows {
                let record = record(row, &key)?;
                before = record.id;
                if !filter.sees(&record) {
                    continue;
                }
                if page.records.len() == limit {
                    page.next = page.records.last().map(|last| last.id);
                    return Ok(page);
                }
                page.records.push(record);
            }
            if i64::try_from(rows.len()).is_ok_and(|found| found < AT_ONCE) {
                return Ok(page);
            }
            looked_at += rows.len();
            if looked_at >= LOOKED_AT {
                page.next = Some(before);
                return Ok(page);
            }
        }
    }
}

impl Filter {
    fn sees(&self, record: &Record) -> bool {
        self.locations.as_ref().is_none_or(|seen| {
            record
                .location
                .is_some_and(|location| seen.contains(&location))
        })
    }
}

fn record(row: &Row, key: &SealingKey) -> Result<Record, SqlError> {
    let location: Option<[u8; 16]> = row.opt_array(7)?;
    let bound = Bound {
        id: row.i64(0)?,
        at_us: row.i64(1)?,
        who_kind: row.text(2)?,
        who: row.text(3)?,
        act: row.text(4)?,
        object_kind: row.text(5)?,
        object: row.text(6)?,
        location: location.as_ref().map(<[u8; 16]>::as_slice),
        result: row.text(8)?,
        code: row.text(9)?,
        count: row.i64(10)?,
    };
    let opened = key
        .open(DETAIL, &bound.bytes(), row.bytes(11)?)
        .ok()
        .and_then(|plain| Detail::read(&plain));
    let damaged = opened.is_none();
    let detail = opened.unwrap_or_default();
    Ok(Record {
        id: bound.id,
        at: Timestamp::from_micros(bound.at_us),
        who_kind: bound.who_kind.to_owned(),
        who: bound.who.to_owned(),
        name: detail.name,
        act: bound.act.to_owned(),
        object_kind: bound.object_kind.to_owned(),
        object: bound.object.to_owned(),
        location: location.map(LocationId::from_bytes),
        result: bound.result.to_owned(),
        code: bound.code.to_owned(),
        count: u64::try_from(bound.count).unwrap_or_default(),
        old: detail.old,
        new: detail.new,
        reason: detail.reason,
        address: detail.address,
        request: detail.request,
        damaged,
    })
}
