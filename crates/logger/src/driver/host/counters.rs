//! Owns the reading of the kernel's counters in `/proc`: processor, disks, network interfaces.

use std::{fs, os::unix::fs::MetadataExt, path::Path};

/// Bytes of a sector in `/proc/diskstats`, whatever the disk's own sectors are.
const SECTOR: u64 = 512;

/// Time that all processors together have spent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cpu {
    idle: u64,
    total: u64,
}

impl Cpu {
    /// The busy share since an earlier reading, in percent.
    pub(super) fn busy_since(&self, before: &Cpu) -> Option<f64> {
        let total = self.total.checked_sub(before.total).filter(|t| *t > 0)?;
        let idle = self.idle.saturating_sub(before.idle).min(total);
        Some(100.0 * (total - idle) as f64 / total as f64)
    }
}

pub(super) fn cpu(proc: &Path) -> Option<Cpu> {
    let text = fs::read_to_string(proc.join("stat")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("cpu "))?;
    // Guest time is in user time already, hence the first eight.
    let times: Vec<u64> = line
        .split_ascii_whitespace()
        .take(8)
        .map_while(|n| n.parse().ok())
        .collect();
    let idle = times.get(3)? + times.get(4).copied().unwrap_or(0);
    Some(Cpu {
        idle,
        total: times.iter().sum(),
    })
}

pub(super) fn runnable(proc: &Path) -> Option<u64> {
    let text = fs::read_to_string(proc.join("stat")).ok()?;
    text.lines()
        .find_map(|line| line.strip_prefix("procs_running "))?
        .trim()
        .parse()
        .ok()
}

/// Bytes that a disk has read and written.
#[derive(Clone, Copy, Debug)]
pub(super) struct Disk {
    pub(super) read: u64,
    pub(super) written: u64,
}

/// The device under a folder's file system; where it has none of its own, as in a container, the first real disk.
pub(super) fn disk_of(proc: &Path, folder: &Path) -> Option<String> {
    let text = fs::read_to_string(proc.join("diskstats")).ok()?;
    let device = fs::metadata(folder).ok()?.dev();
    let numbers = (
        u64::from(rustix::fs::major(device)),
        u64::from(rustix::fs::minor(device)),
    );
    let rows = || {
        text.lines().filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            let number = (
                words.next()?.parse::<u64>().ok()?,
                words.next()?.parse::<u64>().ok()?,
            );
            Some((number, words.next()?))
        })
    };
    let own = rows().find(|(number, _)| *number == numbers);
    let real = |name: &str| {
        !["loop", "ram", "zram", "sr", "fd"]
            .iter()
            .any(|p| name.starts_with(p))
    };
    own.or_else(|| rows().find(|(_, name)| real(name)))
        .map(|(_, name)| name.to_owned())
}

pub(super) fn disk(proc: &Path, name: &str) -> Option<Disk> {
    let text = fs::read_to_string(proc.join("diskstats")).ok()?;
    let words: Vec<&str> = text
        .lines()
        .map(|line| line.split_ascii_whitespace().collect::<Vec<_>>())
        .find(|words| words.get(2) == Some(&name))?;
    let sectors = |n: usize| words.get(n)?.parse::<u64>().ok();
    Some(Disk {
        read: sectors(5)? * SECTOR,
        written: sectors(9)? * SECTOR,
    })
}

/// Bytes that an interface has received and sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    pub(super) received: u64,
    pub(super) sent: u64,
}

/// The interfaces that are hardware; where none is, as in a container, those that are not plainly made for containers.
pub(super) fn interfaces(proc: &Path, sys: &Path, most: usize) -> Vec<String> {
    let text = fs::read_to_string(proc.join("net/dev")).unwrap_or_default();
    let names: Vec<String> = text
        .lines()
        .filter_map(|line| line.split_once(':'))
        .map(|(name, _)| name.trim().to_owned())
        .filter(|name| name != "lo")
        .collect();
    let physical = |name: &&String| sys.join("class/net").join(name).join("device").exists();
    let mut chosen: Vec<String> = names.iter().filter(physical).cloned().collect();
    if chosen.is_empty() {
        let made = [
            "veth", "docker", "br-", "virbr", "ifb", "dummy", "tun", "tap",
        ];
        chosen = names
            .into_iter()
            .filter(|n| !made.iter().any(|p| n.starts_with(p)))
            .collect();
    }
    chosen.sort();
    chosen.truncate(most);
    chosen
}

pub(super) fn traffic(proc: &Path, names: &[String]) -> Vec<Option<Interface>> {
    let text = fs::read_to_string(proc.join("net/dev")).unwrap_or_default();
    let read = |name: &String| {
        let (_, rest) = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(found, _)| found.trim() == name)?;
        let numbers: Vec<u64> = rest
            .split_ascii_whitespace()
            .map_while(|n| n.parse().ok())
            .collect();
        Some(Interface {
            received: *numbers.first()?,
            sent: *numbers.get(8)?,
        })
    };
    names.iter().map(read).collect()
}
