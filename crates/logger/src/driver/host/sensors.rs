//! Owns the kernel's thermal zones and hardware monitors: temperatures, fans, voltages, currents, powers.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use fieldkeep_protocol::{batch::Cell, record::Reason};

use crate::sample::{absent, rounded};

/// One sensor file with what its number means.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Sensor {
    pub(super) name: String,
    pub(super) unit: &'static str,
    pub(super) digits: u8,
    pub(super) label: String,
    path: PathBuf,
    scale: f64,
}

/// Prefix of a hardware monitor's file, unit, what one count of it is, decimal places.
const KINDS: [(&str, &str, f64, u8); 5] = [
    ("temp", "Cel", 1e-3, 2),
    ("fan", "/min", 1.0, 0),
    ("in", "V", 1e-3, 3),
    ("curr", "A", 1e-3, 3),
    ("power", "W", 1e-6, 3),
];

impl Sensor {
    pub(super) fn read(&self) -> Cell {
        let number = fs::read_to_string(&self.path)
            .ok()
            .and_then(|t| t.trim().parse::<f64>().ok());
        number.map_or(absent(Reason::SensorError), |n| {
            rounded(n * self.scale, self.digits)
        })
    }
}

/// Every sensor that answers, in a fixed order, with names of their own.
pub(super) fn find(sys: &Path) -> Vec<Sensor> {
    let mut found = Vec::new();
    for zone in folders(&sys.join("class/thermal"), "thermal_zone") {
        let kind = text(&zone.join("type")).unwrap_or_else(|| "zone".to_owned());
        found.push(Sensor {
            name: format!("host.thermal.{}", clean(&kind)),
            unit: "Cel",
            digits: 2,
            label: format!("Temperature, {kind}"),
            path: zone.join("temp"),
            scale: 1e-3,
        });
    }
    for monitor in folders(&sys.join("class/hwmon"), "hwmon") {
        find_monitor(&monitor, &mut found);
    }
    found.retain(|sensor| sensor.read().value.is_some());
    let mut names = BTreeSet::new();
    for sensor in &mut found {
        let first = sensor.name.clone();
        let mut n = 2;
        while !names.insert(sensor.name.clone()) {
            sensor.name = format!("{first}.{n}");
            n += 1;
        }
    }
    found
}

fn find_monitor(monitor: &Path, found: &mut Vec<Sensor>) {
    let chip = text(&monitor.join("name")).unwrap_or_else(|| "hwmon".to_owned());
    for input in files(monitor) {
        let Some(stem) = input.strip_suffix("_input") else {
            continue;
        };
        let prefix = stem.trim_end_matches(|c: char| c.is_ascii_digit());
        let Some((_, unit, scale, digits)) = KINDS.into_iter().find(|(kind, ..)| *kind == prefix)
        else {
            continue;
        };
        let label = text(&monitor.join(format!("{stem}_label"))).unwrap_or_else(|| stem.to_owned());
        found.push(Sensor {
            name: format!("host.{}.{}", clean(&chip), clean(&label)),
            unit,
            digits,
            label: format!("{chip} {label}"),
            path: monitor.join(&input),
            scale,
        });
    }
}

/// Text as part of a channel's name.
pub(super) fn clean(text: &str) -> String {
    let clean: String = text
        .trim()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '-' {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .take(40)
        .collect();
    if clean.is_empty() {
        "_".to_owned()
    } else {
        clean
    }
}

fn text(path: &Path) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    let line: String = text
        .trim()
        .chars()
        .filter(|c| !c.is_control())
        .take(60)
        .collect();
    (!line.is_empty()).then_some(line)
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect();
    names.sort_by_key(|name| (name.len(), name.clone()));
    names
}

fn folders(parent: &Path, prefix: &str) -> Vec<PathBuf> {
    files(parent)
        .into_iter()
        .filter(|name| name.starts_with(prefix))
        .map(|name| parent.join(name))
        .collect()
}
