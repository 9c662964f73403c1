//! What we have, in the shapes of the other API.
//!
//! Fields that have no counterpart here carry the value that stands for "none" there, never a made-up one.

use std::collections::BTreeMap;

use fieldkeep_protocol::{DeviceId, ElementId, Timestamp};
use fieldkeep_store::Point;
use serde_json::{Map, Value, json};

use crate::access::{Grant, Read};
use crate::api::App;
use crate::api::fault::{pki, projects, series};
use crate::api::problem::Problem;
use crate::pki::Device;
use crate::projects::{Deployment, Element, LegacyIds, LegacyObject, ValueKind};

/// What an element without a colour is drawn in.
const COLOURS: [&str; 8] = [
    "#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#17becf",
];

/// Seconds since 1970 with milliseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "milliseconds since 1970 are exact in a double for 285,000 years"
)]
pub(super) fn seconds(time: Timestamp) -> f64 {
    time.as_micros().div_euclid(1_000) as f64 / 1_000.0
}

pub(super) fn user(name: &str, login: &str, now: Timestamp) -> Value {
    json!({
        "full_name": name,
        "company": "",
        "phone": null,
        "email": login,
        "last_login": seconds(now),
        "email_verified_at": seconds(now),
        "preferences": { "favorite_projects": [], "ui_always_hide_left_sidebar": false },
    })
}

/// Its caller may read, whatever else the account may do: these routes change nothing.
pub(super) fn project(name: &str, caller: &str) -> Value {
    json!({
        "name": name,
        "roles": { caller: "viewer" },
        "invites": null,
        "dealer": "",
        "organization": "",
    })
}

/// The devices in reach, by the ids that their clients know.
pub(super) async fn devices(
    grant: &Grant<'_, Read>,
    app: &App,
) -> Result<Map<String, Value>, Problem> {
    let ids = app.projects.legacy_ids(grant).await.map_err(projects)?;
    let project = ids.name(LegacyObject::Project(grant.project()));
    let mut channels: BTreeMap<DeviceId, Vec<Deployment>> = BTreeMap::new();
    for deployment in app.projects.deployments(grant).await.map_err(projects)? {
        if deployment.to.is_none() {
            channels
                .entry(deployment.device)
                .or_default()
                .push(deployment);
        }
    }
    let found = app.pki.devices(grant).await.map_err(pki)?;
    let shown = found.into_iter().map(|found| {
        let bound = channels.remove(&found.id).unwrap_or_default();
        let id = ids.name(LegacyObject::Device(found.id));
        (id, device(&found, &project, &bound, &ids))
    });
    Ok(shown.collect())
}

fn device(device: &Device, project: &str, bound: &[Deployment], ids: &LegacyIds) -> Value {
    let mut channels: BTreeMap<&str, Map<String, Value>> = BTreeMap::new();
    for deployment in bound {
        let (channel, sub) = parts(&deployment.channel);
        let element = ids.name(LegacyObject::Element(deployment.element));
        channels.entry(channel).or_default().insert(
            sub.to_owned(),
            json!({ "element_id": element, "config": {}, "calibration_coefficients": [] }),
        );
    }
    let channels: Map<String, Value> = channels
        .into_iter()
        .map(|(channel, subs)| {
            let shown = json!({ "config": {}, "sub_channels": subs });
            (channel.to_owned(), shown)
        })
        .collect();
    let longest_s = bound
        .iter()
        .map(|deployment| deployment.interval_us / 1_000_000)
        .max();
    json!({
        "name": device.name,
        "type": if device.simulated { "simulator" } else { "" },
        "project_id": project,
        "location_id": device.location.map(|id| id.to_string()).unwrap_or_default(),
        "channels": channels,
        "controllers": {},
        "alarms": {},
        "expansion_A": "",
        "expansion_B": "",
        "max_offline": 0,
        "max_interval": longest_s.unwrap_or(0),
        "telemetry_client": {},
        "firmware": { "current": "", "target": "", "broker": "", "auto_update": false },
        "versions": { "cloud": 0, "device": 0 },
    })
}

/// The elements in reach, by the ids that their clients know.
pub(super) async fn elements(
    grant: &Grant<'_, Read>,
    app: &App,
) -> Result<Map<String, Value>, Problem> {
    let ids = app.projects.legacy_ids(grant).await.map_err(projects)?;
    let found = app.projects.elements(grant).await.map_err(projects)?;
    let known: Vec<ElementId> = found.iter().map(|element| element.id).collect();
    let newest = app.series.latest_of(grant, &known).await.map_err(series)?;
    let shown = found.iter().zip(newest).map(|(found, newest)| {
        let id = ids.name(LegacyObject::Element(found.id));
        (id, element(found, newest, &ids))
    });
    Ok(shown.collect())
}

fn element(element: &Element, newest: Option<Point>, ids: &LegacyIds) -> Value {
    let source = element.deployment.as_ref().filter(|last| last.to.is_none());
    let source = source.map(|deployment| {
        let (channel, sub) = parts(&deployment.channel);
        let device = ids.name(LegacyObject::Device(deployment.device));
        format!("devices/{device}/{channel}/{sub}")
    });
    let current = match newest {
        Some(point) => json!({ "val": point.value, "time": seconds(point.time) }),
        None => json!({ "val": 0, "time": 0 }),
    };
    json!({
        "name": element.name,
        "unit": unit(&element.unit),
        "color": element.colour.clone().unwrap_or_else(|| colour(element.id)),
        "type": "",
        "element_type": "monitor",
        "numeric": element.value_kind == ValueKind::Number,
        "sigDigits": element.digits,
        "source": source.unwrap_or_default(),
        "connection_timeout": 60,
        "telemetry": { "cur_val": current, "last_val": { "val": 0, "time": 0 } },
        "desired_output": { "val": null, "time": null },
        "last_cmd": { "val": null, "time": null },
    })
}

/// `modbus.3.flow` is the quantity `flow` on the port `modbus.3`.
fn parts(channel: &str) -> (&str, &str) {
    channel.rsplit_once('.').unwrap_or((channel, "value"))
}

/// The same element always in the same colour.
fn colour(element: ElementId) -> String {
    let last = element.as_bytes()[15];
    COLOURS[usize::from(last) % COLOURS.len()].to_owned()
}

/// As people write it, where UCUM writes it otherwise.
fn unit(ucum: &str) -> &str {
    match ucum {
        "Cel" => "°C",
        "uS/cm" => "µS/cm",
        "[pH]" => "pH",
        "m3/s" => "m³/s",
        "m3/h" => "m³/h",
        "deg" => "°",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_seconds_with_milliseconds() {
        let time = |us| json!(seconds(Timestamp::from_micros(us))).to_string();
        assert_eq!(time(1_760_000_060_250_999), "1760000060.25");
        assert_eq!(time(1_760_000_000_000_000), "1760000000.0");
        assert_eq!(time(-1), "-0.001");
    }

    #[test]
    fn channels_have_two_parts() {
        assert_eq!(parts("modbus.3.flow"), ("modbus.3", "flow"));
        assert_eq!(parts("level"), ("level", "value"));
    }
}
