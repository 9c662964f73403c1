//! The live MQTT sessions: at most one a device, each of which can be told to end or to prove itself again.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use fieldkeep_protocol::DeviceId;
use tokio::sync::Notify;

/// What a session is told from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cut {
    /// The device's state may have changed: look again.
    Recheck,
    /// A newer connection of the same device has taken its place.
    TakenOver,
}

#[derive(Debug, Default)]
pub(super) struct Live {
    sessions: Arc<Mutex<Sessions>>,
}

#[derive(Debug, Default)]
struct Sessions {
    last: u64,
    by_device: HashMap<DeviceId, (u64, Arc<Told>)>,
}

/// What a session was told and has not heard yet. Telling it the same twice is telling it once.
#[derive(Debug, Default)]
struct Told {
    taken_over: AtomicBool,
    recheck: AtomicBool,
    news: Notify,
}

impl Told {
    fn tell(&self, cut: Cut) {
        match cut {
            Cut::TakenOver => self.taken_over.store(true, Ordering::Release),
            Cut::Recheck => self.recheck.store(true, Ordering::Release),
        }
        self.news.notify_one();
    }
}

/// A session's place; given back when dropped, unless a newer session has it.
#[derive(Debug)]
pub(super) struct Seat {
    device: DeviceId,
    number: u64,
    told: Arc<Told>,
    sessions: Arc<Mutex<Sessions>>,
}

impl Live {
    /// Takes the device's place; a session that has it is told.
    pub(super) fn enter(&self, device: DeviceId) -> Seat {
        let told = Arc::<Told>::default();
        let tell = Arc::clone(&told);
        let mut sessions = lock(&self.sessions);
        sessions.last += 1;
        let number = sessions.last;
        if let Some((_, older)) = sessions.by_device.insert(device, (number, tell)) {
            older.tell(Cut::TakenOver);
        }
        Seat {
            device,
            number,
            told,
            sessions: Arc::clone(&self.sessions),
        }
    }

    pub(super) fn tell(&self, device: DeviceId, cut: Cut) {
        if let Some((_, session)) = lock(&self.sessions).by_device.get(&device) {
            session.tell(cut);
        }
    }

    pub(super) fn tell_all(&self, cut: Cut) {
        for (_, session) in lock(&self.sessions).by_device.values() {
            session.tell(cut);
        }
    }

    pub(super) fn devices(&self) -> Vec<DeviceId> {
        let mut devices: Vec<_> = lock(&self.sessions).by_device.keys().copied().collect();
        devices.sort_unstable();
        devices
    }
}

impl Seat {
    /// The next thing that the session is told. May be cancelled: what was not heard is told again.
    pub(super) async fn told(&mut self) -> Cut {
        loop {
            if self.told.taken_over.load(Ordering::Acquire) {
                return Cut::TakenOver;
            }
            if self.told.recheck.swap(false, Ordering::AcqRel) {
                return Cut::Recheck;
            }
            self.told.news.notified().await;
        }
    }

    /// Whether this is still the device's newest session.
    pub(super) fn is_newest(&self) -> bool {
        let sessions = lock(&self.sessions);
        sessions
            .by_device
            .get(&self.device)
            .is_some_and(|(number, _)| *number == self.number)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut sessions = lock(&self.sessions);
        if let Some((number, _)) = sessions.by_device.get(&self.device)
            && *number == self.number
        {
            sessions.by_device.remove(&self.device);
        }
    }
}

fn lock(sessions: &Mutex<Sessions>) -> MutexGuard<'_, Sessions> {
    sessions.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_newer_session_takes_the_place() {
        let live = Live::default();
        let device = DeviceId::from_bytes([1; 16]);
        let mut older = live.enter(device);
        let mut newer = live.enter(device);
        assert_eq!(older.told().await, Cut::TakenOver);
        assert!(!older.is_newest() && newer.is_newest());
        drop(older);
        assert_eq!(live.devices(), [device]);
        live.tell(device, Cut::Recheck);
        assert_eq!(newer.told().await, Cut::Recheck);
        drop(newer);
        assert!(live.devices().is_empty());
    }
}
