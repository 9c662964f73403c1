//! A device's channels become elements: by default each new one makes an element and an open-ended deployment.
//!
//! Idempotent, and safe when the same table arrives twice at once. A channel that was ever bound stays as it is bound:
//! its element is not renamed, and a changed unit is reported, not applied, because stored values would take on
//! another meaning.

use std::collections::BTreeSet;

use fieldkeep_protocol::{DeploymentId, DeviceId, ElementId, LocationId, Timestamp};

use super::deployments::{self, Deployment, channel_hash};
use super::elements::{self, Element, ElementKind, ValueKind};
use super::{Projects, ProjectsError, locations};
use crate::access::{Grant, Write};
use crate::db::{Row, Transaction};
use crate::keys::new_id;
use crate::trail::Act;

/// Channels that one device may ever have bound by itself: a device that invents names must not fill the project.
/// People can still deploy more.
const CHANNELS: usize = 1_024;

/// One channel, as the device describes it.
#[derive(Clone, Copy, Debug)]
pub struct ChannelDescription<'a> {
    /// Its name, unique in the device.
    pub name: &'a str,
    /// What to call it; None for its name.
    pub label: Option<&'a str>,
    /// The unit of its values, in UCUM.
    pub unit: &'a str,
    /// What its values are.
    pub kind: ValueKind,
    /// Decimal places to show.
    pub digits: u8,
    /// Its nominal interval; 0 when it reports on events.
    pub interval_us: u64,
}

/// A device with its channels.
#[derive(Clone, Copy, Debug)]
pub struct DeviceChannels<'a> {
    /// The device.
    pub device: DeviceId,
    /// Its name, which new elements' names begin with.
    pub name: &'a str,
    /// Where it is, and where new elements will be.
    pub location: Option<LocationId>,
    /// Its channels.
    pub channels: &'a [ChannelDescription<'a>],
    /// When new deployments begin: not after the device's first record.
    pub from: Timestamp,
}

/// What binding found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bound {
    /// The elements made.
    pub new: Vec<NewElementOf>,
    /// Channels that no longer fit the element that they feed.
    pub mismatches: Vec<Mismatch>,
    /// New channels that got no element, because the device has had too many.
    pub refused: usize,
}

/// An element made for a channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewElementOf {
    /// The channel.
    pub channel: String,
    /// Its element.
    pub element: ElementId,
}

/// A channel that no longer fits the element that it feeds; the element was left as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mismatch {
    /// The channel.
    pub channel: String,
    /// The element that it feeds.
    pub element: ElementId,
    /// What differs: `unit` or `kind`.
    pub field: &'static str,
    /// What the element has.
    pub element_has: String,
    /// What the channel has.
    pub channel_has: String,
}

impl Projects {
    /// Makes an element and a deployment for each channel that never had one; durable when this returns.
    pub async fn bind_channels(
        &self,
        grant: &Grant<'_, Write>,
        table: DeviceChannels<'_>,
    ) -> Result<Bound, ProjectsError> {
        let project = grant.project();
        let key = self.key(project).await?;
        let mut bound = Bound::default();
        let mut transaction = self.db.begin().await?;
        let rows = transaction
            .fetch_all(
                "SELECT d.channel_hash, d.id, d.element, e.unit, e.value_kind, e.location,
                        d.interval_us, d.to_us
                 FROM deployment d JOIN element e ON e.project = d.project AND e.id = d.element
                 WHERE d.project = $1 AND d.device = $2",
                &[project.as_bytes().into(), table.device.as_bytes().into()],
            )
            .await?;
        let mut ever = BTreeSet::new();
        for row in &rows {
            ever.insert(row.array::<32>(0)?);
        }
        let mut seen = BTreeSet::new();
        for channel in table.channels {
            let hash = channel_hash(&key, table.device, channel.name);
            if !seen.insert(hash) {
                continue;
            }
            let mut known = false;
            for row in &rows {
                if row.array::<32>(0)? != hash {
                    continue;
                }
                known = true;
                let lasting = row.opt_i64(7)?.is_none();
                if lasting && grant.locations().allow(locations::optional(row, 5)?) {
                    compare(row, channel, &mut bound.mismatches)?;
                    follow_interval(&mut transaction, grant, row, channel).await?;
                }
            }
            if known || !grant.locations().allow(table.location) {
                continue;
            }
            if ever.len() >= CHANNELS {
                bound.refused += 1;
                continue;
            }
            ever.insert(hash);
            let element = Element {
                id: new_id(&self.clock, ElementId::from_parts),
                name: element_name(table.name, channel),
                unit: channel.unit.to_owned(),
                digits: channel.digits,
                kind: ElementKind::Measured,
                value_kind: channel.kind,
                colour: None,
                location: table.location,
                created: self.clock.now(),
                deployment: None,
            };
            let deployment = Deployment {
                id: new_id(&self.clock, DeploymentId::from_parts),
                element: element.id,
                device: table.device,
                channel: channel.name.to_owned(),
                interval_us: channel.interval_us,
                from: table.from,
                to: None,
            };
            elements::insert(&mut transaction, project, &key, &element).await?;
            deployments::insert(&mut transaction, project, &key, &deployment).await?;
            let mut new = elements::told(&element);
            new["device"] = table.device.to_string().into();
            new["channel"] = channel.name.into();
            let entry = grant.entry(Act::ElementCreate).new_value(new);
            self.tell_element(&mut transaction, entry, &element).await?;
            bound.new.push(NewElementOf {
                channel: channel.name.to_owned(),
                element: element.id,
            });
        }
        transaction.commit().await?;
        Ok(bound)
    }
}

/// The device's name and the channel's label or name.
fn element_name(device: &str, channel: &ChannelDescription<'_>) -> String {
    let own = channel.label.filter(|label| !label.trim().is_empty());
    format!("{device} {}", own.unwrap_or(channel.name))
}

fn compare(
    row: &Row,
    channel: &ChannelDescription<'_>,
    mismatches: &mut Vec<Mismatch>,
) -> Result<(), ProjectsError> {
    let element = ElementId::from_bytes(row.array(2)?);
    for (field, element_has, channel_has) in [
        ("unit", row.text(3)?, channel.unit),
        ("kind", row.text(4)?, channel.kind.name()),
    ] {
        if element_has != channel_has {
            mismatches.push(Mismatch {
                channel: channel.name.to_owned(),
                element,
                field,
                element_has: element_has.to_owned(),
                channel_has: channel_has.to_owned(),
            });
        }
    }
    Ok(())
}

async fn follow_interval(
    transaction: &mut Transaction,
    grant: &Grant<'_, Write>,
    row: &Row,
    channel: &ChannelDescription<'_>,
) -> Result<(), ProjectsError> {
    let interval = deployments::stored_interval(channel.interval_us);
    if row.i64(6)? == interval {
        return Ok(());
    }
    transaction
        .execute(
            "UPDATE deployment SET interval_us = $3 WHERE project = $1 AND id = $2",
            &[
                grant.project().as_bytes().into(),
                row.bytes(1)?.into(),
                interval.into(),
            ],
        )
        .await?;
    Ok(())
}
