//! Owns this machine as a source of measurements: load, processor, memory, swap, disk, network, temperatures, and what
//! else the kernel's hardware monitors tell.
//! Promises that the list of channels stays as it was found at the start; what disappears later is a sensor error. A
//! rate needs two readings: in the first record it is not sampled.

mod counters;
mod sensors;

use std::path::{Path, PathBuf};

use fieldkeep_protocol::{batch::Cell, record::Reason};

use crate::{
    driver::Driver,
    sample::{Channel, absent, rounded, value},
};
use counters::{Cpu, Disk, Interface};
use sensors::Sensor;

/// More interfaces than this are a router, not a datalogger.
const INTERFACES: usize = 8;
/// More sensors than this would crowd out everything else.
const SENSORS: usize = 32;

/// This machine.
pub struct Host {
    proc: PathBuf,
    data: PathBuf,
    disk: Option<String>,
    interfaces: Vec<String>,
    sensors: Vec<Sensor>,
    before: Option<Before>,
}

struct Before {
    ticks_us: u64,
    cpu: Option<Cpu>,
    disk: Option<Disk>,
    interfaces: Vec<Option<Interface>>,
}

impl Host {
    /// Looks at what there is. `root` is `/` but in tests; `data` is the folder whose file system is measured.
    pub fn find(root: &Path, data: &Path) -> Host {
        let (proc, sys) = (root.join("proc"), root.join("sys"));
        let mut sensors = sensors::find(&sys);
        if sensors.len() > SENSORS {
            tracing::warn!(
                found = sensors.len(),
                kept = SENSORS,
                "this machine has more sensors than are recorded"
            );
            sensors.truncate(SENSORS);
        }
        Host {
            disk: counters::disk_of(&proc, data),
            interfaces: counters::interfaces(&proc, &sys, INTERFACES),
            sensors,
            before: None,
            data: data.to_owned(),
            proc,
        }
    }

    fn load(&self) -> [Cell; 3] {
        let text = std::fs::read_to_string(self.proc.join("loadavg")).unwrap_or_default();
        let mut numbers = text.split_ascii_whitespace().map(str::parse::<f64>);
        [(); 3].map(|()| match numbers.next() {
            Some(Ok(load)) => rounded(load, 2),
            _ => absent(Reason::SensorError),
        })
    }

    fn memory(&self) -> [Cell; 3] {
        let text = std::fs::read_to_string(self.proc.join("meminfo")).unwrap_or_default();
        let bytes = |key: &str| {
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
            let kib: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
            Some(kib * 1024)
        };
        let used = |total: Option<u64>, free: Option<u64>| Some(total?.saturating_sub(free?));
        let available = bytes("MemAvailable");
        [
            count(used(bytes("MemTotal"), available)),
            count(available),
            count(used(bytes("SwapTotal"), bytes("SwapFree"))),
        ]
    }

    fn disk_used(&self) -> [Cell; 2] {
        match rustix::fs::statvfs(&self.data) {
            Ok(fs) => [
                count(Some(fs.f_blocks.saturating_sub(fs.f_bfree) * fs.f_frsize)),
                count(Some(fs.f_bavail * fs.f_frsize)),
            ],
            Err(_) => [absent(Reason::SensorError); 2],
        }
    }

    fn uptime(&self) -> Cell {
        let text = std::fs::read_to_string(self.proc.join("uptime")).unwrap_or_default();
        match text.split_ascii_whitespace().next().map(str::parse::<f64>) {
            Some(Ok(seconds)) => rounded(seconds, 0),
            _ => absent(Reason::SensorError),
        }
    }
}

impl Driver for Host {
    fn channels(&self) -> Vec<Channel> {
        let channel = |name: String, unit, digits, label: String| Channel {
            name,
            unit,
            digits,
            label: Some(label),
        };
        let fixed: [(&str, &'static str, u8, &str); 13] = [
            ("host.load.1min", "1", 2, "Load, 1 minute"),
            ("host.load.5min", "1", 2, "Load, 5 minutes"),
            ("host.load.15min", "1", 2, "Load, 15 minutes"),
            ("host.cpu", "%", 1, "Processor"),
            ("host.memory.used", "By", 0, "Memory used"),
            ("host.memory.available", "By", 0, "Memory available"),
            ("host.swap.used", "By", 0, "Swap used"),
            ("host.disk.used", "By", 0, "Disk used"),
            ("host.disk.available", "By", 0, "Disk available"),
            ("host.disk.read", "By/s", 0, "Disk read"),
            ("host.disk.written", "By/s", 0, "Disk written"),
            ("host.uptime", "s", 0, "Uptime"),
            ("host.processes", "1", 0, "Runnable processes"),
        ];
        let mut list: Vec<Channel> = fixed
            .into_iter()
            .map(|(name, unit, digits, label)| {
                channel(name.to_owned(), unit, digits, label.to_owned())
            })
            .collect();
        for interface in &self.interfaces {
            let name = sensors::clean(interface);
            list.push(channel(
                format!("host.net.{name}.received"),
                "By/s",
                0,
                format!("{interface} received"),
            ));
            list.push(channel(
                format!("host.net.{name}.sent"),
                "By/s",
                0,
                format!("{interface} sent"),
            ));
        }
        for sensor in &self.sensors {
            list.push(channel(
                sensor.name.clone(),
                sensor.unit,
                sensor.digits,
                sensor.label.clone(),
            ));
        }
        list
    }

    fn sample(&mut self, _time_us: i64, ticks_us: u64) -> Option<Vec<Cell>> {
        let cpu = counters::cpu(&self.proc);
        let disk = self
            .disk
            .as_deref()
            .and_then(|name| counters::disk(&self.proc, name));
        let interfaces: Vec<_> = counters::traffic(&self.proc, &self.interfaces);
        let now = Before {
            ticks_us,
            cpu,
            disk,
            interfaces,
        };
        let before = self.before.replace(now);
        let now = self.before.as_ref()?;
        let seconds = before
            .as_ref()
            .map(|b| ticks_us.saturating_sub(b.ticks_us) as f64 / 1e6);
        let rate = |old: Option<u64>, new: Option<u64>| per_second(seconds, old, new);

        let old_disk = before.as_ref().and_then(|b| b.disk);
        let read = rate(old_disk.map(|d| d.read), now.disk.map(|d| d.read));
        let written = rate(old_disk.map(|d| d.written), now.disk.map(|d| d.written));
        let processor = match (before.as_ref().map(|b| b.cpu), now.cpu) {
            (_, None) => absent(Reason::SensorError),
            (Some(Some(old)), Some(new)) => new
                .busy_since(&old)
                .map_or(absent(Reason::NotSampled), |p| rounded(p, 1)),
            (_, Some(_)) => absent(Reason::NotSampled),
        };

        let mut cells = Vec::with_capacity(13 + 2 * self.interfaces.len() + self.sensors.len());
        cells.extend(self.load());
        cells.push(processor);
        cells.extend(self.memory());
        cells.extend(self.disk_used());
        cells.extend([read, written, self.uptime()]);
        cells.push(count(counters::runnable(&self.proc)));
        for (n, interface) in now.interfaces.iter().enumerate() {
            let old = before
                .as_ref()
                .and_then(|b| b.interfaces.get(n).copied().flatten());
            cells.push(rate(old.map(|i| i.received), interface.map(|i| i.received)));
            cells.push(rate(old.map(|i| i.sent), interface.map(|i| i.sent)));
        }
        cells.extend(self.sensors.iter().map(Sensor::read));
        Some(cells)
    }
}

fn count(number: Option<u64>) -> Cell {
    number.map_or(absent(Reason::SensorError), |n| value(n as f64))
}

/// A rate from two readings of a counter; one that went backwards began anew.
fn per_second(seconds: Option<f64>, old: Option<u64>, new: Option<u64>) -> Cell {
    let Some(new) = new else {
        return absent(Reason::SensorError);
    };
    match (seconds, old) {
        (Some(seconds), Some(old)) if seconds > 0.0 && new >= old => {
            rounded((new - old) as f64 / seconds, 0)
        }
        _ => absent(Reason::NotSampled),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn machine() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        put("proc/loadavg", "0.50 0.40 0.30 2/123 4567\n");
        put(
            "proc/meminfo",
            "MemTotal: 1000 kB\nMemAvailable: 400 kB\nSwapTotal: 10 kB\nSwapFree: 10 kB\n",
        );
        put("proc/uptime", "5000.25 1.0\n");
        put(
            "proc/stat",
            "cpu  100 0 100 800 0 0 0 0 0 0\nprocs_running 2\n",
        );
        put(
            "proc/self/mountinfo",
            "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n",
        );
        put(
            "proc/diskstats",
            "8 0 sda 1 0 10 0 1 0 20 0 0 0 0\n8 1 sda1 1 0 10 0 1 0 20 0 0 0 0\n",
        );
        put(
            "proc/net/dev",
            "Inter-|\n face |\n lo: 5 0 0 0 0 0 0 0 5 0\neth0: 1000 0 0 0 0 0 0 0 500 0\n",
        );
        put("sys/class/net/eth0/device/vendor", "x");
        put("sys/class/thermal/thermal_zone0/type", "cpu thermal\n");
        put("sys/class/thermal/thermal_zone0/temp", "41250\n");
        put("sys/class/hwmon/hwmon0/name", "nct\n");
        put("sys/class/hwmon/hwmon0/temp1_input", "30000\n");
        put("sys/class/hwmon/hwmon0/temp1_label", "Board\n");
        put("sys/class/hwmon/hwmon0/fan2_input", "1200\n");
        dir
    }

    #[test]
    fn rates_need_two_readings_and_what_disappears_is_an_error() {
        let dir = machine();
        let mut host = Host::find(dir.path(), dir.path());
        let names: Vec<String> = host.channels().into_iter().map(|c| c.name).collect();
        let at = |cells: &[Cell], name: &str| cells[names.iter().position(|n| n == name).unwrap()];
        let first = host.sample(0, 1_000_000).unwrap();
        assert_eq!(first.len(), names.len());
        assert_eq!(at(&first, "host.memory.used"), value(600.0 * 1024.0));
        assert_eq!(at(&first, "host.cpu"), absent(Reason::NotSampled));
        assert_eq!(at(&first, "host.net.eth0.sent"), absent(Reason::NotSampled));
        assert_eq!(at(&first, "host.thermal.cpu_thermal"), value(41.25));
        assert_eq!(at(&first, "host.nct.board"), value(30.0));
        assert_eq!(at(&first, "host.nct.fan2"), value(1200.0));
        let stat = "cpu  150 0 150 900 0 0 0 0 0 0\nprocs_running 2\n";
        fs::write(dir.path().join("proc/stat"), stat).unwrap();
        let traffic = "\n\neth0: 3000 0 0 0 0 0 0 0 400 0\n";
        fs::write(dir.path().join("proc/net/dev"), traffic).unwrap();
        fs::remove_file(dir.path().join("sys/class/thermal/thermal_zone0/temp")).unwrap();
        let second = host.sample(0, 3_000_000).unwrap();
        assert_eq!(at(&second, "host.cpu"), value(50.0));
        assert_eq!(at(&second, "host.net.eth0.received"), value(1000.0));
        assert_eq!(
            at(&second, "host.net.eth0.sent"),
            absent(Reason::NotSampled),
            "the counter began anew"
        );
        assert_eq!(
            at(&second, "host.thermal.cpu_thermal"),
            absent(Reason::SensorError)
        );
    }

    #[test]
    fn this_machine_has_valid_and_unique_names() {
        let host = Host::find(Path::new("/"), Path::new("/"));
        let channels = crate::sample::Channels {
            interval_us: 1_000_000,
            list: host.channels(),
        };
        channels.encode(1, 1).unwrap();
    }
}
