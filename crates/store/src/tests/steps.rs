//! Steps of clocks: they are proposed, hide nothing, and a person decides.

use fieldkeep_protocol::batch::Step;

use super::clocks::{
    DAY, FREE, HOUR, Made, boot, clock, count, expected, note, plain, points, scene, send,
};
use super::*;
use crate::{ClockError, ProposalState};

#[tokio::test]
async fn a_step_is_proposed_and_a_person_decides() {
    for by in [HOUR, DAY - HOUR, -365 * DAY] {
        let folder = tempfile::tempdir().unwrap();
        let store = scene(folder.path()).await;
        let right = (ClockQuality::Synchronised, 0);
        let made = boot(
            1,
            at(0).as_micros(),
            0,
            &[right, right, (FREE, by), (FREE, by)],
        );
        send(&store, &made).await;
        assert_eq!(store.settle_clocks(received()).await.unwrap().proposed, 1);
        assert_eq!(store.settle_clocks(received()).await.unwrap().proposed, 0);
        let everything = TimeRange {
            from: Timestamp::from_micros(i64::MIN),
            ..FOREVER
        };
        let sources = [source(1, "a")];
        let all = store.scan(project(1), &sources, everything, None, 1_000);
        assert_eq!(
            all.await.unwrap().points.len(),
            20,
            "a proposal hides nothing"
        );
        let proposal = clock(&store).await.proposals[0].clone();
        assert_eq!((proposal.first, proposal.last), (10, 19));
        assert_eq!((proposal.offset_us, proposal.open_end), (-by, true));
        assert_eq!(proposal.wall_us - proposal.ticks_us, by);

        // It goes on, and the proposal with it.
        let more = Made {
            minute: 4,
            first: 20,
            ..made[3]
        };
        send(&store, &[more]).await;
        assert_eq!(store.settle_clocks(received()).await.unwrap().proposed, 0);
        assert_eq!(clock(&store).await.proposals[0].last, 24);

        let decide = |confirmed| {
            let store = store.clone();
            async move {
                store
                    .decide_clock_proposal(origin(1), proposal.id, confirmed, &note(), received())
                    .await
            }
        };
        assert_eq!(decide(true).await.unwrap().batches, 3);
        assert!(matches!(decide(false).await, Err(ClockError::Decided)));
        let whole = [made.clone(), vec![more]].concat();
        assert_eq!(plain(&points(&store).await), expected(&whole));
        let decided = clock(&store).await.proposals[0].clone();
        assert_eq!(decided.state, ProposalState::Confirmed);
        assert_eq!(decided.note, Some(note()));

        // What comes after is a new question; once dismissed it is not asked again.
        let next = Made {
            minute: 5,
            first: 25,
            ..made[3]
        };
        send(&store, &[next]).await;
        assert_eq!(store.settle_clocks(received()).await.unwrap().proposed, 1);
        let asked = clock(&store).await.proposals[0].clone();
        assert_eq!((asked.first, asked.last), (25, 29));
        store
            .decide_clock_proposal(origin(1), asked.id, false, &note(), received())
            .await
            .unwrap();
        let last = Made {
            minute: 6,
            first: 30,
            ..made[3]
        };
        send(&store, &[last]).await;
        assert_eq!(store.settle_clocks(received()).await.unwrap().proposed, 0);
        let other = Origin {
            project: project(2),
            ..origin(1)
        };
        let stranger = store
            .decide_clock_proposal(other, asked.id, true, &note(), received())
            .await;
        assert!(matches!(stranger, Err(ClockError::NoProposal)));
    }
}

#[tokio::test]
async fn a_declared_step_inside_a_batch_moves_only_what_comes_after() {
    let folder = tempfile::tempdir().unwrap();
    let store = scene(folder.path()).await;
    let made = boot(1, at(0).as_micros(), 0, &[(FREE, 0), (FREE, HOUR)]);
    let step = [Step {
        record: 2,
        by_us: HOUR,
    }];
    let bytes = made[0].with_steps(&step);
    store.append(origin(1), &bytes, received()).await.unwrap();
    send(&store, &made[1..]).await;
    assert_eq!(store.settle_clocks(received()).await.unwrap().proposed, 1);
    let proposal = clock(&store).await.proposals[0].clone();
    assert_eq!((proposal.first, proposal.last), (2, 9));
    assert!(proposal.declared);
    store
        .decide_clock_proposal(origin(1), proposal.id, true, &note(), received())
        .await
        .unwrap();
    assert_eq!(plain(&points(&store).await), expected(&made));
}

#[tokio::test]
async fn a_long_boot_is_looked_at_in_parts() {
    let folder = tempfile::tempdir().unwrap();
    let store = scene(folder.path()).await;
    let mut clocks = vec![(ClockQuality::Synchronised, 0); 150];
    for (_, wrong) in &mut clocks[140..] {
        *wrong = HOUR;
    }
    let mut made = boot(1, at(0).as_micros(), 0, &clocks);
    for one in &mut made[140..] {
        one.clock = FREE;
    }
    // The last ones first, and all before anybody looks: one mark stands for all of them.
    made.rotate_left(75);
    send(&store, &made).await;
    for _ in 0..4 {
        store.settle_clocks(received()).await.unwrap();
    }
    let proposals = clock(&store).await.proposals;
    assert_eq!(proposals.len(), 1);
    assert_eq!((proposals[0].first, proposals[0].last), (700, 749));
    assert_eq!(count(&store, "SELECT count(*) FROM clock_mark").await, 0);
}

/// Looks at the clocks, but is cut off after so many polls.
async fn cut_off(store: &Store, polls: u32) {
    let looks = store.settle_clocks(received());
    tokio::pin!(looks);
    for _ in 0..polls {
        tokio::select! {
            biased;
            done = &mut looks => {
                done.unwrap();
                return;
            }
            () = tokio::task::yield_now() => {}
        }
    }
}

#[tokio::test]
async fn looks_that_are_cut_off_anywhere_are_done_again() {
    let booted = at(0).as_micros();
    let unset = (ClockQuality::Unset, -booted);
    let right = (ClockQuality::Synchronised, 0);
    let made = boot(
        1,
        booted,
        0,
        &[unset, unset, right, right, (FREE, HOUR), (FREE, HOUR)],
    );
    for polls in [
        0, 1, 2, 3, 5, 8, 13, 21, 34, 55, 89, 144, 233, 377, 610, 987,
    ] {
        let folder = tempfile::tempdir().unwrap();
        let store = scene(folder.path()).await;
        send(&store, &made).await;
        for _ in 0..3 {
            cut_off(&store, polls).await;
        }
        store.close().await;
        let store = open(folder.path()).await;
        store.settle_clocks(received()).await.unwrap();
        let known = clock(&store).await;
        assert!(known.held.is_empty());
        assert_eq!(known.proposals.len(), 1);
        assert_eq!(known.stamps.iter().map(|act| act.batches).sum::<u64>(), 2);
        store
            .decide_clock_proposal(origin(1), known.proposals[0].id, true, &note(), received())
            .await
            .unwrap();
        assert_eq!(plain(&points(&store).await), expected(&made));
    }
}
