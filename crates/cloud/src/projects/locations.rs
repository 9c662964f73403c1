//! Locations: sites inside a project.

use fieldkeep_protocol::{LocationId, Timestamp};

use super::{Invalid, Projects, ProjectsError, Thing, text, whole};
use crate::access::{Grant, Read, Write};
use crate::db::{Row, SqlError, Transaction};
use crate::keys::{SealingKey, new_id};
use crate::trail::{Act, Entry};
use serde_json::json;

/// A point on Earth, WGS 84, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Place {
    /// North of the equator.
    pub latitude: f64,
    /// East of Greenwich.
    pub longitude: f64,
}

/// A site.
#[derive(Clone, Debug, PartialEq)]
pub struct Location {
    /// Which.
    pub id: LocationId,
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: Option<Place>,
    /// When it was made.
    pub created: Timestamp,
}

/// What a new location shall be.
#[derive(Clone, Debug)]
pub struct NewLocation {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub place: Option<Place>,
}

/// What to change of a location; None leaves as it is.
#[derive(Clone, Debug, Default)]
pub struct LocationChange {
    /// A new name.
    pub name: Option<String>,
    /// A new place, or none.
    pub place: Option<Option<Place>>,
}

impl Projects {
    /// The locations in reach, by name.
    pub async fn locations(&self, grant: &Grant<'_, Read>) -> Result<Vec<Location>, ProjectsError> {
        let project = grant.project();
        let rows = self
            .db
            .fetch_all(
                "SELECT id, name_sealed, place_sealed, created_us FROM location WHERE project = $1",
                &[project.as_bytes().into()],
            )
            .await?;
        let key = self.key(project).await?;
        let mut locations = Vec::new();
        for row in &rows {
            if grant.locations().allow(optional(row, 0)?) {
                locations.push(from_row(row, &key)?);
            }
        }
        locations.sort_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        Ok(locations)
    }

    /// One location.
    pub async fn location(
        &self,
        grant: &Grant<'_, Read>,
        id: LocationId,
    ) -> Result<Location, ProjectsError> {
        let project = grant.project();
        let missing = ProjectsError::NotFound(Thing::Location);
        if !grant.locations().allow(Some(id)) {
            return Err(missing);
        }
        let row = self
            .db
            .fetch_optional(
                "SELECT id, name_sealed, place_sealed, created_us FROM location
                 WHERE project = $1 AND id = $2",
                &[project.as_bytes().into(), id.as_bytes().into()],
            )
            .await?
            .ok_or(missing)?;
        from_row(&row, &self.key(project).await?)
    }

    /// Makes a location. A grant limited to locations cannot: the new one would be outside its reach.
    pub async fn create_location(
        &self,
        grant: &Grant<'_, Write>,
        new: NewLocation,
    ) -> Result<Location, ProjectsError> {
        whole(grant.locations())?;
        let location = Location {
            id: new_id(&self.clock, LocationId::from_parts),
            name: text::name("name", &new.name)?.to_owned(),
            place: new.place.map(checked).transpose()?,
            created: self.clock.now(),
        };
        let project = grant.project();
        let key = self.key(project).await?;
        let mut transaction = self.db.begin().await?;
        transaction
            .execute(
                "INSERT INTO location (project, id, name_sealed, place_sealed, created_us)
                 VALUES ($1, $2, $3, $4, $5)",
                &[
                    project.as_bytes().into(),
                    location.id.as_bytes().into(),
                    (&seal_name(&key, &location)).into(),
                    seal_place(&key, &location).as_ref().into(),
                    location.created.as_micros().into(),
                ],
            )
            .await?;
        let entry = grant.entry(Act::LocationCreate).new_value(told(&location));
        self.tell_location(&mut transaction, entry, location.id)
            .await?;
        transaction.commit().await?;
        Ok(location)
    }

    /// Changes a location.
    pub async fn change_location(
        &self,
        grant: &Grant<'_, Write>,
        id: LocationId,
        change: LocationChange,
    ) -> Result<Location, ProjectsError> {
        let mut location = self.location(&grant.read(), id).await?;
        let old = told(&location);
        if let Some(name) = &change.name {
            text::name("name", name)?.clone_into(&mut location.name);
        }
        if let Some(place) = change.place {
            location.place = place.map(checked).transpose()?;
        }
        let project = grant.project();
        let key = self.key(project).await?;
        let mut transaction = self.db.begin().await?;
        transaction
            .execute(
                "UPDATE location SET name_sealed = $3, place_sealed = $4
                 WHERE project = $1 AND id = $2",
                &[
                    project.as_bytes().into(),
                    id.as_bytes().into(),
                    (&seal_name(&key, &location)).into(),
                    seal_place(&key, &location).as_ref().into(),
                ],
            )
            .await?;
        let entry = grant
            .entry(Act::LocationChange)
            .old(old)
            .new_value(told(&location));
        self.tell_location(&mut transaction, entry, id).await?;
        transaction.commit().await?;
        Ok(location)
    }

    /// Deletes a location at which nothing is.
    pub async fn delete_location(
        &self,
        grant: &Grant<'_, Write>,
        id: LocationId,
    ) -> Result<(), ProjectsError> {
        let location = self.location(&grant.read(), id).await?;
        let project = grant.project();
        let values = [project.as_bytes().into(), id.as_bytes().into()];
        let mut transaction = self.db.begin().await?;
        let used = transaction
            .fetch_optional(
                "SELECT 1 FROM device WHERE project = $1 AND location = $2
                 UNION ALL SELECT 1 FROM element WHERE project = $1 AND location = $2
                 UNION ALL SELECT 1 FROM claim
                     WHERE project = $1 AND location = $2 AND used_us IS NULL LIMIT 1",
                &values,
            )
            .await?;
        if used.is_some() {
            return Err(ProjectsError::LocationInUse);
        }
        let deleted = transaction
            .execute(
                "DELETE FROM location WHERE project = $1 AND id = $2",
                &values,
            )
            .await?;
        if deleted == 0 {
            return Err(ProjectsError::NotFound(Thing::Location));
        }
        let entry = grant.entry(Act::LocationRemove).old(told(&location));
        self.tell_location(&mut transaction, entry, id).await?;
        transaction.commit().await?;
        Ok(())
    }

    async fn tell_location(
        &self,
        transaction: &mut Transaction,
        entry: Entry,
        id: LocationId,
    ) -> Result<(), ProjectsError> {
        let entry = entry.on(id).at(Some(id));
        Ok(self.access.trail().write(transaction, entry).await?)
    }
}

/// A location as the trail tells it.
fn told(location: &Location) -> serde_json::Value {
    let place = location
        .place
        .map(|place| json!({ "latitude": place.latitude, "longitude": place.longitude }));
    json!({ "name": location.name, "place": place })
}

/// A column with the location of something, which may be nowhere.
pub(super) fn optional(row: &Row, column: usize) -> Result<Option<LocationId>, SqlError> {
    Ok(row.opt_array(column)?.map(LocationId::from_bytes))
}

fn from_row(row: &Row, key: &SealingKey) -> Result<Location, ProjectsError> {
    let id: [u8; 16] = row.array(0)?;
    let place = match row.opt_bytes(2)? {
        Some(sealed) => {
            let bytes = key.open("location.place", &id, sealed)?;
            Some(place_from(&bytes).ok_or(ProjectsError::Unknown("location.place"))?)
        }
        None => None,
    };
    Ok(Location {
        id: LocationId::from_bytes(id),
        name: key.open_text("location.name", &id, row.bytes(1)?)?,
        place,
        created: Timestamp::from_micros(row.i64(3)?),
    })
}

fn checked(place: Place) -> Result<Place, ProjectsError> {
    let sound =
        (-90.0..=90.0).contains(&place.latitude) && (-180.0..=180.0).contains(&place.longitude);
    sound.then_some(place).ok_or(ProjectsError::Invalid {
        field: "latitude",
        reason: Invalid::Place,
    })
}

fn seal_name(key: &SealingKey, location: &Location) -> Vec<u8> {
    key.seal(
        "location.name",
        location.id.as_bytes(),
        location.name.as_bytes(),
    )
}

/// Two big-endian doubles: latitude, longitude.
fn seal_place(key: &SealingKey, location: &Location) -> Option<Vec<u8>> {
    location.place.map(|place| {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&place.latitude.to_be_bytes());
        bytes[8..].copy_from_slice(&place.longitude.to_be_bytes());
        key.seal("location.place", location.id.as_bytes(), &bytes)
    })
}

fn place_from(bytes: &[u8]) -> Option<Place> {
    let (latitude, longitude) = bytes.split_at_checked(8)?;
    Some(Place {
        latitude: f64::from_be_bytes(latitude.try_into().ok()?),
        longitude: f64::from_be_bytes(longitude.try_into().ok()?),
    })
}
