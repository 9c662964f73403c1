//! The device's row: id, project, state, name, location. The state is the authority on access.
//!
//! Promises that every read and write stays inside the grant's project and locations, and that a change of state
//! is announced to whoever holds live sessions.

use fieldkeep_protocol::{DeviceId, LocationId, Timestamp};

use super::{Pki, PkiError};
use crate::access::{Admin, Grant, Read, Write, sound_name};
use crate::db::Row;
use crate::keys::SealingKey;
use crate::trail::Act;
use serde_json::json;

pub(super) const NAME: &str = "device.name_sealed";

/// Whether a device may act.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It may.
    Active,
    /// It is refused, and its live session is cut.
    Disabled,
}

impl State {
    /// The word for it in columns, API and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Disabled => "disabled",
        }
    }

    pub(super) fn from_word(word: &str) -> Option<Self> {
        [Self::Active, Self::Disabled]
            .into_iter()
            .find(|state| state.word() == word)
    }
}

/// A datalogger with an identity of its own.
#[derive(Clone, Debug)]
pub struct Device {
    /// Its id.
    pub id: DeviceId,
    /// What people call it.
    pub name: String,
    /// Whether it may act.
    pub state: State,
    /// Whether its data are made up.
    pub simulated: bool,
    /// Where it is.
    pub location: Option<LocationId>,
    /// When it was enrolled.
    pub created: Timestamp,
    /// The end of its newest certificate.
    pub certificate_expires: Timestamp,
}

impl Pki {
    /// The project's devices that the grant reaches, oldest first.
    pub async fn devices(&self, grant: &Grant<'_, Read>) -> Result<Vec<Device>, PkiError> {
        let sealing = self.0.keys.project(grant.project()).await?;
        let rows = self
            .0
            .db
            .fetch_all(
                "SELECT device.id, name_sealed, state, simulated, location, created_us, max(not_after_us)
                 FROM device JOIN certificate ON certificate.device = device.id
                 WHERE project = $1 GROUP BY device.id ORDER BY device.id",
                &[grant.project().as_bytes().into()],
            )
            .await?;
        let mut devices = rows
            .iter()
            .map(|row| read(row, &sealing))
            .collect::<Result<Vec<_>, _>>()?;
        devices.retain(|device| grant.locations().allow(device.location));
        Ok(devices)
    }

    /// One device, if it is in the part of the project that the grant reaches.
    pub async fn device(
        &self,
        grant: &Grant<'_, Read>,
        device: DeviceId,
    ) -> Result<Option<Device>, PkiError> {
        let row = self
            .0
            .db
            .fetch_optional(
                "SELECT device.id, name_sealed, state, simulated, location, created_us, max(not_after_us)
                 FROM device JOIN certificate ON certificate.device = device.id
                 WHERE project = $1 AND device.id = $2 GROUP BY device.id",
                &[grant.project().as_bytes().into(), device.as_bytes().into()],
            )
            .await?;
        let Some(row) = row else { return Ok(None) };
        let sealing = self.0.keys.project(grant.project()).await?;
        let device = read(&row, &sealing)?;
        Ok(grant.locations().allow(device.location).then_some(device))
    }

    /// Gives a device another name.
    pub async fn rename(
        &self,
        grant: &Grant<'_, Write>,
        device: DeviceId,
        name: &str,
    ) -> Result<(), PkiError> {
        let name = sound_name(name).ok_or(PkiError::InvalidName)?;
        let known = self.reached(&grant.read(), device).await?;
        let sealing = self.0.keys.project(grant.project()).await?;
        let sealed = sealing.seal(NAME, device.as_bytes(), name.as_bytes());
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "UPDATE device SET name_sealed = $1 WHERE project = $2 AND id = $3",
                &[
                    (&sealed).into(),
                    grant.project().as_bytes().into(),
                    device.as_bytes().into(),
                ],
            )
            .await?;
        let entry = grant
            .entry(Act::DeviceChange)
            .on(device)
            .at(known.location)
            .old(json!({ "name": known.name }))
            .new_value(json!({ "name": name }));
        self.0.trail.write(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    /// Says where a device is. The caller has made sure that the location is one of the project's.
    pub async fn locate(
        &self,
        grant: &Grant<'_, Write>,
        device: DeviceId,
        location: Option<LocationId>,
    ) -> Result<(), PkiError> {
        let known = self.reached(&grant.read(), device).await?;
        if !grant.locations().allow(location) {
            return Err(PkiError::NotFound);
        }
        let mut transaction = self.0.db.begin().await?;
        transaction
            .execute(
                "UPDATE device SET location = $1 WHERE project = $2 AND id = $3",
                &[
                    location.as_ref().map(LocationId::as_bytes).into(),
                    grant.project().as_bytes().into(),
                    device.as_bytes().into(),
                ],
            )
            .await?;
        let told = |at: Option<LocationId>| json!({ "location": at.map(|at| at.to_string()) });
        let entry = grant
            .entry(Act::DeviceChange)
            .on(device)
            .at(location)
            .old(told(known.location))
            .new_value(told(location));
        self.0.trail.write(&mut transaction, entry).await?;
        Ok(transaction.commit().await?)
    }

    /// Lets a device act or refuses it. Durable when this returns; a live session is cut within seconds.
    pub async fn set_state(
        &self,
        grant: &Grant<'_, Admin>,
        device: DeviceId,
        state: State,
    ) -> Result<(), PkiError> {
        let known = self.reached(&grant.read(), device).await?;
        let mut transaction = self.0.db.begin().await?;
        let newest = transaction
            .fetch_optional("SELECT coalesce(max(changed_us), 0) FROM device", &[])
            .await?;
        let newest_us = newest.map_or(Ok(0), |row| row.i64(0))?;
        // Always past the newest change, so that a clock set back hides none from those who poll.
        let changed_us = self
            .0
            .clock
            .now()
            .as_micros()
            .max(newest_us.saturating_add(1));
        transaction
            .execute(
                "UPDATE device SET state = $1, changed_us = $2 WHERE project = $3 AND id = $4",
                &[
                    state.word().into(),
                    changed_us.into(),
                    grant.project().as_bytes().into(),
                    device.as_bytes().into(),
                ],
            )
            .await?;
        let entry = grant
            .entry(Act::DeviceChange)
            .on(device)
            .at(known.location)
            .old(json!({ "state": known.state.word() }))
            .new_value(json!({ "state": state.word() }));
        self.0.trail.write(&mut transaction, entry).await?;
        transaction.commit().await?;
        tracing::info!(
            device.id = %device,
            project.id = %grant.project(),
            actor = %grant.actor(),
            state = state.word(),
            "device state set"
        );
        self.changed(device);
        Ok(())
    }

    async fn reached(&self, grant: &Grant<'_, Read>, device: DeviceId) -> Result<Device, PkiError> {
        let known = self.device(grant, device).await?;
        known.ok_or(PkiError::NotFound)
    }
}

fn read(row: &Row, sealing: &SealingKey) -> Result<Device, PkiError> {
    let id = DeviceId::from_bytes(row.array(0)?);
    Ok(Device {
        id,
        name: sealing.open_text(NAME, id.as_bytes(), row.bytes(1)?)?,
        state: State::from_word(row.text(2)?).ok_or(PkiError::Stored("device.state"))?,
        simulated: row.bool(3)?,
        location: row.opt_array(4)?.map(LocationId::from_bytes),
        created: Timestamp::from_micros(row.i64(5)?),
        certificate_expires: Timestamp::from_micros(row.i64(6)?),
    })
}
