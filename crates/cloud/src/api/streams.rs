//! Places for answers that last: live streams and exports, bounded in total, and per project, so that no project keeps the
//! others out.
//!
//! Owns the counts. Promises that a place is given back when it is dropped, whoever ends the stream.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use fieldkeep_protocol::ProjectId;

/// Live streams of one instance, and of one project.
const LIVE: Places = Places {
    total: 512,
    of_project: 128,
};
/// Exports: each holds some thousand rows, as Parquet some ten MiB.
const EXPORTS: Places = Places {
    total: 32,
    of_project: 8,
};

#[derive(Clone, Copy, Debug)]
struct Places {
    total: usize,
    of_project: usize,
}

/// The places of one instance for one kind of answer. Clones share their counts.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    places: Places,
    counts: Arc<Mutex<HashMap<ProjectId, usize>>>,
}

/// A stream's place.
#[derive(Debug)]
pub(super) struct Place {
    project: ProjectId,
    streams: Streams,
}

impl Streams {
    /// For live streams.
    pub(super) fn live() -> Self {
        Self::new(LIVE)
    }

    /// For exports.
    pub(super) fn exports() -> Self {
        Self::new(EXPORTS)
    }

    fn new(places: Places) -> Self {
        Self {
            places,
            counts: Arc::default(),
        }
    }

    /// A place for a stream of `project`, if there is one.
    pub(super) fn enter(&self, project: ProjectId) -> Option<Place> {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let of_project = counts.get(&project).copied().unwrap_or(0);
        let all: usize = counts.values().sum();
        if of_project >= self.places.of_project || all >= self.places.total {
            return None;
        }
        counts.insert(project, of_project + 1);
        Some(Place {
            project,
            streams: self.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = (self.streams.counts.lock()).unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&self.project) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.project);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_project_leaves_room_for_others_and_places_come_back() {
        let streams = Streams::live();
        let [ours, theirs] = [1, 2].map(|byte| ProjectId::from_bytes([byte; 16]));
        let mut places: Vec<_> = std::iter::from_fn(|| streams.enter(ours)).collect();
        assert_eq!(places.len(), LIVE.of_project);
        assert!(streams.enter(theirs).is_some());
        places.pop();
        assert!(streams.enter(ours).is_some());
        let others: Vec<_> = (3..100)
            .flat_map(|byte| std::iter::repeat_n(ProjectId::from_bytes([byte; 16]), 64))
            .map_while(|project| streams.enter(project))
            .collect();
        assert_eq!(others.len() + places.len(), LIVE.total);
        drop((others, places));
        assert!(streams.counts.lock().unwrap().is_empty());
    }
}
