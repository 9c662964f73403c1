//! The trail over a real catalogue.

use std::net::IpAddr;
use std::time::Duration;

use serde_json::json;
use tempfile::TempDir;

use super::*;
use crate::clock::Hands;
use crate::keys::{MasterKey, new_id};

struct Bench {
    _folder: TempDir,
    hands: Hands,
    db: Db,
    project: ProjectId,
    trail: Trail,
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hands) = Clock::manual(Timestamp::from_micros(1_772_366_400_000_000));
        let master = MasterKey::create(&folder.path().join("key")).unwrap();
        let data = folder.path().join("data");
        let opened = Keys::open(&data, &master, &clock).await.unwrap();
        let db = Db::open(&data, &opened.catalogue).await.unwrap();
        let project = new_id(&clock, ProjectId::from_parts);
        opened.keys.create_project(project, &clock).await.unwrap();
        Self {
            _folder: folder,
            hands,
            db: db.clone(),
            project,
            trail: Trail::new(db, opened.keys, clock),
        }
    }

    fn entry(&self, act: Act) -> Entry {
        let who = Who::new(WhoKind::Person, "usr_1", Some("Anna"));
        let address: IpAddr = "192.0.2.7".parse().unwrap();
        let origin = Origin::new(Some(address), Some("req_1".into()));
        Entry::new(Some(self.project), who, &origin, act)
    }

    fn refusal(&self, source: &str, code: &'static str) -> Entry {
        let origin = Origin::new(Some(source.parse().unwrap()), None);
        Entry::new(None, Who::nobody(), &origin, Act::DoorRefuse)
            .on(Object::new("route", "GET /api/v1/me"))
            .ended(Outcome::Refused(code))
    }

    async fn all(&self, project: Option<ProjectId>) -> Vec<Record> {
        let all = Filter::default();
        let page = self.trail.page(project, &all, None, 2_000);
        page.await.unwrap().records
    }

    async fn counts(&self) -> Vec<(String, u64)> {
        let records = self.all(None).await;
        let counts = records.into_iter().map(|record| (record.act, record.count));
        let mut counts: Vec<_> = counts.collect();
        counts.reverse();
        counts
    }
}

#[tokio::test]
async fn an_entry_comes_back_whole_and_only_with_its_transaction() {
    let bench = Bench::new().await;
    let entry = bench
        .entry(Act::ElementChange)
        .on(Object::new("element", "elm_1"))
        .old(json!({ "name": "a\r\nb" }))
        .new_value(json!({ "name": "b" }))
        .reason(Some("it was wrong"));
    let origin = entry.origin.clone();
    assert!(!origin.is_told());
    let mut given_up = bench.db.begin().await.unwrap();
    bench
        .trail
        .write(&mut given_up, entry.clone())
        .await
        .unwrap();
    drop(given_up);
    bench.trail.append(entry).await.unwrap();
    assert!(origin.is_told());
    let records = bench.all(Some(bench.project)).await;
    let [record] = records.as_slice() else {
        panic!("{records:?}");
    };
    assert_eq!(record.id, 1, "what was given up has no number");
    assert_eq!(record.act, "element.change");
    assert_eq!(
        (record.who.as_str(), record.name.as_deref()),
        ("usr_1", Some("Anna"))
    );
    assert_eq!(record.old, Some(json!({ "name": "a\r\nb" })));
    assert_eq!(record.new, Some(json!({ "name": "b" })));
    assert_eq!(record.reason.as_deref(), Some("it was wrong"));
    assert_eq!(record.address.as_deref(), Some("192.0.2.7"));
    assert_eq!(record.request.as_deref(), Some("req_1"));
    assert!(!record.damaged);
    assert!(bench.all(None).await.is_empty(), "another trail");
}

#[tokio::test]
async fn names_values_and_addresses_are_not_in_clear() {
    let bench = Bench::new().await;
    let entry = bench.entry(Act::MemberAdd).reason(Some("canary"));
    bench.trail.append(entry).await.unwrap();
    let row = bench
        .db
        .fetch_optional("SELECT detail_sealed FROM trail", &[])
        .await
        .unwrap()
        .unwrap();
    for canary in ["canary", "Anna", "192.0.2.7"] {
        let bytes = row.bytes(0).unwrap();
        assert!(
            !bytes
                .windows(canary.len())
                .any(|part| part == canary.as_bytes())
        );
    }
}

#[tokio::test]
async fn a_changed_or_moved_row_shows() {
    let bench = Bench::new().await;
    for _ in 0..3 {
        bench
            .trail
            .append(bench.entry(Act::KeyRevoke))
            .await
            .unwrap();
    }
    for change in [
        "UPDATE trail SET who = 'usr_2' WHERE id = 1",
        "UPDATE trail SET at_us = at_us + 1 WHERE id = 2",
        "UPDATE trail SET id = 7 WHERE id = 3",
    ] {
        assert_eq!(bench.db.execute(change, &[]).await.unwrap(), 1);
    }
    let records = bench.all(Some(bench.project)).await;
    assert_eq!(records.len(), 3);
    assert!(records.iter().all(|record| record.damaged));
}

#[tokio::test]
async fn filters_and_pages() {
    let bench = Bench::new().await;
    for number in 0..7 {
        let act = if number % 2 == 0 {
            Act::MemberAdd
        } else {
            Act::KeyCreate
        };
        let mut entry = bench.entry(act).on(Object::new("person", number));
        if number == 3 {
            entry = entry.ended(Outcome::Refused("forbidden"));
        }
        bench.trail.append(entry).await.unwrap();
        bench.hands.advance(Duration::from_secs(1));
    }
    let ids = async |filter: Filter, before, limit| {
        let page = bench
            .trail
            .page(Some(bench.project), &filter, before, limit);
        let page = page.await.unwrap();
        let ids: Vec<i64> = page.records.iter().map(|record| record.id).collect();
        (ids, page.next)
    };
    let all = Filter::default;
    assert_eq!(ids(all(), None, 4).await, (vec![7, 6, 5, 4], Some(4)));
    assert_eq!(ids(all(), Some(4), 4).await, (vec![3, 2, 1], None));
    let act = |act: &str| Filter {
        act: Some(act.into()),
        ..all()
    };
    assert_eq!(ids(act("member"), None, 9).await.0, [7, 5, 3, 1]);
    assert_eq!(ids(act("member.add"), None, 9).await.0, [7, 5, 3, 1]);
    assert_eq!(ids(act("mem"), None, 9).await.0, [0; 0]);
    let refused = Filter {
        result: Some("refused".into()),
        ..all()
    };
    assert_eq!(ids(refused, None, 9).await.0, [4]);
    let object = Filter {
        object: Some("5".into()),
        ..all()
    };
    assert_eq!(ids(object, None, 9).await.0, [6]);
    let start = 1_772_366_400_000_000;
    let from = Some(Timestamp::from_micros(start + 2_000_000));
    let to = Some(Timestamp::from_micros(start + 4_000_000));
    assert_eq!(ids(Filter { from, to, ..all() }, None, 9).await.0, [4, 3]);
    let who = |who: &str| Filter {
        who: Some(who.into()),
        ..all()
    };
    assert_eq!(ids(who("usr_1"), None, 2).await, (vec![7, 6], Some(6)));
    assert_eq!(ids(who("usr_2"), None, 2).await, (vec![], None));
    let nowhere = Filter {
        locations: Some(std::collections::BTreeSet::new()),
        ..all()
    };
    assert_eq!(ids(nowhere, None, 9).await.0, [0; 0]);
}

#[tokio::test]
async fn the_same_refusal_is_written_once_and_then_counted() {
    let bench = Bench::new().await;
    for _ in 0..500 {
        bench
            .trail
            .note(bench.refusal("192.0.2.1", "unauthenticated"));
    }
    bench.trail.note(bench.refusal("192.0.2.1", "forbidden"));
    bench.trail.flush(false).await;
    let refuse = |count| ("door.refuse".to_owned(), count);
    assert_eq!(bench.counts().await, [refuse(1), refuse(1)]);
    bench.hands.advance(Duration::from_secs(10));
    bench.trail.flush(false).await;
    assert_eq!(bench.counts().await, [refuse(1), refuse(1), refuse(499)]);
    // It goes on: counted until the next ten seconds are over, and the last count is written when the server ends.
    bench
        .trail
        .note(bench.refusal("192.0.2.1", "unauthenticated"));
    bench.trail.flush(false).await;
    assert_eq!(bench.counts().await.len(), 3);
    bench.trail.flush(true).await;
    assert_eq!(bench.counts().await.last(), Some(&refuse(1)));
}

#[tokio::test]
async fn a_flood_from_everywhere_is_bounded_and_its_size_is_told() {
    let bench = Bench::new().await;
    for number in 0..20_000_u32 {
        let source = format!("10.0.{}.{}", (number >> 8) & 255, number & 255);
        bench.trail.note(bench.refusal(&source, "unauthenticated"));
    }
    bench.trail.flush(false).await;
    let counts = bench.counts().await;
    assert_eq!(counts.len(), 257);
    let total: u64 = counts.iter().map(|(_, count)| count).sum();
    assert_eq!(total, 20_000);
    assert_eq!(counts.last().unwrap().0, "trail.gap");
    // One network of IPv6 addresses is one source.
    let bench = Bench::new().await;
    for number in 1..100 {
        bench
            .trail
            .note(bench.refusal(&format!("2001:db8::{number:x}"), "unauthenticated"));
    }
    bench.trail.flush(true).await;
    assert_eq!(bench.counts().await.len(), 2);
}

#[tokio::test]
async fn what_cannot_be_written_waits_or_is_counted() {
    let bench = Bench::new().await;
    bench
        .db
        .execute("ALTER TABLE trail RENAME TO away", &[])
        .await
        .unwrap();
    for _ in 0..1_030 {
        bench.trail.note(bench.entry(Act::ProjectChange));
    }
    bench.trail.flush(false).await;
    bench.trail.note(bench.entry(Act::ProjectChange));
    bench
        .db
        .execute("ALTER TABLE away RENAME TO trail", &[])
        .await
        .unwrap();
    bench.trail.flush(false).await;
    assert_eq!(bench.all(Some(bench.project)).await.len(), 1_024);
    assert_eq!(bench.counts().await, [("trail.gap".to_owned(), 7)]);
}

#[test]
fn words_are_unique_and_read_back() {
    let mut words: Vec<_> = Act::ALL.iter().map(|act| act.word()).collect();
    for word in &words {
        assert_eq!(word.parse::<Act>().map(Act::word), Ok(*word));
    }
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), Act::ALL.len());
}
