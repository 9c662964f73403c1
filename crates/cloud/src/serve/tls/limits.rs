//! How many connections a listener holds, in total and per source, and how many refusals it logs.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;

const LINES: u32 = 20;
const LINES_PER: Duration = Duration::from_secs(10);

/// The bounds of one listener. Clones share their counts.
#[derive(Clone, Debug)]
pub struct Limits {
    total: usize,
    per_source: usize,
    clock: Clock,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    total: usize,
    sources: HashMap<IpAddr, usize>,
    lines: u32,
    lines_since: Duration,
    unlogged: u64,
}

/// A connection's place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    source: IpAddr,
    held: Arc<Mutex<Held>>,
}

impl Limits {
    /// At most `total` connections at a time, `per_source` of them from one address (IPv6: one /64).
    pub fn new(total: usize, per_source: usize, clock: Clock) -> Self {
        Self {
            total,
            per_source,
            clock,
            held: Arc::default(),
        }
    }

    /// A place for a connection from `source`, if there is one.
    pub(super) fn enter(&self, source: IpAddr) -> Option<Place> {
        let source = network(source);
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let from_here = held.sources.get(&source).copied().unwrap_or(0);
        if held.total >= self.total || from_here >= self.per_source {
            return None;
        }
        held.total += 1;
        held.sources.insert(source, from_here + 1);
        Some(Place {
            source,
            held: Arc::clone(&self.held),
        })
    }

    /// Whether a refusal may be logged; if so, how many were not since the last.
    pub(super) fn may_log(&self) -> Option<u64> {
        let now = self.clock.elapsed();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if now >= held.lines_since + LINES_PER {
            held.lines_since = now;
            held.lines = 0;
        }
        if held.lines >= LINES {
            held.unlogged += 1;
            return None;
        }
        held.lines += 1;
        Some(std::mem::take(&mut held.unlogged))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.total = held.total.saturating_sub(1);
        if let Some(count) = held.sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                held.sources.remove(&self.source);
            }
        }
    }
}

fn network(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            IpAddr::V6(Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0))
        }
        four => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_given_back() {
        let limits = Limits::new(3, 2, Clock::system());
        let [a, b] = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse::<IpAddr>().unwrap());
        let first = limits.enter(a).unwrap();
        let _second = limits.enter(a).unwrap();
        assert!(limits.enter(a).is_none(), "two from one source");
        let _third = limits.enter(b).unwrap();
        assert!(limits.enter(b).is_none(), "three in total");
        drop(first);
        assert!(limits.enter(b).is_some());
    }

    #[test]
    fn refusals_are_logged_sparingly() {
        let limits = Limits::new(1, 1, Clock::system());
        let logged = (0..LINES + 5).filter_map(|_| limits.may_log()).count();
        assert_eq!(logged, LINES as usize);
    }
}
