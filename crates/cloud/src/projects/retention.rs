//! How long measurements are kept, and what must not be deleted.
//!
//! Owns the policies of projects and elements and the legal holds, with who set them and why. Promises that a policy
//! never keeps a finer tier longer than a coarser one, and that a hold counts from the moment it is set. Deletes
//! nothing: [`series`](crate::series) does, device by device, by [`Keeping`].

use std::collections::{BTreeMap, BTreeSet};

use fieldkeep_protocol::{DeviceId, ElementId, ProjectId, Timestamp};

use super::{Invalid, Projects, ProjectsError, Thing, text, whole};
use crate::access::{Admin, Grant, Read, SystemSession};
use crate::db::{Row, SqlError, Transaction, Value};
use crate::keys::SealingKey;
use crate::trail::{Act, Entry};
use serde_json::json;

const SET: &str = "legal_hold.reason_sealed";
const RELEASED: &str = "legal_hold.released_reason_sealed";
/// A century.
const LONGEST_DAYS: u32 = 36_525;

/// How many days each tier is kept; None is for ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Batches as received, which are the evidence.
    pub hot_days: Option<u32>,
    /// Every value.
    pub cold_days: Option<u32>,
    /// Buckets of 10 minutes, hours and days.
    pub rollup_days: Option<u32>,
}

impl Policy {
    /// Keeps everything.
    pub const FOR_EVER: Self = Self {
        hot_days: None,
        cold_days: None,
        rollup_days: None,
    };

    fn checked(self) -> Result<Self, ProjectsError> {
        let fields = [
            ("hot_days", self.hot_days),
            ("cold_days", self.cold_days),
            ("rollup_days", self.rollup_days),
        ];
        for (field, days) in fields {
            if days.is_some_and(|days| days == 0 || days > LONGEST_DAYS) {
                return Err(refuse(field, Invalid::Days));
            }
        }
        for pair in fields.windows(2) {
            let [(_, finer), (field, coarser)] = pair else {
                continue;
            };
            if coarser.is_some_and(|coarser| finer.is_none_or(|finer| finer > coarser)) {
                return Err(refuse(field, Invalid::ShorterThanFiner));
            }
        }
        Ok(self)
    }

    /// Keeps what either keeps.
    #[must_use]
    pub fn longer(self, other: Self) -> Self {
        let longer = |a: Option<u32>, b: Option<u32>| Some(a?.max(b?));
        Self {
            hot_days: longer(self.hot_days, other.hot_days),
            cold_days: longer(self.cold_days, other.cold_days),
            rollup_days: longer(self.rollup_days, other.rollup_days),
        }
    }
}

/// A legal hold that is in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Why.
    pub reason: String,
    /// Who set it.
    pub by: String,
    /// When.
    pub since: Timestamp,
}

/// What holds for a project or an element.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Its own policy; None where an element follows its project.
    pub policy: Option<Policy>,
    /// Its own hold.
    pub hold: Option<Hold>,
}

/// A project's retention with that of its elements that differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectRetention {
    /// The project's.
    pub policy: Policy,
    /// The project's hold.
    pub hold: Option<Hold>,
    /// Elements with a policy or a hold of their own.
    pub elements: Vec<(ElementId, Retention)>,
}

/// What to keep of each device: the longest that anything of it is to be kept.
#[derive(Clone, Debug, Default)]
pub struct Keeping {
    project: Policy,
    held: bool,
    devices: BTreeMap<DeviceId, Policy>,
    held_devices: BTreeSet<DeviceId>,
}

impl Keeping {
    /// The policy of a device; None while a hold is on anything of it.
    #[must_use]
    pub fn of(&self, device: DeviceId) -> Option<Policy> {
        if self.held || self.held_devices.contains(&device) {
            return None;
        }
        Some(self.devices.get(&device).copied().unwrap_or(self.project))
    }

    /// The same with another policy for the project: what that would change.
    #[must_use]
    fn new(known: &ProjectRetention, fed: &[(ElementId, DeviceId)]) -> Self {
        let own: BTreeMap<_, _> = known.elements.iter().map(|(id, own)| (*id, own)).collect();
        let mut keeping = Self {
            project: known.policy,
            held: known.hold.is_some(),
            ..Self::default()
        };
        for (element, device) in fed {
            let own = own.get(element);
            let policy = own.and_then(|own| own.policy).unwrap_or(known.policy);
            keeping
                .devices
                .entry(*device)
                .and_modify(|longest| *longest = longest.longer(policy))
                .or_insert(policy);
            if own.is_some_and(|own| own.hold.is_some()) {
                keeping.held_devices.insert(*device);
            }
        }
        keeping
    }
}

impl Projects {
    /// The project's retention.
    pub async fn retention(
        &self,
        grant: &Grant<'_, Read>,
    ) -> Result<ProjectRetention, ProjectsError> {
        let all = self.all_retention(grant.project()).await?;
        let elements = self.elements(grant).await?;
        let reached: BTreeSet<_> = elements.iter().map(|element| element.id).collect();
        Ok(ProjectRetention {
            elements: all
                .elements
                .into_iter()
                .filter(|(id, _)| reached.contains(id))
                .collect(),
            ..all
        })
    }

    /// An element's own retention.
    pub async fn element_retention(
        &self,
        grant: &Grant<'_, Read>,
        element: ElementId,
    ) -> Result<Retention, ProjectsError> {
        self.element(grant, element).await?;
        let all = self.all_retention(grant.project()).await?;
        let own = all.elements.into_iter().find(|(id, _)| *id == element);
        Ok(own.map_or(
            Retention {
                policy: None,
                hold: None,
            },
            |(_, own)| own,
        ))
    }

    /// Sets the policy of the project, or of an element (None: it follows its project).
    pub async fn set_retention(
        &self,
        grant: &Grant<'_, Admin>,
        element: Option<ElementId>,
        policy: Option<Policy>,
    ) -> Result<(), ProjectsError> {
        let policy = policy.map(Policy::checked).transpose()?;
        let mut transaction = self.subject(grant, element).await?;
        let key = place(grant.project(), element);
        let [project, of] = key.each_ref().map(|id| Value::from(id.as_slice()));
        let stored = transaction
            .fetch_optional(
                "SELECT element, hot_days, cold_days, rollup_days FROM retention WHERE project = $1 AND element = $2",
                &[project, of],
            )
            .await?;
        let old = stored.as_ref().map(policy_from).transpose()?;
        if let Some(policy) = policy {
            transaction
                .execute(
                    "INSERT INTO retention (project, element, hot_days, cold_days, rollup_days, changed_by, changed_us) \
                     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (project, element) DO UPDATE SET \
                       hot_days = excluded.hot_days, cold_days = excluded.cold_days, \
                       rollup_days = excluded.rollup_days, changed_by = excluded.changed_by, \
                       changed_us = excluded.changed_us",
                    &[
                        project,
                        of,
                        policy.hot_days.into(),
                        policy.cold_days.into(),
                        policy.rollup_days.into(),
                        grant.actor().to_string().as_str().into(),
                        self.clock.now().as_micros().into(),
                    ],
                )
                .await?;
        } else {
            transaction
                .execute(
                    "DELETE FROM retention WHERE project = $1 AND element = $2",
                    &[project, of],
                )
                .await?;
        }
        let entry = entry(grant, Act::RetentionChange, element)
            .old(told(old))
            .new_value(told(policy));
        self.access.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(
            project.id = %grant.project(), by = %grant.actor(), ?element, ?policy, "retention changed"
        );
        Ok(())
    }

    /// Forbids every deletion in the project, or of an element.
    ///
    /// # Errors
    /// [`ProjectsError::Held`] where there is a hold already.
    pub async fn hold(
        &self,
        grant: &Grant<'_, Admin>,
        element: Option<ElementId>,
        reason: &str,
    ) -> Result<Hold, ProjectsError> {
        let reason = text::reason("reason", reason)?;
        let sealing = self.key(grant.project()).await?;
        let mut transaction = self.subject(grant, element).await?;
        let key = place(grant.project(), element);
        let [project, of] = key.each_ref().map(|id| Value::from(id.as_slice()));
        let hold = Hold {
            reason: reason.to_owned(),
            by: grant.actor().to_string(),
            since: self.clock.now(),
        };
        let set = transaction
            .execute(
                "INSERT INTO legal_hold (project, element, set_us, set_by, reason_sealed) VALUES ($1, $2, $3, $4, $5)",
                &[
                    project,
                    of,
                    hold.since.as_micros().into(),
                    hold.by.as_str().into(),
                    (&sealing.seal(SET, &row_key(&key, hold.since), reason.as_bytes())).into(),
                ],
            )
            .await;
        match set {
            Err(SqlError::Duplicate(_)) => return Err(ProjectsError::Held),
            other => other?,
        };
        let entry = entry(grant, Act::HoldSet, element).reason(Some(reason));
        self.access.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %grant.project(), by = %hold.by, ?element, "legal hold set");
        Ok(hold)
    }

    /// Ends a hold.
    ///
    /// # Errors
    /// [`ProjectsError::NotHeld`] where there is none.
    pub async fn release(
        &self,
        grant: &Grant<'_, Admin>,
        element: Option<ElementId>,
        reason: &str,
    ) -> Result<(), ProjectsError> {
        let reason = text::reason("reason", reason)?;
        let sealing = self.key(grant.project()).await?;
        let mut transaction = self.subject(grant, element).await?;
        let key = place(grant.project(), element);
        let [project, of] = key.each_ref().map(|id| Value::from(id.as_slice()));
        let found = transaction
            .fetch_optional(
                "SELECT set_us FROM legal_hold WHERE project = $1 AND element = $2 AND released_us IS NULL",
                &[project, of],
            )
            .await?;
        let since = found.ok_or(ProjectsError::NotHeld)?.i64(0)?;
        let row = row_key(&key, Timestamp::from_micros(since));
        transaction
            .execute(
                "UPDATE legal_hold SET released_us = $4, released_by = $5, released_reason_sealed = $6 \
                 WHERE project = $1 AND element = $2 AND set_us = $3",
                &[
                    project,
                    of,
                    since.into(),
                    self.clock.now().as_micros().into(),
                    grant.actor().to_string().as_str().into(),
                    (&sealing.seal(RELEASED, &row, reason.as_bytes())).into(),
                ],
            )
            .await?;
        let entry = entry(grant, Act::HoldRelease, element).reason(Some(reason));
        self.access.trail().write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(project.id = %grant.project(), by = %grant.actor(), ?element, "legal hold released");
        Ok(())
    }

    /// What to keep of each device, for whoever deletes.
    pub async fn keeping(&self, by: &SystemSession) -> Result<Keeping, ProjectsError> {
        let grant = by.grant::<Read>();
        let known = self.all_retention(grant.project()).await?;
        self.keeping_of(grant.project(), &known).await
    }

    /// The same if the project had another policy, or as it is; nothing is changed.
    pub async fn keeping_if(
        &self,
        grant: &Grant<'_, Read>,
        policy: Option<Policy>,
    ) -> Result<Keeping, ProjectsError> {
        whole(grant.locations())?;
        let mut known = self.all_retention(grant.project()).await?;
        if let Some(policy) = policy {
            known.policy = policy.checked()?;
        }
        self.keeping_of(grant.project(), &known).await
    }

    async fn keeping_of(
        &self,
        project: ProjectId,
        known: &ProjectRetention,
    ) -> Result<Keeping, ProjectsError> {
        let rows = self
            .db
            .fetch_all(
                "SELECT DISTINCT element, device FROM deployment WHERE project = $1",
                &[project.as_bytes().into()],
            )
            .await?;
        let fed = rows
            .iter()
            .map(|row| {
                Ok((
                    ElementId::from_bytes(row.array(0)?),
                    DeviceId::from_bytes(row.array(1)?),
                ))
            })
            .collect::<Result<Vec<_>, SqlError>>()?;
        Ok(Keeping::new(known, &fed))
    }

    /// A transaction in which the project, or the element, is known to be there and the grant to reach it.
    async fn subject(
        &self,
        grant: &Grant<'_, Admin>,
        element: Option<ElementId>,
    ) -> Result<Transaction, ProjectsError> {
        match element {
            None => whole(grant.locations())?,
            Some(element) => {
                self.element(&grant.read(), element)
                    .await
                    .map_err(|error| match error {
                        ProjectsError::NotFound(_) => ProjectsError::NotFound(Thing::Element),
                        other => other,
                    })?;
            }
        }
        Ok(self.db.begin().await?)
    }

    async fn all_retention(&self, project: ProjectId) -> Result<ProjectRetention, ProjectsError> {
        let key = self.key(project).await?;
        let mut all: BTreeMap<Vec<u8>, Retention> = BTreeMap::new();
        let none = || Retention {
            policy: None,
            hold: None,
        };
        let rows = self
            .db
            .fetch_all(
                "SELECT element, hot_days, cold_days, rollup_days FROM retention WHERE project = $1",
                &[project.as_bytes().into()],
            )
            .await?;
        for row in &rows {
            let policy = policy_from(row)?;
            all.entry(row.bytes(0)?.to_vec())
                .or_insert_with(none)
                .policy = Some(policy);
        }
        let rows = self
            .db
            .fetch_all(
                "SELECT element, set_us, set_by, reason_sealed FROM legal_hold \
                 WHERE project = $1 AND released_us IS NULL",
                &[project.as_bytes().into()],
            )
            .await?;
        for row in &rows {
            let hold = hold_from(row, project, &key)?;
            all.entry(row.bytes(0)?.to_vec()).or_insert_with(none).hold = Some(hold);
        }
        let whole = all.remove(&Vec::new()).unwrap_or_else(none);
        let elements = all
            .into_iter()
            .filter_map(|(id, own)| Some((ElementId::from_bytes(id.try_into().ok()?), own)))
            .collect();
        Ok(ProjectRetention {
            policy: whole.policy.unwrap_or(Policy::FOR_EVER),
            hold: whole.hold,
            elements,
        })
    }
}

fn refuse(field: &'static str, reason: Invalid) -> ProjectsError {
    ProjectsError::Invalid { field, reason }
}

/// The columns project and element.
fn place(project: ProjectId, element: Option<ElementId>) -> [Vec<u8>; 2] {
    let element = element.map_or_else(Vec::new, |element| element.as_bytes().to_vec());
    [project.as_bytes().to_vec(), element]
}

/// What a sealed reason is bound to.
fn row_key([project, element]: &[Vec<u8>; 2], set: Timestamp) -> Vec<u8> {
    let mut key = project.clone();
    key.extend_from_slice(element);
    key.extend_from_slice(&set.as_micros().to_be_bytes());
    key
}

fn hold_from(row: &Row, project: ProjectId, key: &SealingKey) -> Result<Hold, ProjectsError> {
    let since = Timestamp::from_micros(row.i64(1)?);
    let place = [project.as_bytes().to_vec(), row.bytes(0)?.to_vec()];
    Ok(Hold {
        reason: key.open_text(SET, &row_key(&place, since), row.bytes(3)?)?,
        by: row.text(2)?.to_owned(),
        since,
    })
}

fn policy_from(row: &Row) -> Result<Policy, ProjectsError> {
    Ok(Policy {
        hot_days: days(row, 1)?,
        cold_days: days(row, 2)?,
        rollup_days: days(row, 3)?,
    })
}

/// An entry of the trail about the project's measurements, or an element's.
fn entry(grant: &Grant<'_, Admin>, act: Act, element: Option<ElementId>) -> Entry {
    match element {
        Some(element) => grant.entry(act).on(element),
        None => grant.entry(act).on(grant.project()),
    }
}

/// A policy as the trail tells it.
fn told(policy: Option<Policy>) -> serde_json::Value {
    policy.map_or(serde_json::Value::Null, |policy| {
        json!({
            "hot_days": policy.hot_days,
            "cold_days": policy.cold_days,
            "rollup_days": policy.rollup_days,
        })
    })
}

fn days(row: &Row, column: usize) -> Result<Option<u32>, ProjectsError> {
    row.opt_i64(column)?
        .map(|days| u32::try_from(days).map_err(|_| ProjectsError::Unknown("retention.days")))
        .transpose()
}
