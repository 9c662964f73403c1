//! A project that floods the store holds up itself alone: counted in rows, not in time.

use super::*;

const FLOOD: u8 = 200;
const EACH: u64 = 10;

#[tokio::test]
async fn a_flooding_project_holds_up_itself_alone() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).await;
    let quiet = Origin {
        project: project(2),
        device: DeviceId::from_bytes([9; 16]),
    };
    // Its stream is known, so that the batch itself is all that is to be written.
    let first = simple(1, 0, [0; 32], &[1.0]);
    store.append(quiet, &first, received()).await.unwrap();
    let mut arrivals = store.arrivals();

    let mut flood = tokio::task::JoinSet::new();
    for device in 1..=FLOOD {
        for number in 0..EACH {
            let store = store.clone();
            let bytes = simple(1, number, [0; 32], &[1.0]);
            flood.spawn(async move { store.append(origin(device), &bytes, received()).await });
        }
    }
    while !store.is_crowded(project(1)) {
        tokio::task::yield_now().await;
    }
    assert!(!store.is_crowded(project(2)));
    let mut before = 0;
    while let Ok(arrival) = arrivals.try_recv() {
        before = before.max(arrival.sequence);
    }
    let second = simple(1, 1, [0; 32], &[2.0]);
    store.append(quiet, &second, received()).await.unwrap();
    let mut own = None;
    while let Ok(arrival) = arrivals.try_recv() {
        if arrival.project == quiet.project {
            own = Some(arrival.sequence);
        }
    }
    // The commit that is under way, and its turn in the next: not the two thousand that wait.
    let waited = own.unwrap() - before;
    assert!(waited <= 2 * 256, "{waited} rows went first");
    while let Some(done) = flood.join_next().await {
        done.unwrap().unwrap();
    }
    let totals = store.totals(origin(1)).await.unwrap();
    assert_eq!(totals.batches, EACH);
}
