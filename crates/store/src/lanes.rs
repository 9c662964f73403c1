//! The way to the one writer: a bounded lane for each project, emptied in turns.
//!
//! Promises that a project which floods its lane waits for itself alone: what another sends is in the next group that is
//! taken, whatever waits elsewhere. Turns are by bytes, so that large rows buy nothing. While several projects send, groups
//! are smaller, since everybody in a group waits for all of it. Who finds the lane full waits, and can see that it is.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

/// Bytes of one turn.
const TURN: usize = 16 * 1_024;
/// While several lanes are in use, a group is this part of the largest.
const SHARED: usize = 4;
/// So many groups after the last that had several lanes in it, they count as in use still.
const MEMORY: u32 = 64;

/// The senders' end.
pub(crate) struct Lanes<K, T>(Arc<Shared<K, T>>);

/// The writer's end.
pub(crate) struct Taker<K, T>(Arc<Shared<K, T>>);

struct Shared<K, T> {
    /// Most items of one lane.
    room: usize,
    state: Mutex<State<K, T>>,
    arrived: Notify,
}

struct State<K, T> {
    lanes: HashMap<K, Lane<T>>,
    /// Lanes with something in them, the next one to be served first.
    turns: VecDeque<K>,
    /// Places that were given out and not yet used.
    reserved: usize,
    /// Groups until the lanes no longer count as shared.
    shared: u32,
    closed: bool,
}

struct Lane<T> {
    room: Arc<Semaphore>,
    items: VecDeque<(usize, T)>,
    credit: usize,
}

/// A place in a lane; given back when dropped unused.
pub(crate) struct Place<K: Copy + Eq + Hash, T> {
    key: K,
    permit: Option<OwnedSemaphorePermit>,
    shared: Arc<Shared<K, T>>,
}

/// The lanes are closed: the store ends.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

/// Lanes of `room` items each.
pub(crate) fn lanes<K: Copy + Eq + Hash, T>(room: usize) -> (Lanes<K, T>, Taker<K, T>) {
    let shared = Arc::new(Shared {
        room,
        state: Mutex::new(State {
            lanes: HashMap::new(),
            turns: VecDeque::new(),
            reserved: 0,
            shared: 0,
            closed: false,
        }),
        arrived: Notify::new(),
    });
    (Lanes(Arc::clone(&shared)), Taker(shared))
}

impl<K: Copy + Eq + Hash, T> Lanes<K, T> {
    /// A place in the lane of `key`, once there is one.
    pub(crate) async fn reserve(&self, key: K) -> Result<Place<K, T>, Closed> {
        let room = {
            let mut state = self.0.state();
            if state.closed {
                return Err(Closed);
            }
            let lane = state.lanes.entry(key).or_insert_with(|| Lane {
                room: Arc::new(Semaphore::new(self.0.room)),
                items: VecDeque::new(),
                credit: 0,
            });
            Arc::clone(&lane.room)
        };
        let permit = room.acquire_owned().await.map_err(|_| Closed)?;
        let mut state = self.0.state();
        if state.closed {
            return Err(Closed);
        }
        state.reserved += 1;
        Ok(Place {
            key,
            permit: Some(permit),
            shared: Arc::clone(&self.0),
        })
    }

    /// Whether the lane has no room left.
    pub(crate) fn is_full(&self, key: K) -> bool {
        let state = self.0.state();
        let lane = state.lanes.get(&key);
        lane.is_some_and(|lane| lane.room.available_permits() == 0)
    }
}

impl<K: Copy + Eq + Hash, T> Place<K, T> {
    /// Puts an item of so many bytes into the lane.
    pub(crate) fn send(mut self, bytes: usize, item: T) {
        let mut state = self.shared.state();
        let Some(permit) = self.permit.take() else {
            return;
        };
        // Given back when the item is taken.
        permit.forget();
        state.reserved -= 1;
        // The lane is there as long as its places are.
        if let Some(lane) = state.lanes.get_mut(&self.key) {
            lane.items.push_back((bytes, item));
            if lane.items.len() == 1 {
                state.turns.push_back(self.key);
            }
        }
        drop(state);
        self.shared.arrived.notify_one();
    }
}

impl<K: Copy + Eq + Hash, T> Drop for Place<K, T> {
    fn drop(&mut self) {
        if self.permit.is_some() {
            self.shared.state().reserved -= 1;
            self.shared.arrived.notify_one();
        }
    }
}

impl<K: Copy + Eq + Hash, T> Taker<K, T> {
    /// The size of the next group, where `most` is the largest.
    pub(crate) fn group(&self, most: usize) -> usize {
        match self.0.state().shared {
            0 => most,
            _ => (most / SHARED).max(1),
        }
    }

    /// Waits for items and appends at most `most` of them, lanes in turns; 0 when the lanes are closed and empty. May be
    /// cancelled: items are taken or not.
    pub(crate) async fn take(&self, group: &mut Vec<T>, most: usize) -> usize {
        loop {
            {
                let mut state = self.0.state();
                let taken = state.take(group, most, self.0.room);
                let drained = state.closed && state.turns.is_empty() && state.reserved == 0;
                if taken > 0 || drained {
                    return taken;
                }
            }
            self.0.arrived.notified().await;
        }
    }

    /// No more places are given out.
    pub(crate) fn close(&self) {
        let mut state = self.0.state();
        state.closed = true;
        for lane in state.lanes.values() {
            lane.room.close();
        }
        drop(state);
        self.0.arrived.notify_one();
    }
}

impl<K, T> Drop for Taker<K, T> {
    /// Without a writer nobody must wait for room.
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.closed = true;
        for lane in state.lanes.values() {
            lane.room.close();
        }
    }
}

impl<K, T> Shared<K, T> {
    fn state(&self) -> MutexGuard<'_, State<K, T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Copy + Eq + Hash, T> State<K, T> {
    fn take(&mut self, group: &mut Vec<T>, most: usize, room: usize) -> usize {
        self.shared = match self.turns.len() {
            0 => return 0,
            1 => self.shared.saturating_sub(1),
            _ => MEMORY,
        };
        let before = group.len();
        while group.len() - before < most {
            let Some(key) = self.turns.pop_front() else {
                break;
            };
            let Some(lane) = self.lanes.get_mut(&key) else {
                continue;
            };
            // What a turn left over is kept, so that a row larger than a turn has its own in the end.
            lane.credit += TURN;
            while group.len() - before < most
                && lane
                    .items
                    .front()
                    .is_some_and(|(bytes, _)| *bytes <= lane.credit)
                && let Some((bytes, item)) = lane.items.pop_front()
            {
                lane.credit -= bytes;
                lane.room.add_permits(1);
                group.push(item);
            }
            if !lane.items.is_empty() {
                self.turns.push_back(key);
                continue;
            }
            lane.credit = 0;
            // Nobody waits for, holds or has used a place of it.
            let is_idle = lane.room.available_permits() == room;
            if is_idle && Arc::strong_count(&lane.room) == 1 {
                self.lanes.remove(&key);
            }
        }
        group.len() - before
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// The outcome of a future that must be ready at once; `None` if it waits.
    fn now<F: Future>(future: F) -> Option<F::Output> {
        match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn send(lanes: &Lanes<u8, (u8, usize)>, key: u8, number: usize, bytes: usize) -> bool {
        match now(lanes.reserve(key)) {
            Some(Ok(place)) => place.send(bytes, (key, number)),
            _ => return false,
        }
        true
    }

    #[test]
    fn who_floods_waits_for_itself_alone() {
        let (lanes, taker) = lanes(256);
        let flooded = (0..1_000).filter(|n| send(&lanes, 1, *n, 500)).count();
        assert_eq!(flooded, 256);
        assert!(lanes.is_full(1) && !lanes.is_full(2));
        assert!(send(&lanes, 2, 0, 500), "another's lane has room");
        let mut group = Vec::new();
        assert_eq!(now(taker.take(&mut group, 256)), Some(256));
        let position = group.iter().position(|item| item.0 == 2).unwrap();
        assert!(
            position <= TURN / 500,
            "in its turn, not behind the flood: {position}"
        );
        let ones: Vec<_> = group.iter().filter(|item| item.0 == 1).collect();
        assert!(
            ones.iter().map(|item| item.1).eq(0..255),
            "in order within a lane"
        );
    }

    #[test]
    fn turns_are_by_bytes_and_large_rows_are_not_starved() {
        let (lanes, taker) = lanes(256);
        for number in 0..256 {
            assert!(send(&lanes, 1, number, 1_000) && send(&lanes, 2, number, 60_000));
        }
        let mut group = Vec::new();
        let mut bytes = [0usize, 0];
        now(taker.take(&mut group, 128)).unwrap();
        for item in &group {
            bytes[usize::from(item.0) - 1] += if item.0 == 1 { 1_000 } else { 60_000 };
        }
        assert!(bytes[0].abs_diff(bytes[1]) <= 60_000 + TURN, "{bytes:?}");
        assert!(bytes[1] > 0);
    }

    #[test]
    fn groups_are_smaller_while_lanes_are_shared() {
        let (lanes, taker) = lanes(256);
        let mut group = Vec::new();
        assert!(send(&lanes, 1, 0, 1) && send(&lanes, 2, 0, 1));
        assert_eq!(taker.group(256), 256);
        now(taker.take(&mut group, 256)).unwrap();
        for number in 0..MEMORY as usize {
            assert_eq!(taker.group(256), 64);
            assert!(send(&lanes, 1, number, 1));
            now(taker.take(&mut group, 64)).unwrap();
        }
        assert_eq!(taker.group(256), 256);
    }

    #[test]
    fn lanes_that_nobody_uses_are_forgotten() {
        let (lanes, taker) = lanes(4);
        for key in 0..100 {
            assert!(send(&lanes, key, 0, 1));
        }
        let mut group = Vec::new();
        while now(taker.take(&mut group, 7)).is_some() {}
        assert_eq!(group.len(), 100);
        assert!(lanes.0.state().lanes.is_empty());
    }

    #[test]
    fn closing_takes_what_was_promised_and_no_more() {
        let (lanes, taker) = lanes(4);
        let mut group = Vec::new();
        let promised = now(lanes.reserve(1)).unwrap().unwrap();
        let unused = now(lanes.reserve(1)).unwrap().unwrap();
        taker.close();
        assert_eq!(
            now(lanes.reserve(1)).map(|place| place.err()),
            Some(Some(Closed))
        );
        assert_eq!(now(taker.take(&mut group, 4)), None, "two places are out");
        promised.send(1, (1, 7));
        assert_eq!(now(taker.take(&mut group, 4)), Some(1));
        assert_eq!(now(taker.take(&mut group, 4)), None);
        drop(unused);
        assert_eq!(now(taker.take(&mut group, 4)), Some(0));
    }

    #[test]
    fn room_comes_back_as_items_are_taken() {
        let (lanes, taker) = lanes(2);
        assert!(send(&lanes, 1, 0, 1) && send(&lanes, 1, 1, 1) && !send(&lanes, 1, 2, 1));
        let mut group = Vec::new();
        now(taker.take(&mut group, 1)).unwrap();
        assert!(!lanes.is_full(1) && send(&lanes, 1, 2, 1) && lanes.is_full(1));
        drop(taker);
        assert!(matches!(now(lanes.reserve(1)), Some(Err(Closed))));
    }
}
