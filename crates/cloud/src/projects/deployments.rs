//! Deployments: which channel of which device feeds an element, from when to when.
//!
//! An element has at most one source at an instant; a channel may feed several elements. Times are half-open: a
//! deployment that ends at noon and one that begins at noon do not overlap.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use fieldkeep_protocol::{DeploymentId, DeviceId, ElementId, LocationId, ProjectId, Timestamp};
use fieldkeep_store::Source;

use super::{Invalid, Projects, ProjectsError, Thing, locations, text};
use crate::access::{Grant, Locations, Read, Write};
use crate::clock::rfc3339;
use crate::db::{Db, Row, Transaction};
use crate::keys::{SealingKey, new_id};
use crate::trail::Act;
use serde_json::json;

/// The dated binding of a device's channel to an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deployment {
    /// Which.
    pub id: DeploymentId,
    /// The element that is fed.
    pub element: ElementId,
    /// The device that feeds it.
    pub device: DeviceId,
    /// The device's channel.
    pub channel: String,
    /// The channel's nominal interval; 0 when it reports on events.
    pub interval_us: u64,
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after it; None while it lasts.
    pub to: Option<Timestamp>,
}

/// What a new deployment shall be.
#[derive(Clone, Debug)]
pub struct NewDeployment {
    /// The element that is fed.
    pub element: ElementId,
    /// The device that feeds it.
    pub device: DeviceId,
    /// The device's channel.
    pub channel: String,
    /// The channel's nominal interval; 0 when it reports on events.
    pub interval_us: u64,
    /// The first instant.
    pub from: Timestamp,
    /// The first instant after it; None while it lasts.
    pub to: Option<Timestamp>,
}

/// What `from_row` reads, then the element's location.
macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT d.id, d.element, d.device, d.channel_sealed, d.interval_us, d.from_us, d.to_us, e.location
             FROM deployment d JOIN element e ON e.project = d.project AND e.id = d.element ",
            $rest
        )
    };
}

const ALL: &str = select!("WHERE d.project = $1 ORDER BY d.from_us, d.id");
const OF_ELEMENT: &str =
    select!("WHERE d.project = $1 AND d.element = $2 ORDER BY d.from_us, d.id");
const ONE: &str = select!("WHERE d.project = $1 AND d.id = $2");
const NEWEST: &str = select!(
    "WHERE d.project = $1 AND d.from_us =
        (SELECT max(from_us) FROM deployment WHERE project = $1 AND element = d.element)"
);

impl Projects {
    /// The deployments of elements in reach, oldest first.
    pub async fn deployments(
        &self,
        grant: &Grant<'_, Read>,
    ) -> Result<Vec<Deployment>, ProjectsError> {
        let project = grant.project();
        let rows = self.db.fetch_all(ALL, &[project.as_bytes().into()]).await?;
        let key = self.key(project).await?;
        let mut deployments = Vec::new();
        for row in &rows {
            if grant.locations().allow(locations::optional(row, 7)?) {
                deployments.push(from_row(row, &key)?);
            }
        }
        Ok(deployments)
    }

    /// Binds a channel to an element for a time.
    ///
    /// # Errors
    /// [`ProjectsError::Overlap`] when the element has another source in that time.
    pub async fn create_deployment(
        &self,
        grant: &Grant<'_, Write>,
        new: NewDeployment,
    ) -> Result<Deployment, ProjectsError> {
        let project = grant.project();
        let deployment = Deployment {
            id: new_id(&self.clock, DeploymentId::from_parts),
            element: new.element,
            device: new.device,
            channel: text::name("channel", &new.channel)?.to_owned(),
            interval_us: new.interval_us,
            from: new.from,
            to: new.to,
        };
        if new.to.is_some_and(|to| to <= new.from) {
            return Err(ProjectsError::Invalid {
                field: "to",
                reason: Invalid::NotAfter,
            });
        }
        let key = self.key(project).await?;
        let mut transaction = self.db.begin().await?;
        let mut location = None;
        for (thing, sql, id) in [
            (
                Thing::Element,
                "SELECT location FROM element WHERE project = $1 AND id = $2",
                new.element.as_bytes(),
            ),
            (
                Thing::Device,
                "SELECT location FROM device WHERE project = $1 AND id = $2",
                new.device.as_bytes(),
            ),
        ] {
            let found = transaction
                .fetch_optional(sql, &[project.as_bytes().into(), id.into()])
                .await?;
            reachable(found.as_ref(), grant.locations(), thing)?;
            if let (Thing::Element, Some(row)) = (thing, &found) {
                location = locations::optional(row, 0)?;
            }
        }
        free(&mut transaction, project, &deployment).await?;
        insert(&mut transaction, project, &key, &deployment).await?;
        let entry = grant
            .entry(Act::DeploymentCreate)
            .on(deployment.id)
            .at(location)
            .new_value(told(&deployment));
        self.access.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        Ok(deployment)
    }

    /// Ends a deployment at `to`, or moves the end of one that has ended.
    ///
    /// # Errors
    /// [`ProjectsError::Overlap`] when the new end runs into the element's next source.
    pub async fn end_deployment(
        &self,
        grant: &Grant<'_, Write>,
        id: DeploymentId,
        to: Timestamp,
    ) -> Result<Deployment, ProjectsError> {
        let project = grant.project();
        let key = self.key(project).await?;
        let values = [project.as_bytes().into(), id.as_bytes().into()];
        let mut transaction = self.db.begin().await?;
        let row = transaction.fetch_optional(ONE, &values).await?;
        let row = row.ok_or(ProjectsError::NotFound(Thing::Deployment))?;
        let location = locations::optional(&row, 7)?;
        if !grant.locations().allow(location) {
            return Err(ProjectsError::NotFound(Thing::Deployment));
        }
        let mut deployment = from_row(&row, &key)?;
        let old = told(&deployment);
        if to <= deployment.from {
            return Err(ProjectsError::Invalid {
                field: "to",
                reason: Invalid::NotAfter,
            });
        }
        deployment.to = Some(to);
        free(&mut transaction, project, &deployment).await?;
        transaction
            .execute(
                "UPDATE deployment SET to_us = $3 WHERE project = $1 AND id = $2",
                &[
                    project.as_bytes().into(),
                    id.as_bytes().into(),
                    to.as_micros().into(),
                ],
            )
            .await?;
        let entry = grant
            .entry(Act::DeploymentChange)
            .on(id)
            .at(location)
            .old(old)
            .new_value(told(&deployment));
        self.access.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        Ok(deployment)
    }

    /// Where the element's points are found, oldest first; None when the element is not in reach.
    pub async fn sources(
        &self,
        grant: &Grant<'_, Read>,
        element: ElementId,
    ) -> Result<Option<Arc<[Source]>>, ProjectsError> {
        let found = self.sources_of(grant, &[element]).await?;
        Ok(found.into_iter().next().flatten())
    }

    /// The same for several elements, in their order; None where one is not in reach. What was found before is used again
    /// while the catalogue is as it was when the door last asked it; many are read in two statements.
    pub async fn sources_of(
        &self,
        grant: &Grant<'_, Read>,
        elements: &[ElementId],
    ) -> Result<Vec<Option<Arc<[Source]>>>, ProjectsError> {
        let project = grant.project();
        let state = match self.db.seen_state() {
            Some(state) => state,
            None => self.db.state().await?,
        };
        let keys = self.keys.changes();
        let known = |element: &ElementId| {
            let fed = self.fed.in_state(state, &(project, *element))?;
            (fed.keys == keys).then_some(fed)
        };
        let mut found: Vec<Option<Fed>> = elements.iter().map(known).collect();
        let missing = found.iter().filter(|fed| fed.is_none()).count();
        if missing > 0 {
            let read = if missing <= FEW {
                let unknown = elements.iter().zip(&found);
                let unknown = unknown.filter(|(_, fed)| fed.is_none());
                let unknown: Vec<ElementId> = unknown.map(|(element, _)| *element).collect();
                self.read_few(project, &unknown, keys).await?
            } else {
                self.read_many(project, elements, keys).await?
            };
            for (element, fed) in elements.iter().zip(&mut found) {
                if fed.is_none() {
                    *fed = read.get(element).cloned();
                }
            }
            for (element, fed) in read {
                self.fed.keep(state, (project, element), fed);
            }
        }
        let reach = grant.locations();
        let in_reach = |fed: Fed| reach.allow(fed.location).then_some(fed.sources);
        Ok(found
            .into_iter()
            .map(|fed| fed.and_then(in_reach))
            .collect())
    }

    async fn read_few(
        &self,
        project: ProjectId,
        elements: &[ElementId],
        keys: u64,
    ) -> Result<BTreeMap<ElementId, Fed>, ProjectsError> {
        let mut found = BTreeMap::new();
        for element in elements {
            let values = [project.as_bytes().into(), element.as_bytes().into()];
            let row = self
                .db
                .fetch_optional(
                    "SELECT location FROM element WHERE project = $1 AND id = $2",
                    &values,
                )
                .await?;
            let Some(row) = row else { continue };
            let rows = self.db.fetch_all(OF_ELEMENT, &values).await?;
            let key = self.key(project).await?;
            let sources = rows.iter().map(|row| source(row, &key));
            let fed = Fed {
                location: locations::optional(&row, 0)?,
                sources: sources.collect::<Result<_, ProjectsError>>()?,
                keys,
            };
            found.insert(*element, fed);
        }
        Ok(found)
    }

    async fn read_many(
        &self,
        project: ProjectId,
        elements: &[ElementId],
        keys: u64,
    ) -> Result<BTreeMap<ElementId, Fed>, ProjectsError> {
        let values = [project.as_bytes().into()];
        let wanted: BTreeSet<ElementId> = elements.iter().copied().collect();
        let mut found: BTreeMap<ElementId, (Option<LocationId>, Vec<Source>)> = BTreeMap::new();
        let rows = self
            .db
            .fetch_all(
                "SELECT id, location FROM element WHERE project = $1",
                &values,
            )
            .await?;
        for row in rows {
            let id = ElementId::from_bytes(row.array(0)?);
            if wanted.contains(&id) {
                found.insert(id, (locations::optional(&row, 1)?, Vec::new()));
            }
        }
        let key = self.key(project).await?;
        for row in self.db.fetch_all(ALL, &values).await? {
            let element = ElementId::from_bytes(row.array(1)?);
            if let Some((_, sources)) = found.get_mut(&element) {
                sources.push(source(&row, &key)?);
            }
        }
        let found = found.into_iter().map(|(element, (location, sources))| {
            let sources = sources.into();
            let fed = Fed {
                location,
                sources,
                keys,
            };
            (element, fed)
        });
        Ok(found.collect())
    }
}

/// Where an element lies and what feeds it.
#[derive(Clone, Debug)]
pub(super) struct Fed {
    location: Option<LocationId>,
    sources: Arc<[Source]>,
    /// As many changes to the keys there were before it was opened.
    keys: u64,
}

/// A deployment as the trail tells it.
fn told(deployment: &Deployment) -> serde_json::Value {
    json!({
        "element": deployment.element.to_string(),
        "device": deployment.device.to_string(),
        "channel": deployment.channel,
        "from": rfc3339::format(deployment.from),
        "to": deployment.to.map(rfc3339::format),
    })
}

/// Elements that are asked for one by one: more are cheaper all at once.
const FEW: usize = 4;

fn source(row: &Row, key: &SealingKey) -> Result<Source, ProjectsError> {
    let Deployment {
        device,
        channel,
        from,
        to,
        ..
    } = from_row(row, key)?;
    Ok(Source {
        device,
        channel,
        from,
        to,
    })
}

/// Refuses a row (its first column the location) that is missing or out of reach.
fn reachable(row: Option<&Row>, reach: &Locations, thing: Thing) -> Result<(), ProjectsError> {
    let row = row.ok_or(ProjectsError::NotFound(thing))?;
    if reach.allow(locations::optional(row, 0)?) {
        Ok(())
    } else {
        Err(ProjectsError::NotFound(thing))
    }
}

/// Refuses a deployment whose element has another source at any of its instants.
async fn free(
    transaction: &mut Transaction,
    project: ProjectId,
    deployment: &Deployment,
) -> Result<(), ProjectsError> {
    let until = deployment.to.map_or(i64::MAX, Timestamp::as_micros);
    let other = transaction
        .fetch_optional(
            "SELECT id FROM deployment WHERE project = $1 AND element = $2 AND id <> $3
             AND from_us < $4 AND (to_us IS NULL OR to_us > $5) ORDER BY from_us LIMIT 1",
            &[
                project.as_bytes().into(),
                deployment.element.as_bytes().into(),
                deployment.id.as_bytes().into(),
                until.into(),
                deployment.from.as_micros().into(),
            ],
        )
        .await?;
    match other {
        Some(row) => Err(ProjectsError::Overlap {
            with: DeploymentId::from_bytes(row.array(0)?),
        }),
        None => Ok(()),
    }
}

pub(super) async fn insert(
    transaction: &mut Transaction,
    project: ProjectId,
    key: &SealingKey,
    deployment: &Deployment,
) -> Result<(), ProjectsError> {
    let id = deployment.id.as_bytes();
    let hash = channel_hash(key, deployment.device, &deployment.channel);
    transaction
        .execute(
            "INSERT INTO deployment (project, id, element, device, channel_hash, channel_sealed,
                 interval_us, from_us, to_us)
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            &[
                project.as_bytes().into(),
                id.into(),
                deployment.element.as_bytes().into(),
                deployment.device.as_bytes().into(),
                (&hash).into(),
                (&key.seal("deployment.channel", id, deployment.channel.as_bytes())).into(),
                stored_interval(deployment.interval_us).into(),
                deployment.from.as_micros().into(),
                deployment.to.map(Timestamp::as_micros).into(),
            ],
        )
        .await?;
    Ok(())
}

pub(super) fn stored_interval(interval_us: u64) -> i64 {
    i64::try_from(interval_us).unwrap_or(i64::MAX)
}

/// Bound to the device, so that equal channel names of two devices do not show as equal.
pub(super) fn channel_hash(key: &SealingKey, device: DeviceId, channel: &str) -> [u8; 32] {
    let mut plain = device.as_bytes().to_vec();
    plain.extend_from_slice(channel.as_bytes());
    key.lookup("deployment.channel", &plain)
}

/// Each element's newest deployment.
pub(super) async fn newest(
    db: &Db,
    key: &SealingKey,
    project: ProjectId,
) -> Result<BTreeMap<ElementId, Deployment>, ProjectsError> {
    let rows = db.fetch_all(NEWEST, &[project.as_bytes().into()]).await?;
    rows.iter()
        .map(|row| from_row(row, key).map(|deployment| (deployment.element, deployment)))
        .collect()
}

pub(super) async fn newest_of(
    db: &Db,
    key: &SealingKey,
    project: ProjectId,
    element: ElementId,
) -> Result<Option<Deployment>, ProjectsError> {
    let values = [project.as_bytes().into(), element.as_bytes().into()];
    let rows = db.fetch_all(OF_ELEMENT, &values).await?;
    rows.last().map(|row| from_row(row, key)).transpose()
}

fn from_row(row: &Row, key: &SealingKey) -> Result<Deployment, ProjectsError> {
    let id: [u8; 16] = row.array(0)?;
    Ok(Deployment {
        id: DeploymentId::from_bytes(id),
        element: ElementId::from_bytes(row.array(1)?),
        device: DeviceId::from_bytes(row.array(2)?),
        channel: key.open_text("deployment.channel", &id, row.bytes(3)?)?,
        interval_us: u64::try_from(row.i64(4)?)
            .map_err(|_| ProjectsError::Unknown("deployment.interval_us"))?,
        from: Timestamp::from_micros(row.i64(5)?),
        to: row.opt_i64(6)?.map(Timestamp::from_micros),
    })
}
