//! How often one source may fail to enrol.
//!
//! Counts failures only, so that a thousand honest devices behind one address are not held up. Bounded memory:
//! when full, the source that failed longest ago is forgotten. Pure but for the time handed in.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

const FAILURES: u32 = 10;
const WINDOW: Duration = Duration::from_secs(600);
const SOURCES: usize = 4_096;

#[derive(Debug, Default)]
pub(super) struct Throttle {
    sources: HashMap<IpAddr, Failures>,
}

#[derive(Clone, Copy, Debug)]
struct Failures {
    since: Duration,
    count: u32,
}

impl Throttle {
    /// How long `source` must wait before it may try again, if it must.
    pub(super) fn wait(&self, source: IpAddr, now: Duration) -> Option<Duration> {
        let failures = self.sources.get(&network(source))?;
        let left = (failures.since + WINDOW).checked_sub(now)?;
        (failures.count >= FAILURES && !left.is_zero()).then_some(left)
    }

    pub(super) fn failed(&mut self, source: IpAddr, now: Duration) {
        let source = network(source);
        if self.sources.len() >= SOURCES && !self.sources.contains_key(&source) {
            let oldest = self
                .sources
                .iter()
                .min_by_key(|(_, failures)| failures.since)
                .map(|(source, _)| *source);
            oldest.map(|oldest| self.sources.remove(&oldest));
        }
        let entry = self.sources.entry(source).or_insert(Failures {
            since: now,
            count: 0,
        });
        if now >= entry.since + WINDOW {
            *entry = Failures {
                since: now,
                count: 0,
            };
        }
        entry.count = entry.count.saturating_add(1);
    }
}

/// An IPv6 host owns its whole /64.
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
    fn ten_failures_wait_until_the_window_ends() {
        let mut throttle = Throttle::default();
        let source: IpAddr = "2001:db8::1".parse().unwrap();
        let neighbour: IpAddr = "2001:db8::2".parse().unwrap();
        let stranger: IpAddr = "192.0.2.1".parse().unwrap();
        for second in 0..10 {
            let now = Duration::from_secs(second);
            assert_eq!(throttle.wait(source, now), None);
            throttle.failed(source, now);
        }
        let now = Duration::from_secs(100);
        assert_eq!(
            throttle.wait(neighbour, now),
            Some(Duration::from_secs(500))
        );
        assert_eq!(throttle.wait(stranger, now), None);
        assert_eq!(throttle.wait(source, Duration::from_secs(600)), None);
        throttle.failed(source, Duration::from_secs(600));
        assert_eq!(throttle.wait(source, Duration::from_secs(600)), None);
    }

    #[test]
    fn memory_is_bounded() {
        let mut throttle = Throttle::default();
        for host in 0..(SOURCES as u32 + 10) {
            throttle.failed(
                IpAddr::V4(host.into()),
                Duration::from_millis(u64::from(host)),
            );
        }
        assert_eq!(throttle.sources.len(), SOURCES);
    }
}
