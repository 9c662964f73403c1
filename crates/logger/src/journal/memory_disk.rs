//! A disk in memory that can stop at any operation, in the middle of a write, and then lose what was not synced.

use std::{
    collections::BTreeMap,
    io,
    sync::{Arc, Mutex},
};

use super::Disk;

#[derive(Clone, Default)]
struct File {
    bytes: Vec<u8>,
    synced: usize,
}

#[derive(Default)]
struct State {
    files: BTreeMap<String, File>,
    /// Bytes and operations that may still be done; `None` is as many as one likes.
    budget: Option<u64>,
    spent: u64,
    room: Option<u64>,
}

/// A handle on the disk; clones see the same files, as a reopened journal does.
#[derive(Clone, Default)]
pub(super) struct MemoryDisk(Arc<Mutex<State>>);

impl MemoryDisk {
    /// From now on the disk stops after so much work.
    pub(super) fn cut_after(&self, budget: u64) {
        let mut state = self.0.lock().unwrap();
        state.budget = Some(budget);
        state.spent = 0;
    }

    /// How much work was done since it was last asked to stop or not.
    pub(super) fn spent(&self) -> u64 {
        self.0.lock().unwrap().spent
    }

    /// The machine is on again. Without power loss what was written is there; with it, unsynced tails are cut at `keep`
    /// of their length in percent.
    pub(super) fn revive(&self, power_lost: Option<u64>) {
        let mut state = self.0.lock().unwrap();
        state.budget = None;
        state.spent = 0;
        for file in state.files.values_mut() {
            if let Some(keep) = power_lost {
                let tail = file.bytes.len().saturating_sub(file.synced) as u64;
                file.bytes
                    .truncate(file.synced + (tail * keep / 100) as usize);
            }
            file.synced = file.bytes.len();
        }
    }

    /// From now on the disk holds no more than this.
    pub(super) fn limit(&self, room: Option<u64>) {
        self.0.lock().unwrap().room = room;
    }

    pub(super) fn files(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.0.lock().unwrap();
        state
            .files
            .iter()
            .map(|(n, f)| (n.clone(), f.bytes.clone()))
            .collect()
    }

    pub(super) fn put(&self, name: &str, bytes: Vec<u8>) {
        let synced = bytes.len();
        self.0
            .lock()
            .unwrap()
            .files
            .insert(name.to_owned(), File { bytes, synced });
    }

    /// An independent copy, as when somebody copies the folder.
    pub(super) fn copy(&self) -> MemoryDisk {
        let copy = MemoryDisk::default();
        self.files()
            .into_iter()
            .for_each(|(name, bytes)| copy.put(&name, bytes));
        copy
    }
}

impl State {
    /// Pays for work; how much of it is done, which is less than all when the disk stops in the middle.
    fn pay(&mut self, cost: u64) -> u64 {
        let done = self.budget.map_or(cost, |left| left.min(cost));
        self.budget = self.budget.map(|left| left - done);
        self.spent += done;
        done
    }

    fn step(&mut self) -> io::Result<()> {
        if self.pay(1) == 1 {
            Ok(())
        } else {
            Err(stopped())
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the disk stopped")
}

impl Disk for MemoryDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.0.lock().unwrap().files.keys().cloned().collect())
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self
            .0
            .lock()
            .unwrap()
            .files
            .get(name)
            .map(|f| f.bytes.clone()))
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let state = self.0.lock().unwrap();
        let file = state.files.get(name).ok_or(io::ErrorKind::NotFound)?;
        let range = offset as usize..offset as usize + length;
        Ok(file
            .bytes
            .get(range)
            .ok_or(io::ErrorKind::UnexpectedEof)?
            .to_vec())
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        let held: u64 = state.files.values().map(|f| f.bytes.len() as u64).sum();
        let fits = state
            .room
            .map_or(bytes.len() as u64, |room| room.saturating_sub(held));
        let done = state.pay((bytes.len() as u64).min(fits)) as usize;
        let file = state.files.entry(name.to_owned()).or_default();
        file.bytes.extend_from_slice(&bytes[..done]);
        if done == bytes.len() {
            Ok(())
        } else if fits < bytes.len() as u64 {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            Err(stopped())
        }
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.step()?;
        let file = state.files.entry(name.to_owned()).or_default();
        file.bytes.truncate(length as usize);
        file.synced = file.synced.min(length as usize);
        Ok(())
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.step()?;
        if let Some(file) = state.files.get_mut(name) {
            file.synced = file.bytes.len();
        }
        Ok(())
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.step()?;
        let (bytes, synced) = (bytes.to_vec(), bytes.len());
        state.files.insert(name.to_owned(), File { bytes, synced });
        Ok(())
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.step()?;
        let file = state.files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.files.insert(to.to_owned(), file);
        Ok(())
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        let mut state = self.0.lock().unwrap();
        state.step()?;
        state.files.remove(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(())
    }
}
