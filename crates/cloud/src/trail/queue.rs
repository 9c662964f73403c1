//! Notes that wait to be written: bounded in every direction, and what finds no place is counted.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::Duration;

use fieldkeep_protocol::{ProjectId, Timestamp};

use super::entry::{Entry, Object, Origin, Outcome, Who};
use super::{Act, entry::WhoKind};

/// How long the same refusal is only counted.
const WINDOW: Duration = Duration::from_secs(10);
/// How many different refusals are told apart in that time.
const WINDOWS: usize = 256;
/// How many entries wait for the disk.
const WAITING: usize = 1_024;

/// What makes two refusals the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Same {
    project: Option<ProjectId>,
    who: (WhoKind, String),
    act: Act,
    object: Option<Object>,
    outcome: Outcome,
    source: Option<Source>,
}

/// Where from, as far as it tells anybody apart: one site has a whole network of IPv6 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Source {
    V4(u32),
    V6(u64),
}

impl Source {
    fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) => Self::V6((address.to_bits() >> 64) as u64),
        }
    }
}

#[derive(Debug)]
struct Window {
    opened: Duration,
    last: Timestamp,
    again: u32,
    entry: Entry,
}

/// The notes of a server.
#[derive(Debug, Default)]
pub(super) struct Desk {
    waiting: Vec<(Entry, Timestamp)>,
    windows: HashMap<Same, Window>,
    lost: u32,
}

impl Desk {
    /// Takes a note.
    pub(super) fn take(&mut self, entry: Entry, at: Timestamp, elapsed: Duration) {
        if !matches!(entry.outcome, Outcome::Refused(_)) {
            self.push(entry, at);
            return;
        }
        let same = Same {
            project: entry.project,
            who: (entry.who.kind, entry.who.id.clone()),
            act: entry.act,
            object: entry.object.clone(),
            outcome: entry.outcome,
            source: entry.origin.address().map(Source::of),
        };
        if let Some(window) = self.windows.get_mut(&same) {
            window.again = window.again.saturating_add(1);
            window.last = at;
            return;
        }
        if self.windows.len() >= WINDOWS {
            self.lost = self.lost.saturating_add(1);
            return;
        }
        let window = Window {
            opened: elapsed,
            last: at,
            again: 0,
            entry: entry.clone(),
        };
        self.windows.insert(same, window);
        self.push(entry, at);
    }

    /// What is to be written now: entries that wait, counts of windows that are over (`all`: of every window), and how
    /// much found no place.
    pub(super) fn due(
        &mut self,
        now: Timestamp,
        elapsed: Duration,
        all: bool,
    ) -> Vec<(Entry, Timestamp)> {
        let mut counted = Vec::new();
        self.windows.retain(|_, window| {
            if !all && elapsed.saturating_sub(window.opened) < WINDOW {
                return true;
            }
            if window.again == 0 {
                return false;
            }
            let mut entry = window.entry.clone();
            entry.count = window.again;
            counted.push((entry, window.last));
            // It goes on: the next ones are counted too.
            window.again = 0;
            window.opened = elapsed;
            !all
        });
        for (entry, at) in counted {
            self.push(entry, at);
        }
        let mut batch = std::mem::take(&mut self.waiting);
        if self.lost > 0 {
            let who = Who::new(WhoKind::System, "trail", None);
            let mut gap = Entry::new(None, who, &Origin::here(), Act::TrailGap);
            gap.count = std::mem::take(&mut self.lost);
            batch.push((gap, now));
        }
        batch
    }

    /// What could not be written waits again, before what came since.
    pub(super) fn take_back(&mut self, batch: Vec<(Entry, Timestamp)>) {
        let since = std::mem::take(&mut self.waiting);
        for (entry, at) in batch.into_iter().chain(since) {
            if entry.act == Act::TrailGap {
                self.lost = self.lost.saturating_add(entry.count);
            } else {
                self.push(entry, at);
            }
        }
    }

    fn push(&mut self, entry: Entry, at: Timestamp) {
        if self.waiting.len() < WAITING {
            self.waiting.push((entry, at));
        } else {
            self.lost = self.lost.saturating_add(entry.count);
        }
    }
}
