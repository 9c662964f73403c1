//! What was read from the catalogue, for exactly as long as nobody changes the catalogue.
//!
//! Whoever looks something up first asks in which [`State`] the catalogue is, which is one short question, and finds here
//! only what was read in that very state. So nothing here is ever older than the question: a revoked key, a changed role, a
//! new deployment count at once, whichever process wrote them. Bounded: what is too much is forgotten all together.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fieldkeep_store::sql::State;

/// Values by key, all of one state.
#[derive(Debug)]
pub struct Remembered<K, V> {
    most: usize,
    held: Mutex<Held<K, V>>,
}

#[derive(Debug)]
struct Held<K, V> {
    state: Option<State>,
    values: HashMap<K, V>,
}

impl<K: Eq + Hash, V: Clone> Remembered<K, V> {
    /// At most so many.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self {
            most,
            held: Mutex::new(Held {
                state: None,
                values: HashMap::new(),
            }),
        }
    }

    /// What was read in this state.
    pub fn in_state(&self, state: State, key: &K) -> Option<V> {
        let held = self.held();
        if held.state != Some(state) {
            return None;
        }
        held.values.get(key).cloned()
    }

    /// Keeps what was read after the catalogue was found to be in this state.
    pub fn keep(&self, state: State, key: K, value: V) {
        let mut held = self.held();
        if held.state != Some(state) {
            held.state = Some(state);
            held.values.clear();
        }
        if held.values.len() >= self.most {
            held.values.clear();
        }
        held.values.insert(key, value);
    }

    fn held(&self) -> MutexGuard<'_, Held<K, V>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::db::Db;
    use fieldkeep_store::sql::DatabaseKey;

    #[tokio::test]
    async fn nothing_outlives_a_change_by_whomever() {
        let folder = tempfile::tempdir().unwrap();
        let key = DatabaseKey::new([7; 32]);
        let open = || Db::open(folder.path(), &key);
        let (db, other) = (open().await.unwrap(), open().await.unwrap());
        let remembered = Remembered::new(2);
        // Another value each time: what is written as it was changes nothing, and no state.
        for (writer, value) in [(&db, "one"), (&other, "two"), (&db, "three")] {
            let state = db.state().await.unwrap();
            remembered.keep(state, "a", 1);
            let same = db.state().await.unwrap();
            assert_eq!(remembered.in_state(same, &"a"), Some(1));
            writer.set(&[("name", value)]).await.unwrap();
            let next = db.state().await.unwrap();
            assert_eq!(remembered.in_state(next, &"a"), None);
            remembered.keep(next, "b", 2);
            assert_eq!(remembered.in_state(next, &"a"), None, "of another state");
        }
    }

    #[tokio::test]
    async fn it_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let key = DatabaseKey::new([7; 32]);
        let db = Db::open(folder.path(), &key).await.unwrap();
        let state = db.state().await.unwrap();
        let remembered = Remembered::new(3);
        for number in 0..10 {
            remembered.keep(state, number, number);
            assert!(remembered.held().values.len() <= 3);
            assert_eq!(remembered.in_state(state, &number), Some(number));
        }
    }
}
