//! A new instance out of two archives and the key that was on paper.
//!
//! The folder carries a mark from the first step to the last, under which nobody opens it; a restore that was broken off
//! is cleared away by the next one. Before it says yes it has read the archive to its end, read every series in the new
//! database and compared it with the archive, opened the first and the last payload of each, and opened the authorities.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fieldkeep_protocol::Timestamp;
use fieldkeep_store::sql::{Database, DatabaseKey, Part, Table, Transaction, Value};
use fieldkeep_store::{Audit, Opened, Options, Origin, Store};

use super::archive::{self, Content, Reader, TableFrame};
use super::progress::{Progress, Stage};
use super::replay::{self, Contents, Sink};
use super::seal::RecoveryKey;
use super::target::{Name, archives};
use super::write::SERIES_FILE;
use super::{BackupError, CATALOGUE, Done, SERIES, blocking, status};
use crate::clock::Clock;
use crate::db::{self, Db};
use crate::keys::{CLOSED, KeySnapshot, Keys, MasterKey, MasterKeyId, Restored, UNFINISHED};
use crate::pki::Pki;

/// Rows of one transaction, in bytes of their frames: few enough to stay small, many enough to be quick.
const COMMIT_BYTES: usize = 16 << 20;

/// What to restore, and where to.
pub struct RestoreOrder {
    /// A folder of archives, whose newest is taken, or one data archive.
    pub from: PathBuf,
    /// The key archive, where it does not lie beside the data.
    pub keys: Option<PathBuf>,
    /// The new data folder: empty or missing.
    pub data: PathBuf,
    /// The new master key's file; one that is there already is used.
    pub master_key: PathBuf,
    /// What was on paper.
    pub recovery_key: RecoveryKey,
}

/// An instance that was restored and found equal to its backup.
#[derive(Clone, Debug)]
pub struct Restoration {
    /// Its id, the same as before.
    pub instance: String,
    /// The archive that it came from.
    pub from: PathBuf,
    /// The instant of which that is.
    pub made: Timestamp,
    /// Series in it.
    pub series: u64,
    /// Batches in it.
    pub batches: u64,
    /// Records in it.
    pub records: u64,
    /// Payloads that were opened to see that they can be.
    pub opened: u64,
    /// Series whose project's key was destroyed since: they stay unreadable.
    pub erased: u64,
    /// The master key that opens it.
    pub master_key: MasterKeyId,
    /// Whether the master key's file was made now.
    pub new_master_key: bool,
}

/// Restores an instance; it is complete and compared when this returns.
///
/// # Errors
/// The folder is left as it was found. After a crash it carries a mark: nobody opens it, and the next restore clears it.
pub async fn restore(
    order: RestoreOrder,
    clock: Clock,
    progress: &Arc<Progress>,
) -> Result<Restoration, BackupError> {
    let _stop = progress.stop_on_drop();
    let sources = blocking({
        let RestoreOrder {
            from,
            keys,
            recovery_key,
            ..
        } = order;
        move || Sources::open(&from, keys, &recovery_key)
    })
    .await?;
    let place = Place::claim(&order.data)?;
    let outcome = fill(&place, sources, &order.master_key, &clock, progress).await;
    match outcome {
        Ok(restoration) => {
            place.shut()?;
            place.release()?;
            Ok(restoration)
        }
        Err(error) => {
            place.clear()?;
            Err(error)
        }
    }
}

/// The two archives, their headers read and found to fit this program and each other.
struct Sources {
    data: Reader,
    keys: KeySnapshot,
}

impl Sources {
    fn open(
        from: &Path,
        keys: Option<PathBuf>,
        recovery_key: &RecoveryKey,
    ) -> Result<Self, BackupError> {
        let is_folder = fs::metadata(from)
            .map_err(|source| BackupError::io(from, "read", source))?
            .is_dir();
        let path = if is_folder {
            newest_data(from)?
        } else {
            from.to_path_buf()
        };
        let data = Reader::open(&path, recovery_key, Content::Data)?;
        for (name, migrations) in [
            (SERIES, fieldkeep_store::MIGRATIONS),
            (CATALOGUE, db::MIGRATIONS),
        ] {
            let known = migrations.last().map_or(0, |step| step.number);
            match data.header.schemas.get(name) {
                Some(number) if *number <= known => {}
                Some(_) => {
                    return Err(BackupError::Newer {
                        path,
                        program: data.header.program.clone(),
                    });
                }
                None => return Err(data.damaged("it names no schema")),
            }
        }
        let keys_path = match keys {
            Some(path) => path,
            None => newest_keys(&path, &data)?,
        };
        let (header, keys) = replay::keys(&keys_path, recovery_key)?;
        let unfit = |why| BackupError::Unfit {
            keys: keys_path.clone(),
            data: path.clone(),
            why,
        };
        if header.instance != data.header.instance {
            return Err(unfit("it is of another instance"));
        }
        if header.made() < data.header.made() {
            return Err(unfit("it is older, and may lack keys"));
        }
        Ok(Self { data, keys })
    }
}

fn newest_data(folder: &Path) -> Result<PathBuf, BackupError> {
    let mut all = archives(folder)?;
    all.retain(|name| name.content == Content::Data);
    let newest = all.last().ok_or_else(|| BackupError::NoBackup {
        path: folder.to_path_buf(),
    })?;
    let mut found: Vec<&str> = all.iter().map(|name| name.instance.as_str()).collect();
    found.sort_unstable();
    found.dedup();
    if found.len() > 1 {
        return Err(BackupError::SeveralInstances {
            path: folder.to_path_buf(),
            found: found.join(", "),
        });
    }
    Ok(folder.join(newest.file()))
}

/// The newest keys of the instance that lie beside the data: they open all older data, but for what was erased since.
fn newest_keys(path: &Path, data: &Reader) -> Result<PathBuf, BackupError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let short = data.header.instance.get(..8).unwrap_or_default();
    let fits = |name: &Name| name.content == Content::Keys && name.instance == short;
    archives(folder)?
        .iter()
        .rfind(|name| fits(name))
        .map(|name| folder.join(name.file()))
        .ok_or_else(|| BackupError::NoKeys {
            path: path.to_path_buf(),
        })
}

/// The new data folder while it carries the mark.
struct Place {
    data: PathBuf,
    /// Locked, so that a second restore does not take this one for broken off.
    _mark: File,
}

impl Place {
    fn claim(data: &Path) -> Result<Self, BackupError> {
        let failed = |source| BackupError::io(data, "created", source);
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data)
            .map_err(failed)?;
        let path = data.join(UNFINISHED);
        let broken_off = path.exists();
        if !broken_off && let Some(entry) = stranger(data)? {
            return Err(BackupError::NotEmpty {
                path: data.to_path_buf(),
                entry,
            });
        }
        let mark = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        if mark.try_lock().is_err() {
            return Err(BackupError::Claimed {
                path: data.to_path_buf(),
            });
        }
        let place = Self {
            data: data.to_path_buf(),
            _mark: mark,
        };
        sync(data).map_err(failed)?;
        if broken_off {
            place.empty()?;
        }
        Ok(place)
    }

    /// Removes what a restore writes, and nothing else; the mark stays.
    fn empty(&self) -> Result<(), BackupError> {
        let mut files = vec![
            "keyring".to_owned(),
            "keyring.new".to_owned(),
            CLOSED.to_owned(),
        ];
        for base in ["keys", "catalogue", "series"] {
            for suffix in ["", "-wal", "-shm", "-journal"] {
                files.push(format!("{base}.db{suffix}"));
            }
        }
        for file in files {
            let path = self.data.join(file);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(BackupError::io(&path, "removed", error));
                }
                _ => {}
            }
        }
        match stranger(&self.data)? {
            Some(entry) => Err(BackupError::NotEmpty {
                path: self.data.clone(),
                entry,
            }),
            None => Ok(()),
        }
    }

    /// Gives up: the folder is empty again.
    fn clear(self) -> Result<(), BackupError> {
        self.empty()?;
        self.release()
    }

    /// Keeps people and devices out until an operator opens the instance: the one that it stands for may still run.
    fn shut(&self) -> Result<(), BackupError> {
        let path = self.data.join(CLOSED);
        OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .and_then(|mark| mark.sync_all())
            .and_then(|()| sync(&self.data))
            .map_err(|source| BackupError::io(&path, "created", source))
    }

    /// Takes the mark away: whatever is in the folder counts from now on.
    fn release(self) -> Result<(), BackupError> {
        let path = self.data.join(UNFINISHED);
        fs::remove_file(&path)
            .and_then(|()| sync(&self.data))
            .map_err(|source| BackupError::io(&path, "removed", source))
    }
}

/// Something in the folder that is not the mark (a fresh volume's `lost+found` aside).
fn stranger(data: &Path) -> Result<Option<String>, BackupError> {
    let read = |source| BackupError::io(data, "read", source);
    for entry in fs::read_dir(data).map_err(read)? {
        let name = entry.map_err(read)?.file_name();
        if name != UNFINISHED && name != "lost+found" {
            return Ok(Some(name.to_string_lossy().into_owned()));
        }
    }
    Ok(None)
}

fn sync(folder: &Path) -> std::io::Result<()> {
    File::open(folder)?.sync_all()
}

async fn fill(
    place: &Place,
    sources: Sources,
    master_key: &Path,
    clock: &Clock,
    progress: &Arc<Progress>,
) -> Result<Restoration, BackupError> {
    let data = &place.data;
    let Sources { data: reader, keys } = sources;
    let (master, new_master_key) = match MasterKey::load(master_key)? {
        Some(known) => (known, false),
        None => (MasterKey::create(master_key)?, true),
    };
    let restored = Keys::restore(data, &master, &keys).await?;
    let header = reader.header.clone();
    let path = reader.path.clone();
    progress.enter(Stage::Filling);
    let contents = replayed(data, reader, &restored, progress).await?;
    progress.enter(Stage::Checking);
    compare(data, &restored.series, &contents, progress).await?;
    let made = header
        .made()
        .ok_or_else(|| BackupError::damaged(&path, "header"))?;
    let source = Done {
        bytes: fs::metadata(&path).map_or(0, |file| file.len()),
        keys: PathBuf::new(),
        path,
        made,
        series: contents.manifest.series,
        batches: contents.manifest.batches,
        records: contents.manifest.records,
    };
    let opened = open(data, &master, &restored, &contents, &source, clock).await?;
    restored.settle(data)?;
    Ok(Restoration {
        instance: header.instance,
        made,
        from: source.path,
        series: contents.manifest.series,
        batches: contents.manifest.batches,
        records: contents.manifest.records,
        opened: opened.sound,
        erased: opened.erased,
        master_key: master.id(),
        new_master_key,
    })
}

/// Puts the rows of the archive into new databases.
async fn replayed(
    data: &Path,
    mut reader: Reader,
    restored: &Restored,
    progress: &Arc<Progress>,
) -> Result<Contents, BackupError> {
    let schema = |name: &str| reader.header.schemas.get(name).copied().unwrap_or_default();
    let series = Database::open_to_fill(
        &data.join(SERIES_FILE),
        &restored.series,
        fieldkeep_store::MIGRATIONS,
        schema(SERIES),
    )
    .await?;
    let catalogue = Database::open_to_fill(
        &data.join(db::FILE),
        &restored.catalogue,
        db::MIGRATIONS,
        schema(CATALOGUE),
    )
    .await?;
    let mut filling = Filling {
        path: reader.path.clone(),
        runtime: tokio::runtime::Handle::current(),
        databases: Vec::new(),
        table: None,
        transaction: None,
        bytes: 0,
    };
    for (name, database) in [(SERIES, &series), (CATALOGUE, &catalogue)] {
        let tables = database.tables().await?;
        filling.databases.push((name, database.clone(), tables));
    }
    let progress = Arc::clone(progress);
    let contents = blocking(move || {
        let contents = replay::data(&mut reader, &mut filling, &progress)?;
        filling.commit()?;
        Ok(contents)
    })
    .await;
    let dangling = catalogue.dangling().await;
    series.close().await;
    catalogue.close().await;
    let contents = contents?;
    match dangling? {
        0 => Ok(contents),
        rows => Err(BackupError::Unequal {
            what: format!("{rows} rows of the catalogue refer to nothing"),
        }),
    }
}

/// Rows on their way from the archive into the databases.
struct Filling {
    path: PathBuf,
    runtime: tokio::runtime::Handle,
    databases: Vec<(&'static str, Database, Vec<Table>)>,
    table: Option<(Database, Table)>,
    transaction: Option<Transaction>,
    bytes: usize,
}

impl Filling {
    fn commit(&mut self) -> Result<(), BackupError> {
        self.bytes = 0;
        match self.transaction.take() {
            Some(transaction) => Ok(self.runtime.block_on(transaction.commit())?),
            None => Ok(()),
        }
    }
}

impl Sink for Filling {
    fn table(&mut self, frame: &TableFrame) -> Result<(), BackupError> {
        self.commit()?;
        let known = self
            .databases
            .iter()
            .find(|(name, ..)| *name == frame.database)
            .and_then(|(_, database, tables)| {
                let table = tables.iter().find(|table| table.name() == frame.name)?;
                (table.columns() == frame.columns).then(|| (database.clone(), table.clone()))
            });
        // Names of an archive are only compared, never put into a statement.
        let found = known.ok_or_else(|| {
            BackupError::damaged(&self.path, format!("its table {:?} is unknown", frame.name))
        })?;
        self.table = Some(found);
        Ok(())
    }

    fn rows(&mut self, values: &[Value<'_>]) -> Result<(), BackupError> {
        let Some((database, table)) = &self.table else {
            return Err(BackupError::damaged(&self.path, "rows without a table"));
        };
        let mut transaction = match self.transaction.take() {
            Some(open) => open,
            None => self.runtime.block_on(database.begin())?,
        };
        self.runtime.block_on(transaction.fill(table, values))?;
        self.transaction = Some(transaction);
        let size = |value: &Value<'_>| match value {
            Value::Text(text) => text.len(),
            Value::Bytes(bytes) => bytes.len(),
            Value::Null | Value::I64(_) | Value::Bool(_) => 8,
        };
        self.bytes += values.iter().map(size).sum::<usize>();
        if self.bytes >= COMMIT_BYTES {
            self.commit()?;
        }
        Ok(())
    }
}

/// Reads every row of the new database and compares each series with the archive.
async fn compare(
    data: &Path,
    key: &DatabaseKey,
    contents: &Contents,
    progress: &Progress,
) -> Result<(), BackupError> {
    let database = Database::open_existing(&data.join(SERIES_FILE), key).await?;
    let mut snapshot = database.snapshot().await?;
    let mut audit = Audit::default();
    loop {
        match snapshot.next().await? {
            Part::Table(table) => audit.table(table.name(), table.columns())?,
            Part::Rows(rows) => {
                for row in &rows {
                    let values: Vec<Value<'_>> = row.values().collect();
                    audit.row(&values)?;
                }
                progress.add(rows.len(), 0);
            }
            Part::End => break,
        }
    }
    database.close().await;
    let found = audit.finish()?;
    let different = contents
        .figures
        .iter()
        .zip(&found)
        .find(|(told, found)| told != found)
        .map(|(told, _)| archive::name(told.project, told.device, told.epoch));
    if found == contents.figures {
        Ok(())
    } else {
        let what = different.unwrap_or_else(|| "the number of series".to_owned());
        Err(BackupError::Unequal { what })
    }
}

/// Opens the new instance as a server would, its schemas brought up to date, and looks whether everything can be read.
async fn open(
    data: &Path,
    master: &MasterKey,
    restored: &Restored,
    contents: &Contents,
    source: &Done,
    clock: &Clock,
) -> Result<Opened, BackupError> {
    let keys = restored.open(data, master, clock).await?;
    let db = Db::open(data, &restored.catalogue).await?;
    let store = Store::open(Options::new(
        data.join(SERIES_FILE),
        restored.series.clone(),
        Arc::new(keys.clone()),
    ))
    .await?;
    let mut all = Opened::default();
    let mut outcome = Ok(());
    for one in &contents.figures {
        let origin = Origin {
            project: one.project,
            device: one.device,
        };
        let opened = store.open_ends(origin, one.epoch).await?;
        all.sound += opened.sound;
        all.erased += u64::from(opened.erased > 0);
        if opened.damaged > 0 {
            outcome = Err(BackupError::Unequal {
                what: format!(
                    "a payload of {} does not open",
                    archive::name(one.project, one.device, one.epoch)
                ),
            });
            break;
        }
    }
    store.close().await;
    let noted = status::note(&db, source).await;
    let authorities = Pki::open(db.clone(), keys.clone(), clock.clone()).await;
    db.close().await;
    keys.close().await;
    outcome?;
    noted?;
    authorities?;
    Ok(all)
}
