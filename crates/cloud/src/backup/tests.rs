//! Backups of an instance in a folder: round trips, and every way in which an archive, a key or a place can be wrong.

mod daily;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use fieldkeep_protocol::batch::{self, Cell, ColumnInput, Header};
use fieldkeep_protocol::{ClockQuality, DeviceId, Epoch, ProjectId, Timestamp};
use fieldkeep_store::{Options, Origin, Store};
use tempfile::TempDir;

use super::*;
use crate::access::{System, Task, system};
use crate::clock::Hands;
use crate::keys::{KeysError, MasterKey};
use crate::pki::Pki;

/// 2026-11-24T00:00:00Z.
const START: Timestamp = Timestamp::from_micros(1_795_478_400_000_000);
const DAY: Duration = Duration::from_secs(86_400);

/// An instance with two projects, open as a server has it.
struct Bench {
    folder: TempDir,
    clock: Clock,
    hands: Hands,
    keys: Keys,
    store: Store,
    backup: Backup,
    paper: String,
}

fn operator() -> System {
    system(Task::AdminCommand)
}

fn project(number: u8) -> ProjectId {
    ProjectId::from_bytes([number; 16])
}

fn origin(number: u8) -> Origin {
    Origin {
        project: project(number),
        device: DeviceId::from_bytes([number + 100; 16]),
    }
}

/// A hundred records from number `first` on.
fn hundred(first: u64) -> Vec<u8> {
    let header = Header {
        epoch: Epoch(5),
        first,
        count: 100,
        prev: [0; 32],
        boot: 1,
        ticks_us: 0,
        clock: ClockQuality::Synchronised,
        revision: 1,
    };
    let base = START.as_micros() - 1_000_000_000_000;
    let times: Vec<i64> = (first..first + 100)
        .map(|record| base + i64::try_from(record).unwrap() * 1_000_000)
        .collect();
    let cells = [Cell::measured(1.25); 100];
    let column = ColumnInput {
        channel: 0,
        values: &cells,
    };
    let mut out = vec![0; 65_536];
    let length = batch::encode(&header, &times, &[], &[column], &mut out).unwrap();
    out.truncate(length);
    out
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("data");
        let master = MasterKey::create(&folder.path().join("master.key")).unwrap();
        let (clock, hands) = Clock::manual(START);
        let opened = Keys::open(&data, &master, &clock).await.unwrap();
        let keys = opened.keys;
        let db = Db::open(&data, &opened.catalogue).await.unwrap();
        Pki::open(db.clone(), keys.clone(), clock.clone())
            .await
            .unwrap();
        let options = Options::new(
            data.join("series.db"),
            opened.series.clone(),
            Arc::new(keys.clone()),
        );
        let store = Store::open(options).await.unwrap();
        for number in [1, 2] {
            keys.create_project(project(number), &clock).await.unwrap();
        }
        let backup = Backup::new(db, keys.clone(), clock.clone(), &data, opened.series);
        let mut bench = Self {
            folder,
            clock,
            hands,
            keys,
            store,
            backup,
            paper: String::new(),
        };
        for number in [1, 2] {
            for part in 0..10 {
                bench.take(number, part * 100).await;
            }
        }
        let made = bench
            .backup
            .make_recovery_key(&operator().operator(), false)
            .await
            .unwrap();
        bench.paper = made.secret.to_string();
        bench
    }

    async fn take(&self, number: u8, first: u64) {
        let bytes = hundred(first);
        self.store
            .append(origin(number), &bytes, self.clock.now())
            .await
            .unwrap();
    }

    fn target(&self) -> PathBuf {
        self.folder.path().join("target")
    }

    async fn make(&self) -> Result<Done, BackupError> {
        self.backup
            .make(
                &operator().operator(),
                &self.target(),
                None,
                &Arc::default(),
            )
            .await
    }

    fn order(&self, from: &Path, place: &str) -> RestoreOrder {
        RestoreOrder {
            from: from.to_path_buf(),
            keys: None,
            data: self.folder.path().join(place).join("data"),
            master_key: self.folder.path().join(place).join("master.key"),
            recovery_key: RecoveryKey::parse(&self.paper).unwrap(),
        }
    }

    async fn restore(&self, order: RestoreOrder) -> Result<Restoration, BackupError> {
        restore(order, self.clock.clone(), &Arc::default()).await
    }

    async fn warnings(&self) -> Vec<&'static str> {
        let status = self.backup.status(&operator().operator()).await.unwrap();
        status.warnings.iter().map(Warning::code).collect()
    }
}

/// How many records of each project can be read in a restored folder; None where the project's key is gone.
async fn readable(folder: &Path, clock: &Clock) -> [Option<u64>; 2] {
    let master = MasterKey::load(&folder.join("master.key"))
        .unwrap()
        .unwrap();
    let data = folder.join("data");
    let opened = Keys::open(&data, &master, clock).await.unwrap();
    let keys = Arc::new(opened.keys);
    let options = Options::new(
        data.join("series.db"),
        opened.series,
        Arc::clone(&keys) as _,
    );
    let store = Store::open(options).await.unwrap();
    let mut all = [None; 2];
    for (number, slot) in [1, 2].into_iter().zip(&mut all) {
        let opened = store.open_ends(origin(number), Epoch(5)).await.unwrap();
        if opened.sound == 2 {
            *slot = Some(store.totals(origin(number)).await.unwrap().records);
        }
    }
    store.close().await;
    keys.close().await;
    all
}

fn entries(folder: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Vec::new();
    };
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_restored_is_what_was_backed_up() {
    let bench = Bench::new().await;
    let done = bench.make().await.unwrap();
    assert_eq!((done.series, done.batches, done.records), (2, 20, 2_000));
    bench.take(1, 1_000).await;
    let restored = bench
        .restore(bench.order(&bench.target(), "new"))
        .await
        .unwrap();
    assert_eq!(
        (restored.series, restored.batches, restored.records),
        (2, 20, 2_000)
    );
    assert_eq!((restored.opened, restored.erased), (4, 0));
    assert_eq!(restored.instance, bench.keys.instance_id().to_string());
    let place = bench.folder.path().join("new");
    assert_eq!(
        readable(&place, &bench.clock).await,
        [Some(1_000), Some(1_000)]
    );
    // Nothing of the old machine opens the new instance.
    let old = MasterKey::load(&bench.folder.path().join("master.key"))
        .unwrap()
        .unwrap();
    let refused = Keys::open(&place.join("data"), &old, &bench.clock).await;
    assert!(matches!(refused, Err(KeysError::WrongMasterKey { .. })));
}

#[tokio::test]
async fn archives_hold_no_secret_in_the_clear_and_never_the_master_key() {
    let bench = Bench::new().await;
    let done = bench.make().await.unwrap();
    let line = fs::read_to_string(bench.folder.path().join("master.key")).unwrap();
    let digits = line.trim().rsplit(' ').next().unwrap().to_owned();
    let key = RecoveryKey::parse(&bench.paper).unwrap();
    for path in [&done.path, &done.keys] {
        let mut plain = Vec::new();
        let mut opening = seal::open(path, &key).unwrap();
        std::io::Read::read_to_end(&mut opening, &mut plain).unwrap();
        let raw = fs::read(path).unwrap();
        let bytes: Vec<u8> = digits
            .as_bytes()
            .chunks(2)
            .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
            .collect();
        for secret in [digits.as_bytes(), &bytes] {
            assert!(!plain.windows(secret.len()).any(|part| part == secret));
        }
        assert!(plain.windows(9).any(|part| part == b"\"format\":"));
        assert!(!raw.windows(9).any(|part| part == b"\"format\":"));
    }
}

#[tokio::test]
async fn every_flipped_bit_and_every_cut_is_noticed_and_leaves_an_empty_folder() {
    let bench = Bench::new().await;
    let done = bench.make().await.unwrap();
    let broken = bench.folder.path().join("broken");
    fs::create_dir(&broken).unwrap();
    for (path, other) in [(&done.path, &done.keys), (&done.keys, &done.path)] {
        let whole = fs::read(path).unwrap();
        let name = |path: &Path| broken.join(path.file_name().unwrap());
        fs::copy(other, name(other)).unwrap();
        let mut damages: Vec<Vec<u8>> = Vec::new();
        for part in 0..40 {
            let position = whole.len() * part / 40;
            let mut flipped = whole.clone();
            flipped[position] ^= 1 << (part % 8);
            damages.push(flipped);
            damages.push(whole[..position].to_vec());
        }
        damages.push(whole[..whole.len() - 1].to_vec());
        damages.push([whole.as_slice(), b"x"].concat());
        for (number, bytes) in damages.iter().enumerate() {
            fs::write(name(path), bytes).unwrap();
            let order = bench.order(&name(&done.path), "new");
            let data = order.data.clone();
            let outcome = bench.restore(order).await;
            assert!(outcome.is_err(), "damage {number} of {}", path.display());
            assert_eq!(entries(&data), Vec::<String>::new(), "damage {number}");
        }
        fs::copy(path, name(path)).unwrap();
    }
    bench.restore(bench.order(&broken, "new")).await.unwrap();
}

#[tokio::test]
async fn a_wrong_key_is_told_which_one_is_needed() {
    let bench = Bench::new().await;
    let first = bench.make().await.unwrap();
    let needed = bench
        .backup
        .confirm_recovery_key(&operator().operator())
        .await
        .unwrap();
    let again = bench
        .backup
        .make_recovery_key(&operator().operator(), false)
        .await;
    assert!(matches!(again, Err(BackupError::RecoveryKeyExists { id }) if id == needed));
    let second = bench
        .backup
        .make_recovery_key(&operator().operator(), true)
        .await
        .unwrap();
    let mut order = bench.order(&first.path, "new");
    order.recovery_key = RecoveryKey::parse(&second.secret).unwrap();
    let error = bench.restore(order).await.unwrap_err();
    assert!(error.is_usage());
    let text = error.to_string();
    assert!(
        text.contains(&needed) && text.contains(&second.id),
        "{text}"
    );
    assert!(!text.contains("AGE-SECRET"), "{text}");

    // Old data and new keys: both keys in one file open both.
    bench.hands.advance(DAY);
    bench.make().await.unwrap();
    let mut order = bench.order(&first.path, "new");
    let both = format!(
        "# old\n{}\n# new\n{}\n",
        bench.paper,
        second.secret.as_str()
    );
    order.recovery_key = RecoveryKey::parse(&both).unwrap();
    bench.restore(order).await.unwrap();
    for text in ["", "# nothing", "AGE-SECRET-KEY-1QQQ", "age1qqq"] {
        assert!(matches!(
            RecoveryKey::parse(text),
            Err(BackupError::NotARecoveryKey)
        ));
    }
}

#[tokio::test]
async fn only_an_empty_folder_is_filled() {
    let bench = Bench::new().await;
    bench.make().await.unwrap();
    let order = bench.order(&bench.target(), "new");
    fs::create_dir_all(&order.data).unwrap();
    fs::write(order.data.join("notes.txt"), "mine").unwrap();
    let error = bench.restore(order).await.unwrap_err();
    assert!(matches!(&error, BackupError::NotEmpty { entry, .. } if entry == "notes.txt"));
    let data = bench.folder.path().join("new/data");
    assert_eq!(entries(&data), ["notes.txt"]);
    // The same in a folder whose restore was broken off: what is not ours stays.
    fs::write(data.join("restore.unfinished"), "").unwrap();
    fs::write(data.join("series.db"), "half").unwrap();
    let order = bench.order(&bench.target(), "new");
    assert!(matches!(
        bench.restore(order).await,
        Err(BackupError::NotEmpty { .. })
    ));
    assert_eq!(fs::read_to_string(data.join("notes.txt")).unwrap(), "mine");
    let master = MasterKey::load(&bench.folder.path().join("master.key"))
        .unwrap()
        .unwrap();
    let refused = Keys::open(&data, &master, &bench.clock).await;
    assert!(matches!(refused, Err(KeysError::RestoreUnfinished { .. })));
    fs::remove_file(data.join("notes.txt")).unwrap();
    bench
        .restore(bench.order(&bench.target(), "new"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_backup_of_a_newer_program_is_refused_before_anything_is_made() {
    let bench = Bench::new().await;
    for table in ["series.db", "catalogue.db"] {
        let done = bench.make().await.unwrap();
        bench.hands.advance(DAY);
        let path = bench.folder.path().join("data").join(table);
        let key = match table {
            "series.db" => bench.backup.series_key().clone(),
            _ => {
                let master = MasterKey::load(&bench.folder.path().join("master.key")).unwrap();
                let data = bench.folder.path().join("data");
                let opened = Keys::open(&data, &master.unwrap(), &bench.clock)
                    .await
                    .unwrap();
                opened.catalogue
            }
        };
        let database = fieldkeep_store::sql::Database::open_existing(&path, &key)
            .await
            .unwrap();
        database
            .execute("INSERT INTO migration (number) VALUES (999)", &[])
            .await
            .unwrap();
        let newer = bench.make().await.unwrap();
        database
            .execute("DELETE FROM migration WHERE number = 999", &[])
            .await
            .unwrap();
        database.close().await;
        let order = bench.order(&newer.path, "new");
        let data = order.data.clone();
        let error = bench.restore(order).await.unwrap_err();
        assert!(matches!(error, BackupError::Newer { .. }), "{error}");
        assert!(!data.exists());
        assert!(done.path.exists());
    }
}

#[tokio::test]
async fn an_erased_project_stays_erased_in_older_backups() {
    let bench = Bench::new().await;
    let yesterday = bench.make().await.unwrap();
    bench.keys.erase_project(project(1)).await.unwrap();
    bench.store.forget(project(1)).await.unwrap();
    bench.hands.advance(DAY);
    bench.make().await.unwrap();
    let restored = bench
        .restore(bench.order(&yesterday.path, "new"))
        .await
        .unwrap();
    assert_eq!(
        (restored.series, restored.opened, restored.erased),
        (2, 2, 1)
    );
    let place = bench.folder.path().join("new");
    assert_eq!(readable(&place, &bench.clock).await, [None, Some(1_000)]);
    // And after a week no archive of its key is left.
    assert!(yesterday.keys.exists());
    bench.hands.advance(7 * DAY);
    bench.make().await.unwrap();
    assert!(!yesterday.keys.exists() && yesterday.path.exists());
}

#[tokio::test]
async fn keys_must_be_as_new_as_the_data_and_of_the_same_instance() {
    let bench = Bench::new().await;
    let old = bench.make().await.unwrap();
    bench.hands.advance(DAY);
    let new = bench.make().await.unwrap();
    let mut order = bench.order(&new.path, "new");
    order.keys = Some(old.keys.clone());
    assert!(matches!(
        bench.restore(order).await,
        Err(BackupError::Unfit { .. })
    ));
    let alone = bench.folder.path().join("alone");
    fs::create_dir(&alone).unwrap();
    let copy = alone.join(new.path.file_name().unwrap());
    fs::copy(&new.path, &copy).unwrap();
    assert!(matches!(
        bench.restore(bench.order(&alone, "new")).await,
        Err(BackupError::NoKeys { .. })
    ));
    fs::copy(
        &copy,
        alone.join("fieldkeep-ffffffff-20260101T000000Z-data.age"),
    )
    .unwrap();
    assert!(matches!(
        bench.restore(bench.order(&alone, "new")).await,
        Err(BackupError::SeveralInstances { .. })
    ));
    let mut order = bench.order(&copy, "new");
    order.keys = Some(new.keys);
    bench.restore(order).await.unwrap();
    let empty = bench.folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    assert!(matches!(
        bench.restore(bench.order(&empty, "newer")).await,
        Err(BackupError::NoBackup { .. })
    ));
}

#[tokio::test]
async fn one_backup_at_a_time_and_none_without_a_recovery_key() {
    let bench = Bench::new().await;
    let held = bench.backup.lock().unwrap();
    assert!(matches!(bench.make().await, Err(BackupError::Busy)));
    drop(held);
    bench.make().await.unwrap();
    // In the same second a name of its own.
    bench.make().await.unwrap();
    assert_eq!(entries(&bench.target()).len(), 4);

    let other = tempfile::tempdir().unwrap();
    let data = other.path().join("data");
    let master = MasterKey::create(&other.path().join("master.key")).unwrap();
    let opened = Keys::open(&data, &master, &bench.clock).await.unwrap();
    let db = Db::open(&data, &opened.catalogue).await.unwrap();
    let backup = Backup::new(db, opened.keys, bench.clock.clone(), &data, opened.series);
    let task = operator();
    let to = other.path().join("target");
    let refused = backup
        .make(&task.operator(), &to, None, &Arc::default())
        .await;
    assert!(matches!(refused, Err(BackupError::NoRecoveryKey)));
    assert!(!to.exists());
    let status = backup.status(&task.operator()).await.unwrap();
    let codes: Vec<&str> = status.warnings.iter().map(Warning::code).collect();
    assert_eq!(codes, ["no_recovery_key", "never"]);
}

#[tokio::test]
async fn somebody_is_told_what_is_wrong_until_it_is_right() {
    let bench = Bench::new().await;
    assert_eq!(
        bench.warnings().await,
        ["never", "recovery_key_unconfirmed"]
    );
    bench.backup.announce(Some(&bench.target())).await.unwrap();
    assert_eq!(
        bench.warnings().await,
        ["none_yet", "same_disk", "recovery_key_unconfirmed"]
    );
    bench.make().await.unwrap();
    // A test's folders are on one disk.
    assert_eq!(
        bench.warnings().await,
        ["same_disk", "recovery_key_unconfirmed"]
    );
    bench
        .backup
        .confirm_recovery_key(&operator().operator())
        .await
        .unwrap();
    assert_eq!(bench.warnings().await, ["same_disk"]);
    bench.hands.advance(Duration::from_secs(26 * 3_600 + 1));
    assert_eq!(bench.warnings().await, ["stale", "same_disk"]);
    let file = bench.folder.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let failed = bench
        .backup
        .make(
            &operator().operator(),
            &file.join("target"),
            None,
            &Arc::default(),
        )
        .await;
    assert!(failed.is_err());
    assert_eq!(bench.warnings().await, ["stale", "failed", "same_disk"]);
    bench.make().await.unwrap();
    assert_eq!(bench.warnings().await, ["same_disk"]);
}

#[tokio::test]
async fn a_backup_that_nobody_waits_for_leaves_nothing() {
    let bench = Bench::new().await;
    for polls in 1..12 {
        let progress = Arc::<Progress>::default();
        let task = operator();
        let grant = task.operator();
        let target = bench.target();
        let mut making = Box::pin(bench.backup.make(&grant, &target, None, &progress));
        for _ in 0..polls {
            tokio::select! {
                biased;
                _ = &mut making => break,
                () = tokio::task::yield_now() => {}
            }
        }
        drop(making);
    }
    let done = bench.make().await.unwrap();
    assert!(done.path.exists());
    assert!(
        entries(&bench.target())
            .iter()
            .all(|name| !name.ends_with(".part"))
    );
}
