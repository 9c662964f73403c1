//! Changes of an element's unit, and how its stored values are read since.
//!
//! Owns the table `unit_change`, which is an element's history: rows are added, never changed. What devices sent stays as
//! it is in the store: a rescaled range is converted whenever it is read, by every change that covers a time, in their
//! order. Relabelling says that the values were always in the new unit and converts nothing.

use std::collections::BTreeMap;

use fieldkeep_protocol::{ElementId, ProjectId, Timestamp};

use super::{Element, Invalid, Projects, ProjectsError, Thing, ValueKind, text};
use crate::access::{Grant, Read, Write};
use crate::clock::rfc3339;
use crate::db::Row;
use crate::keys::SealingKey;
use crate::trail::Act;
use serde_json::json;

const FACTOR: &str = "unit_change.factor";
const REASON: &str = "unit_change.reason";
/// Factors and offsets beyond this are mistakes.
const LARGEST: f64 = 1e30;
/// Changes of one element: reading applies each of them.
const MOST: i64 = 64;

/// What becomes of the values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum UnitMode {
    /// They were always in the new unit.
    Relabel,
    /// Those of the range are read as `value * factor + offset`.
    Rescale {
        /// Not 0.
        factor: f64,
        /// Added after multiplying.
        offset: f64,
    },
}

/// What to change.
#[derive(Clone, Debug)]
pub struct NewUnit {
    /// The unit of the element from now on, in UCUM.
    pub unit: String,
    /// What becomes of the values.
    pub mode: UnitMode,
    /// The first instant of the range; None from the beginning.
    pub from: Option<Timestamp>,
    /// The first instant after it; None without end.
    pub to: Option<Timestamp>,
    /// Why.
    pub reason: String,
}

/// A change that was made.
#[derive(Clone, Debug, PartialEq)]
pub struct UnitChange {
    /// Its place in the element's history, from 1.
    pub number: i64,
    /// What became of the values.
    pub mode: UnitMode,
    /// The unit before.
    pub before: String,
    /// The unit after.
    pub after: String,
    /// The first instant of the range; None from the beginning.
    pub from: Option<Timestamp>,
    /// The first instant after it; None without end.
    pub to: Option<Timestamp>,
    /// Why.
    pub reason: String,
    /// Who.
    pub by: String,
    /// When.
    pub at: Timestamp,
}

/// How the stored values of an element are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scaling(Vec<Step>);

#[derive(Clone, Copy, Debug, PartialEq)]
struct Step {
    from: Timestamp,
    to: Timestamp,
    factor: f64,
    offset: f64,
}

impl Scaling {
    /// Whether values are read as they are stored.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.0.is_empty()
    }

    /// What a value of that time is read as.
    #[must_use]
    pub fn value(&self, time: Timestamp, value: f64) -> f64 {
        self.0
            .iter()
            .filter(|step| (step.from..step.to).contains(&time))
            .fold(value, |value, step| value.mul_add(step.factor, step.offset))
    }

    /// The instants inside `(from, to)` at which the conversion changes, in order.
    #[must_use]
    pub fn edges(&self, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        let mut edges: Vec<Timestamp> = self
            .0
            .iter()
            .flat_map(|step| [step.from, step.to])
            .filter(|edge| *edge > from && *edge < to)
            .collect();
        edges.sort_unstable();
        edges.dedup();
        edges
    }

    fn add(&mut self, change: &UnitChange) {
        if let UnitMode::Rescale { factor, offset } = change.mode {
            self.0.push(Step {
                from: change.from.unwrap_or(Timestamp::from_micros(i64::MIN)),
                to: change.to.unwrap_or(Timestamp::from_micros(i64::MAX)),
                factor,
                offset,
            });
        }
    }
}

const SELECT: &str =
    "SELECT element, number, rescale, unit_before, unit_after, factor_sealed, from_us, to_us,
        reason_sealed, changed_by, changed_us
    FROM unit_change WHERE project = $1 AND element = $2 ORDER BY number";
const SELECT_ALL: &str =
    "SELECT element, number, rescale, unit_before, unit_after, factor_sealed, from_us, to_us,
        reason_sealed, changed_by, changed_us
    FROM unit_change WHERE project = $1 ORDER BY element, number";

impl Projects {
    /// Changes the unit of an element.
    ///
    /// # Errors
    /// [`ProjectsError::Invalid`] names what is missing or contradicts itself.
    pub async fn change_unit(
        &self,
        grant: &Grant<'_, Write>,
        id: ElementId,
        new: NewUnit,
    ) -> Result<Element, ProjectsError> {
        let project = grant.project();
        let mut element = self.element(&grant.read(), id).await?;
        let unit = text::unit("unit", &new.unit)?;
        let reason = text::reason("reason", &new.reason)?;
        check(&element, &new)?;
        let key = self.key(project).await?;
        let mut transaction = self.db.begin().await?;
        let found = transaction
            .fetch_optional(
                "SELECT e.unit, coalesce((SELECT max(number) FROM unit_change WHERE project = $1 AND element = $2), 0)
                 FROM element e WHERE e.project = $1 AND e.id = $2",
                &[project.as_bytes().into(), id.as_bytes().into()],
            )
            .await?
            .ok_or(ProjectsError::NotFound(Thing::Element))?;
        let number = found.i64(1)? + 1;
        if number > MOST {
            return Err(invalid("unit", Invalid::TooOften));
        }
        let place = place(id, number);
        let (rescale, factor, offset) = match new.mode {
            UnitMode::Relabel => (false, 1.0, 0.0),
            UnitMode::Rescale { factor, offset } => (true, factor, offset),
        };
        let mut numbers = f64::to_be_bytes(factor).to_vec();
        numbers.extend_from_slice(&f64::to_be_bytes(offset));
        transaction
            .execute(
                "INSERT INTO unit_change (project, element, number, rescale, unit_before, unit_after, factor_sealed,
                     from_us, to_us, reason_sealed, changed_by, changed_us)
                 VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
                &[
                    project.as_bytes().into(),
                    id.as_bytes().into(),
                    number.into(),
                    rescale.into(),
                    found.text(0)?.into(),
                    unit.into(),
                    (&key.seal(FACTOR, &place, &numbers)).into(),
                    new.from.map(Timestamp::as_micros).into(),
                    new.to.map(Timestamp::as_micros).into(),
                    (&key.seal(REASON, &place, reason.as_bytes())).into(),
                    grant.actor().to_string().as_str().into(),
                    self.clock.now().as_micros().into(),
                ],
            )
            .await?;
        transaction
            .execute(
                "UPDATE element SET unit = $3 WHERE project = $1 AND id = $2",
                &[project.as_bytes().into(), id.as_bytes().into(), unit.into()],
            )
            .await?;
        let entry = grant
            .entry(Act::ElementChange)
            .reason(Some(reason))
            .old(json!({ "unit": found.text(0)? }))
            .new_value(json!({
                "unit": unit,
                "mode": if rescale { "rescale" } else { "relabel" },
                "from": new.from.map(rfc3339::format),
                "to": new.to.map(rfc3339::format),
            }));
        self.tell_element(&mut transaction, entry, &element).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %project, by = %grant.actor(), element.id = %id, number, rescale, "unit changed");
        unit.clone_into(&mut element.unit);
        Ok(element)
    }

    /// The changes of an element's unit, oldest first.
    pub async fn unit_history(
        &self,
        grant: &Grant<'_, Read>,
        id: ElementId,
    ) -> Result<Vec<UnitChange>, ProjectsError> {
        self.element(grant, id).await?;
        let project = grant.project();
        let rows = self
            .db
            .fetch_all(SELECT, &[project.as_bytes().into(), id.as_bytes().into()])
            .await?;
        let key = self.key(project).await?;
        rows.iter()
            .map(|row| from_row(row, &key).map(|(_, change)| change))
            .collect()
    }

    /// How the stored values of some elements are read, in their order. Whether they are in reach is asked elsewhere.
    pub async fn scalings(
        &self,
        grant: &Grant<'_, Read>,
        elements: &[ElementId],
    ) -> Result<Vec<Scaling>, ProjectsError> {
        if let [only] = elements {
            let project = grant.project();
            let values = [project.as_bytes().into(), only.as_bytes().into()];
            let rows = self.db.fetch_all(SELECT, &values).await?;
            let mut all = self.collected(project, &rows).await?;
            return Ok(vec![all.remove(only).unwrap_or_default()]);
        }
        let all = self.all_scalings(grant).await?;
        let of = |element| all.get(element).cloned().unwrap_or_default();
        Ok(elements.iter().map(of).collect())
    }

    /// The same for all elements of the project that have any.
    pub async fn all_scalings(
        &self,
        grant: &Grant<'_, Read>,
    ) -> Result<BTreeMap<ElementId, Scaling>, ProjectsError> {
        let project = grant.project();
        let rows = self
            .db
            .fetch_all(SELECT_ALL, &[project.as_bytes().into()])
            .await?;
        self.collected(project, &rows).await
    }

    async fn collected(
        &self,
        project: ProjectId,
        rows: &[Row],
    ) -> Result<BTreeMap<ElementId, Scaling>, ProjectsError> {
        let mut all = BTreeMap::new();
        if rows.is_empty() {
            return Ok(all);
        }
        let key = self.key(project).await?;
        for row in rows {
            let (element, change) = from_row(row, &key)?;
            let scaling: &mut Scaling = all.entry(element).or_default();
            scaling.add(&change);
        }
        Ok(all)
    }
}

fn check(element: &Element, new: &NewUnit) -> Result<(), ProjectsError> {
    match new.mode {
        UnitMode::Relabel => {
            if new.from.is_some() || new.to.is_some() {
                let field = if new.from.is_some() { "from" } else { "to" };
                return Err(invalid(field, Invalid::AlwaysThis));
            }
        }
        UnitMode::Rescale { factor, offset } => {
            if element.value_kind != ValueKind::Number {
                return Err(invalid("mode", Invalid::NoNumbers));
            }
            if !(LARGEST.recip()..=LARGEST).contains(&factor.abs()) {
                return Err(invalid("factor", Invalid::Factor));
            }
            if !(0.0..=LARGEST).contains(&offset.abs()) {
                return Err(invalid("offset", Invalid::Factor));
            }
            if let (Some(from), Some(to)) = (new.from, new.to)
                && to <= from
            {
                return Err(invalid("to", Invalid::NotAfter));
            }
        }
    }
    Ok(())
}

const fn invalid(field: &'static str, reason: Invalid) -> ProjectsError {
    ProjectsError::Invalid { field, reason }
}

fn place(element: ElementId, number: i64) -> Vec<u8> {
    let mut place = element.as_bytes().to_vec();
    place.extend_from_slice(&number.to_be_bytes());
    place
}

fn from_row(row: &Row, key: &SealingKey) -> Result<(ElementId, UnitChange), ProjectsError> {
    let element = ElementId::from_bytes(row.array(0)?);
    let number = row.i64(1)?;
    let place = place(element, number);
    let mode = if row.bool(2)? {
        let numbers = key.open(FACTOR, &place, row.bytes(5)?)?;
        let read = |part: Option<&[u8]>| {
            part.and_then(|part| part.try_into().ok())
                .map(f64::from_be_bytes)
                .ok_or(ProjectsError::Unknown(FACTOR))
        };
        UnitMode::Rescale {
            factor: read(numbers.get(..8))?,
            offset: read(numbers.get(8..))?,
        }
    } else {
        UnitMode::Relabel
    };
    let change = UnitChange {
        number,
        mode,
        before: row.text(3)?.to_owned(),
        after: row.text(4)?.to_owned(),
        from: row.opt_i64(6)?.map(Timestamp::from_micros),
        to: row.opt_i64(7)?.map(Timestamp::from_micros),
        reason: key.open_text(REASON, &place, row.bytes(8)?)?,
        by: row.text(9)?.to_owned(),
        at: Timestamp::from_micros(row.i64(10)?),
    };
    Ok((element, change))
}
