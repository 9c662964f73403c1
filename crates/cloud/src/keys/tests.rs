//! Keys over real folders: first starts, later starts, refusals, and what a sealed value is bound to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use fieldkeep_protocol::{ProjectId, Timestamp};
use fieldkeep_store::ProjectKeys as _;
use tempfile::TempDir;

use super::*;
use crate::db::Db;

struct Place {
    folder: TempDir,
    clock: Clock,
}

impl Place {
    fn new() -> Self {
        let (clock, _) = Clock::manual(Timestamp::from_micros(1_772_366_400_000_000));
        Self {
            folder: tempfile::tempdir().unwrap(),
            clock,
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn key_file(&self) -> PathBuf {
        self.folder.path().join("conf/master.key")
    }

    fn master(&self) -> Result<MasterKey, KeysError> {
        MasterKey::for_data(&self.key_file(), &self.data())
    }

    async fn open(&self) -> Result<Opened, KeysError> {
        self.open_with(&self.master()?).await
    }

    async fn open_with(&self, master: &MasterKey) -> Result<Opened, KeysError> {
        Keys::open(&self.data(), master, &self.clock).await
    }
}

fn other_key(place: &Place) -> MasterKey {
    MasterKey::create(&place.folder.path().join("other.key")).unwrap()
}

fn project(byte: u8) -> ProjectId {
    ProjectId::from_bytes([byte; 16])
}

fn entries(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| !name.contains("-wal") && !name.contains("-shm"))
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_second_start_has_the_same_keys() {
    let place = Place::new();
    assert!(!is_started(&place.data()));
    let first = place.open().await.unwrap();
    assert!(is_started(&place.data()));
    assert_eq!(
        entries(&place.data()),
        ["catalogue.db", "keyring", "keys.db", "series.db"]
    );
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&place.key_file()), 0o600);
    assert_eq!(mode(&place.data()), 0o700);
    let instance = first.keys.instance().seal("a.b", b"row", b"text");
    let key = first
        .keys
        .create_project(project(1), &place.clock)
        .await
        .unwrap();
    let sealed = key.seal("a.b", b"row", b"text");
    Db::open(&place.data(), &first.catalogue).await.unwrap();

    let second = place.open().await.unwrap();
    assert_eq!(first.keys.instance_id(), second.keys.instance_id());
    let text = second.keys.instance().open("a.b", b"row", &instance);
    assert_eq!(text.unwrap().as_slice(), b"text");
    let key = second.keys.project(project(1)).await.unwrap();
    assert_eq!(key.open_text("a.b", b"row", &sealed).unwrap(), "text");
    Db::open(&place.data(), &second.catalogue).await.unwrap();
}

#[tokio::test]
async fn every_file_is_for_its_owner_alone() {
    let place = Place::new();
    let exposed = || {
        let mut exposed = Vec::new();
        for entry in fs::read_dir(place.data()).unwrap() {
            let entry = entry.unwrap();
            let mode = entry.metadata().unwrap().permissions().mode() & 0o777;
            if mode != 0o600 {
                exposed.push((entry.file_name(), format!("{mode:o}")));
            }
        }
        exposed
    };
    let first = place.open().await.unwrap();
    // With its write-ahead log.
    let db = Db::open(&place.data(), &first.catalogue).await.unwrap();
    assert_eq!(exposed(), []);
    drop((db, first));
    let old = place.data().join("series.db");
    fs::set_permissions(&old, fs::Permissions::from_mode(0o644)).unwrap();
    place.open().await.unwrap();
    assert_eq!(exposed(), [], "what an older version left open is closed");
}

#[tokio::test]
async fn a_missing_master_key_is_named_and_nothing_is_made() {
    let place = Place::new();
    let id = place.open().await.unwrap().keys.master_key_id();
    fs::remove_file(place.key_file()).unwrap();
    let error = place.open().await.err().unwrap();
    assert!(matches!(&error, KeysError::MasterKeyMissing { needed, .. } if *needed == id));
    assert!(error.to_string().contains(&id.to_string()));
    assert!(!place.key_file().exists());
}

#[tokio::test]
async fn another_master_key_opens_nothing() {
    let place = Place::new();
    let needed = place.open().await.unwrap().keys.master_key_id();
    let other = other_key(&place);
    let error = place.open_with(&other).await.err().unwrap();
    assert!(matches!(
        error,
        KeysError::WrongMasterKey { found, needed: key } if found == other.id() && key == needed
    ));
    // Even where the keyring is made to name the other key, its entries do not open.
    let path = place.data().join("keyring");
    let keyring = fs::read_to_string(&path).unwrap();
    fs::write(
        &path,
        keyring.replace(&needed.to_string(), &other.id().to_string()),
    )
    .unwrap();
    let error = place.open_with(&other).await.err().unwrap();
    assert!(matches!(error, KeysError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn exchanged_keyring_entries_do_not_open() {
    let place = Place::new();
    place.open().await.unwrap();
    let path = place.data().join("keyring");
    let keyring = fs::read_to_string(&path).unwrap();
    let exchanged = keyring
        .replace("\"catalogue\"", "\"x\"")
        .replace("\"keys\"", "\"catalogue\"")
        .replace("\"x\"", "\"keys\"");
    fs::write(&path, exchanged).unwrap();
    let error = place.open().await.err().unwrap();
    assert!(matches!(error, KeysError::Damaged { .. }), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_not_whole_is_refused() {
    for file in ["catalogue.db", "series.db", "keys.db"] {
        let place = Place::new();
        place.open().await.unwrap();
        fs::remove_file(place.data().join(file)).unwrap();
        let error = place.open().await.err().unwrap();
        assert!(
            matches!(&error, KeysError::DatabaseMissing { path } if path.ends_with(file)),
            "{error}"
        );
        assert!(!place.data().join(file).exists());
    }
    let place = Place::new();
    let master = place.master().unwrap();
    place.open_with(&master).await.unwrap();
    fs::remove_file(place.data().join("keyring")).unwrap();
    let before = entries(&place.data());
    let error = place.open_with(&master).await.err().unwrap();
    assert!(matches!(error, KeysError::KeyringMissing { .. }), "{error}");
    assert_eq!(entries(&place.data()), before);
}

#[tokio::test]
async fn a_first_start_needs_an_empty_folder() {
    let place = Place::new();
    fs::create_dir(place.data()).unwrap();
    fs::write(place.data().join("photos.zip"), "x").unwrap();
    let error = place.master().err().unwrap();
    assert!(matches!(&error, KeysError::NotEmpty { entry, .. } if entry == "photos.zip"));
    assert!(!place.key_file().exists());
    let error = place.open_with(&other_key(&place)).await.err().unwrap();
    assert!(matches!(error, KeysError::NotEmpty { .. }));
    assert_eq!(entries(&place.data()), ["photos.zip"]);
}

#[tokio::test]
async fn an_interrupted_first_start_is_finished_by_the_next() {
    let place = Place::new();
    let master = place.master().unwrap();
    place.open_with(&master).await.unwrap();
    let (settled, pending) = (
        place.data().join("keyring"),
        place.data().join("keyring.new"),
    );
    // Cut off before the rename, with fewer and fewer databases made.
    for gone in [None, Some("keys.db"), Some("series.db")] {
        fs::rename(&settled, &pending).unwrap();
        if let Some(file) = gone {
            fs::remove_file(place.data().join(file)).unwrap();
            for tail in ["-wal", "-shm"] {
                let _ = fs::remove_file(place.data().join(format!("{file}{tail}")));
            }
        }
        place.open_with(&master).await.unwrap();
        assert!(settled.exists() && !pending.exists());
    }
    // Cut off while the pending keyring was being written.
    let place = Place::new();
    let master = place.master().unwrap();
    fs::create_dir(place.data()).unwrap();
    fs::write(place.data().join("keyring.new"), "{\"form").unwrap();
    place.open_with(&master).await.unwrap();
}

#[tokio::test]
async fn two_first_starts_at_once_make_one_instance() {
    let place = Place::new();
    let master = place.master().unwrap();
    let (one, two) = tokio::join!(place.open_with(&master), place.open_with(&master));
    let (one, two) = (one.unwrap(), two.unwrap());
    assert_eq!(one.keys.instance_id(), two.keys.instance_id());
    let sealed = one.keys.instance().seal("a.b", b"", b"x");
    assert!(two.keys.instance().open("a.b", b"", &sealed).is_ok());
}

#[test]
fn key_files_are_private_and_never_overwritten() {
    let place = Place::new();
    let path = place.key_file();
    let made = MasterKey::create(&path).unwrap();
    assert!(matches!(
        MasterKey::create(&path),
        Err(KeysError::Io { .. })
    ));
    assert_eq!(MasterKey::load(&path).unwrap().unwrap().id(), made.id());
    for mode in [0o640, 0o604, 0o660] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = MasterKey::load(&path).err().unwrap();
        assert!(matches!(error, KeysError::Exposed { mode: found, .. } if found == mode));
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    for text in ["", "fieldkeep-master-key-1 00", "fieldkeep-master-key-2 "] {
        fs::write(&path, text).unwrap();
        let error = MasterKey::load(&path).err().unwrap();
        assert!(matches!(error, KeysError::Malformed { .. }), "{text}");
    }
}

#[test]
fn the_default_place_follows_variable_then_configuration_folder() {
    let with = |pairs: &'static [(&str, &str)]| {
        default_path(move |name| {
            let found = pairs.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    };
    assert_eq!(
        with(&[("FIELDKEEP_MASTER_KEY", "/k"), ("HOME", "/home/a")]),
        Some(PathBuf::from("/k"))
    );
    let user = with(&[("HOME", "/home/a")]).unwrap();
    let allowed = [
        "/home/a/.config/fieldkeep/master.key",
        "/etc/fieldkeep/master.key",
    ];
    assert!(allowed.iter().any(|path| user == Path::new(path)));
}

#[tokio::test]
async fn a_sealed_value_opens_in_its_own_cell_alone() {
    let place = Place::new();
    let keys = place.open().await.unwrap().keys;
    let one = keys.create_project(project(1), &place.clock).await.unwrap();
    let two = keys.create_project(project(2), &place.clock).await.unwrap();
    let sealed = one.seal("element.name", b"row", b"Water level");
    assert_ne!(sealed, one.seal("element.name", b"row", b"Water level"));
    assert!(one.open("element.name", b"row", &sealed).is_ok());
    assert!(one.open("element.name", b"other", &sealed).is_err());
    assert!(one.open("location.name", b"row", &sealed).is_err());
    assert!(two.open("element.name", b"row", &sealed).is_err());
    assert!(
        keys.instance()
            .open("element.name", b"row", &sealed)
            .is_err()
    );
    for position in 0..sealed.len() {
        let mut damaged = sealed.clone();
        damaged[position] ^= 1;
        assert!(one.open("element.name", b"row", &damaged).is_err());
        assert!(
            one.open("element.name", b"row", &sealed[..position])
                .is_err()
        );
    }
    let hash = one.lookup("element.name", b"x");
    assert_eq!(hash, one.lookup("element.name", b"x"));
    assert_ne!(hash, one.lookup("element.name", b"y"));
    assert_ne!(hash, one.lookup("location.name", b"x"));
    assert_ne!(hash, two.lookup("element.name", b"x"));
}

/// Stored data outlives programs: what version 1 derives, wraps and seals must open for ever. `tests/golden/keys_1.txt`
/// is never written anew.
#[test]
fn version_1_stays_readable() {
    let golden: Vec<&str> = include_str!("../../tests/golden/keys_1.txt")
        .lines()
        .collect();
    let [id, wrapped, lookup, sealed, data_keys] = golden[..] else {
        panic!("five lines");
    };
    let digits = "07".repeat(32);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    MasterKey::create(&path).unwrap();
    fs::write(&path, format!("fieldkeep-master-key-1 {digits}\n")).unwrap();
    let master = MasterKey::load(&path).unwrap().unwrap();
    assert_eq!(master.id().to_string(), id);
    let wrapping = master.derive("wrap", &[b"project", &[8; 16], &[9; 16]]);
    let secret = Secret::new([7; 32]);
    assert_eq!(derive::hex(&derive::wrap(&wrapping, &secret)), wrapped);
    let key = SealingKey::derive(&secret, &[9; 16]);
    assert_eq!(derive::hex(&key.lookup("a.b", b"Fieldkeep")), lookup);
    let sealed = derive::from_hex(sealed).unwrap();
    assert_eq!(key.open_text("a.b", b"row", &sealed).unwrap(), "Fieldkeep");
    let wrapping = derive::derive(&secret, "data keys", &[&[9; 16]]);
    assert_eq!(derive::hex(wrapping.expose()), data_keys);
}

#[tokio::test]
async fn an_erased_project_is_gone_at_once() {
    let place = Place::new();
    let keys = place.open().await.unwrap().keys;
    keys.create_project(project(1), &place.clock).await.unwrap();
    assert!(keys.project_key(project(1)).await.is_ok());
    keys.erase_project(project(1)).await.unwrap();
    let error = keys.project(project(1)).await.err().unwrap();
    assert!(matches!(error, KeysError::NoProjectKey(_)));
    assert!(keys.project_key(project(1)).await.is_err());
}

#[tokio::test]
async fn debug_shows_no_key() {
    let place = Place::new();
    let master = place.master().unwrap();
    let digits = fs::read_to_string(place.key_file()).unwrap();
    let digits = digits.split_whitespace().nth(1).unwrap();
    let keys = place.open_with(&master).await.unwrap().keys;
    let shown = format!("{master:?} {keys:?} {:?}", keys.instance());
    assert!(!shown.contains(&digits[..8]), "{shown}");
    assert!(shown.contains("Secret"));
}
