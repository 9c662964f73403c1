//! Elements: the identities of time series.

use fieldkeep_protocol::{ElementId, LocationId, ProjectId, Timestamp};

use super::deployments::{self, Deployment};
use super::{Invalid, Projects, ProjectsError, Thing, locations, text};
use crate::access::{Grant, Locations, Read, Write};
use crate::db::{Row, Transaction};
use crate::keys::{SealingKey, new_id};
use crate::trail::{Act, Entry};
use serde_json::json;

macro_rules! kinds {
    ($(#[$doc:meta])+ $name:ident { $($(#[$each:meta])+ $variant:ident = $text:literal,)+ }) => {
        $(#[$doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $name {
            $($(#[$each])+ $variant,)+
        }

        impl $name {
            /// The word for it, as stored and shown.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The kind with this word.
            pub fn from_name(text: &str) -> Option<Self> {
                match text {
                    $($text => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

kinds! {
    /// Where an element's points come from.
    ElementKind {
        /// From devices, by deployments.
        Measured = "measured",
        /// Computed from other elements.
        Virtual = "virtual",
        /// Entered by people.
        Manual = "manual",
        /// Set on a device.
        Output = "output",
    }
}

kinds! {
    /// What an element's values are.
    ValueKind {
        /// Numbers.
        Number = "number",
        /// Yes or no.
        Boolean = "boolean",
        /// Codes of states.
        State = "state",
    }
}

/// An observed property at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Which.
    pub id: ElementId,
    /// Its name.
    pub name: String,
    /// The unit of its values, in UCUM; empty for none.
    pub unit: String,
    /// Decimal places to show.
    pub digits: u8,
    /// Where its points come from.
    pub kind: ElementKind,
    /// What its values are.
    pub value_kind: ValueKind,
    /// The colour to draw it in, as `#rrggbb`.
    pub colour: Option<String>,
    /// Where it is.
    pub location: Option<LocationId>,
    /// When it was made.
    pub created: Timestamp,
    /// The deployment that began last, which may have ended.
    pub deployment: Option<Deployment>,
}

/// What a new element shall be.
#[derive(Clone, Debug)]
pub struct NewElement {
    /// Its name.
    pub name: String,
    /// The unit of its values, in UCUM; empty for none.
    pub unit: String,
    /// Decimal places to show.
    pub digits: u8,
    /// Where its points come from.
    pub kind: ElementKind,
    /// What its values are.
    pub value_kind: ValueKind,
    /// The colour to draw it in, as `#rrggbb`.
    pub colour: Option<String>,
    /// Where it is.
    pub location: Option<LocationId>,
}

/// What to change of an element; None leaves as it is. Its unit and kinds do not change this way: stored values would
/// take on another meaning.
#[derive(Clone, Debug, Default)]
pub struct ElementChange {
    /// A new name.
    pub name: Option<String>,
    /// Decimal places to show.
    pub digits: Option<u8>,
    /// A new colour, or none.
    pub colour: Option<Option<String>>,
    /// A new location, or none.
    pub location: Option<Option<LocationId>>,
}

/// What `from_row` reads.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT id, name_sealed, unit, digits, kind, value_kind, colour, location, created_us FROM element ",
            $rest
        )
    };
}

impl Projects {
    /// The elements in reach, by name, each with its newest deployment.
    pub async fn elements(&self, grant: &Grant<'_, Read>) -> Result<Vec<Element>, ProjectsError> {
        let project = grant.project();
        let rows = self
            .db
            .fetch_all(select!("WHERE project = $1"), &[project.as_bytes().into()])
            .await?;
        let key = self.key(project).await?;
        let mut newest = deployments::newest(&self.db, &key, project).await?;
        let mut elements = Vec::new();
        for row in &rows {
            if grant.locations().allow(locations::optional(row, 7)?) {
                let mut element = from_row(row, &key)?;
                element.deployment = newest.remove(&element.id);
                elements.push(element);
            }
        }
        elements.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(elements)
    }

    /// One element with its newest deployment.
    pub async fn element(
        &self,
        grant: &Grant<'_, Read>,
        id: ElementId,
    ) -> Result<Element, ProjectsError> {
        let project = grant.project();
        let row = self
            .db
            .fetch_optional(
                select!("WHERE project = $1 AND id = $2"),
                &[project.as_bytes().into(), id.as_bytes().into()],
            )
            .await?
            .ok_or(ProjectsError::NotFound(Thing::Element))?;
        if !grant.locations().allow(locations::optional(&row, 7)?) {
            return Err(ProjectsError::NotFound(Thing::Element));
        }
        let key = self.key(project).await?;
        let mut element = from_row(&row, &key)?;
        element.deployment = deployments::newest_of(&self.db, &key, project, id).await?;
        Ok(element)
    }

    /// Makes an element.
    pub async fn create_element(
        &self,
        grant: &Grant<'_, Write>,
        new: NewElement,
    ) -> Result<Element, ProjectsError> {
        let project = grant.project();
        let key = self.key(project).await?;
        let element = Element {
            id: new_id(&self.clock, ElementId::from_parts),
            name: text::name("name", &new.name)?.to_owned(),
            unit: text::unit("unit", &new.unit)?.to_owned(),
            digits: text::digits("digits", new.digits)?,
            kind: new.kind,
            value_kind: new.value_kind,
            colour: checked_colour(new.colour)?,
            location: new.location,
            created: self.clock.now(),
            deployment: None,
        };
        let mut transaction = self.db.begin().await?;
        in_reach(&mut transaction, project, grant.locations(), new.location).await?;
        insert(&mut transaction, project, &key, &element).await?;
        let entry = grant.entry(Act::ElementCreate).new_value(told(&element));
        self.tell_element(&mut transaction, entry, &element).await?;
        transaction.commit().await?;
        Ok(element)
    }

    /// Changes an element.
    pub async fn change_element(
        &self,
        grant: &Grant<'_, Write>,
        id: ElementId,
        change: ElementChange,
    ) -> Result<Element, ProjectsError> {
        let project = grant.project();
        let mut element = self.element(&grant.read(), id).await?;
        let old = told(&element);
        if let Some(name) = &change.name {
            text::name("name", name)?.clone_into(&mut element.name);
        }
        if let Some(digits) = change.digits {
            element.digits = text::digits("digits", digits)?;
        }
        if let Some(colour) = change.colour {
            element.colour = checked_colour(colour)?;
        }
        let key = self.key(project).await?;
        let mut transaction = self.db.begin().await?;
        let row = id.as_bytes();
        // Only where it is asked for: where somebody else has just moved the element to must stand.
        if let Some(location) = change.location {
            in_reach(&mut transaction, project, grant.locations(), location).await?;
            element.location = location;
            transaction
                .execute(
                    "UPDATE element SET location = $3 WHERE project = $1 AND id = $2",
                    &[
                        project.as_bytes().into(),
                        row.into(),
                        location.as_ref().map(LocationId::as_bytes).into(),
                    ],
                )
                .await?;
        }
        transaction
            .execute(
                "UPDATE element SET name_sealed = $3, digits = $4, colour = $5
                 WHERE project = $1 AND id = $2",
                &[
                    project.as_bytes().into(),
                    row.into(),
                    (&key.seal("element.name", row, element.name.as_bytes())).into(),
                    i64::from(element.digits).into(),
                    element.colour.as_deref().into(),
                ],
            )
            .await?;
        let entry = grant
            .entry(Act::ElementChange)
            .old(old)
            .new_value(told(&element));
        self.tell_element(&mut transaction, entry, &element).await?;
        transaction.commit().await?;
        Ok(element)
    }

    pub(super) async fn tell_element(
        &self,
        transaction: &mut Transaction,
        entry: Entry,
        element: &Element,
    ) -> Result<(), ProjectsError> {
        let entry = entry.on(element.id).at(element.location);
        Ok(self.access.trail().write(transaction, entry).await?)
    }
}

/// An element as the trail tells it.
pub(super) fn told(element: &Element) -> serde_json::Value {
    json!({
        "name": element.name,
        "unit": element.unit,
        "digits": element.digits,
        "colour": element.colour,
        "location": element.location.map(|location| location.to_string()),
    })
}

pub(super) async fn insert(
    transaction: &mut Transaction,
    project: ProjectId,
    key: &SealingKey,
    element: &Element,
) -> Result<(), ProjectsError> {
    let id = element.id.as_bytes();
    transaction
        .execute(
            "INSERT INTO element (project, id, name_sealed, unit, digits, kind, value_kind, colour,
                 location, created_us)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
            &[
                project.as_bytes().into(),
                id.into(),
                (&key.seal("element.name", id, element.name.as_bytes())).into(),
                element.unit.as_str().into(),
                i64::from(element.digits).into(),
                element.kind.name().into(),
                element.value_kind.name().into(),
                element.colour.as_deref().into(),
                element.location.as_ref().map(LocationId::as_bytes).into(),
                element.created.as_micros().into(),
            ],
        )
        .await?;
    Ok(())
}

/// Refuses a location that is not in the project, or not in the grant's reach.
async fn in_reach(
    transaction: &mut Transaction,
    project: ProjectId,
    reach: &Locations,
    location: Option<LocationId>,
) -> Result<(), ProjectsError> {
    let refuse = |reason| ProjectsError::Invalid {
        field: "location",
        reason,
    };
    if !reach.allow(location) {
        return Err(refuse(Invalid::OutOfReach));
    }
    let Some(location) = location else {
        return Ok(());
    };
    let found = transaction
        .fetch_optional(
            "SELECT 1 FROM location WHERE project = $1 AND id = $2",
            &[project.as_bytes().into(), location.as_bytes().into()],
        )
        .await?;
    found.map(|_| ()).ok_or_else(|| refuse(Invalid::Unknown))
}

fn checked_colour(colour: Option<String>) -> Result<Option<String>, ProjectsError> {
    colour
        .map(|colour| text::colour("colour", &colour).map(str::to_lowercase))
        .transpose()
}

fn from_row(row: &Row, key: &SealingKey) -> Result<Element, ProjectsError> {
    let id: [u8; 16] = row.array(0)?;
    Ok(Element {
        id: ElementId::from_bytes(id),
        name: key.open_text("element.name", &id, row.bytes(1)?)?,
        unit: row.text(2)?.to_owned(),
        digits: u8::try_from(row.i64(3)?).map_err(|_| ProjectsError::Unknown("element.digits"))?,
        kind: ElementKind::from_name(row.text(4)?).ok_or(ProjectsError::Unknown("element.kind"))?,
        value_kind: ValueKind::from_name(row.text(5)?)
            .ok_or(ProjectsError::Unknown("element.value_kind"))?,
        colour: row.opt_text(6)?.map(str::to_owned),
        location: locations::optional(row, 7)?,
        created: Timestamp::from_micros(row.i64(8)?),
        deployment: None,
    })
}
