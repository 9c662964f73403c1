//! The folder that backups go to: names, incomplete files, what is there, what may go.
//!
//! Archives are called `fieldkeep-INSTANCE-TIME-data.age` and `…-keys.age`, a file that is still being written
//! `.….part`. So whatever ends in `.age` is complete and was read back, however the program ended.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use fieldkeep_protocol::Timestamp;

use super::BackupError;
use super::archive::Content;
use crate::clock::rfc3339;

const SECOND_US: i64 = 1_000_000;
const DAY_US: i64 = 86_400 * SECOND_US;
/// Key archives older than this go when a newer one is there: it opens all older data, but for what was erased since.
const KEYS_LIVE_US: i64 = 7 * DAY_US;

/// What an archive's name says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Name {
    /// The instance's short id.
    pub(super) instance: String,
    /// To the second.
    pub(super) made: Timestamp,
    pub(super) content: Content,
}

impl Name {
    /// The name in the folder.
    pub(super) fn file(&self) -> String {
        let seconds = self.made.as_micros().div_euclid(SECOND_US) * SECOND_US;
        let stamp: String = rfc3339::format(Timestamp::from_micros(seconds))
            .chars()
            .filter(|c| !"-:".contains(*c))
            .collect();
        format!(
            "fieldkeep-{}-{stamp}-{}.age",
            self.instance,
            self.content.word()
        )
    }

    pub(super) fn parse(file: &str) -> Option<Self> {
        let rest = file.strip_prefix("fieldkeep-")?.strip_suffix(".age")?;
        let mut parts = rest.split('-');
        let (instance, stamp, content) = (parts.next()?, parts.next()?, parts.next()?);
        let hexadecimal = instance.len() == 8 && instance.bytes().all(|c| c.is_ascii_hexdigit());
        if parts.next().is_some() || !hexadecimal || !stamp.is_ascii() {
            return None;
        }
        let (date, time) = stamp.strip_suffix('Z')?.split_once('T')?;
        if date.len() != 8 || time.len() != 6 {
            return None;
        }
        let text = format!(
            "{}-{}-{}T{}:{}:{}Z",
            &date[..4],
            &date[4..6],
            &date[6..],
            &time[..2],
            &time[2..4],
            &time[4..]
        );
        Some(Self {
            instance: instance.to_owned(),
            made: rfc3339::parse(&text).ok()?,
            content: [Content::Data, Content::Keys]
                .into_iter()
                .find(|known| known.word() == content)?,
        })
    }
}

/// A folder for backups.
pub(super) struct Target(PathBuf);

impl Target {
    /// Makes the folder where it is missing, and removes what a backup of this instance left that was broken off. Only
    /// one backup of an instance runs at a time, so nobody is writing to these.
    pub(super) fn prepare(path: &Path, instance: &str) -> Result<Self, BackupError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| BackupError::io(path, "created", source))?;
        let prefix = format!(".fieldkeep-{instance}-");
        for name in names(path)? {
            if name.starts_with(&prefix) && name.ends_with(".part") {
                let part = path.join(&name);
                fs::remove_file(&part)
                    .map_err(|source| BackupError::io(&part, "removed", source))?;
            }
        }
        Ok(Self(path.to_path_buf()))
    }

    /// A moment from `now` on, to the second, at which no archive of this instance was made.
    pub(super) fn free_moment(&self, instance: &str, now: Timestamp) -> Timestamp {
        let mut made = now;
        let taken = |made| {
            [Content::Data, Content::Keys].into_iter().any(|content| {
                let name = Name {
                    instance: instance.to_owned(),
                    made,
                    content,
                };
                self.path(&name).exists()
            })
        };
        while taken(made) {
            made = Timestamp::from_micros(made.as_micros().saturating_add(SECOND_US));
        }
        made
    }

    /// Where the finished archive will be.
    pub(super) fn path(&self, name: &Name) -> PathBuf {
        self.0.join(name.file())
    }

    /// Where it is until it is finished.
    pub(super) fn part_path(&self, name: &Name) -> PathBuf {
        self.0.join(format!(".{}.part", name.file()))
    }

    /// A new file for an archive, readable by its owner alone.
    pub(super) fn begin(&self, name: &Name) -> Result<File, BackupError> {
        let path = self.part_path(name);
        OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|source| BackupError::io(&path, "created", source))
    }

    /// Gives a finished archive its name; durable when this returns.
    pub(super) fn commit(&self, name: &Name) -> Result<(), BackupError> {
        let path = self.path(name);
        fs::rename(self.part_path(name), &path)
            .and_then(|()| File::open(&self.0)?.sync_all())
            .map_err(|source| BackupError::io(&path, "written", source))
    }

    /// Removes an archive that will not be finished.
    pub(super) fn discard(&self, name: &Name) {
        // What cannot be removed is removed by the next backup; it never looks complete.
        let _ = fs::remove_file(self.part_path(name));
    }

    /// Removes key archives that a newer one replaces, and data archives older than `keep_days` where there is such a
    /// limit; `newest` and what is younger stays. Answers what could not be removed.
    pub(super) fn prune(&self, newest: &Name, keep_days: Option<u32>) -> Vec<PathBuf> {
        let keep_us = keep_days.map(|days| i64::from(days) * DAY_US);
        let mut stuck = Vec::new();
        for name in archives(&self.0).unwrap_or_default() {
            let age_us = newest.made.saturating_since(name.made);
            let old = match name.content {
                Content::Keys => age_us > KEYS_LIVE_US,
                Content::Data => keep_us.is_some_and(|keep_us| age_us > keep_us),
            };
            let path = self.path(&name);
            if name.instance == newest.instance && old && fs::remove_file(&path).is_err() {
                stuck.push(path);
            }
        }
        stuck
    }
}

/// The archives in a folder, oldest first.
pub(super) fn archives(path: &Path) -> Result<Vec<Name>, BackupError> {
    let mut all: Vec<Name> = names(path)?
        .iter()
        .filter_map(|name| Name::parse(name))
        .collect();
    all.sort_by_key(|name| (name.made, name.content));
    Ok(all)
}

/// When the newest data archive of an instance in a folder was made; None where there is none, or no such folder.
pub(super) fn newest(path: &Path, instance: &str) -> Option<Timestamp> {
    archives(path)
        .ok()?
        .iter()
        .filter(|name| name.content == Content::Data && name.instance == instance)
        .map(|name| name.made)
        .max()
}

/// Whether two paths are on one disk, or will be when they are made; None where that cannot be asked.
pub(super) fn same_disk(one: &Path, other: &Path) -> Option<bool> {
    let disk = |path: &Path| {
        let mut above = path.ancestors();
        above.find_map(|place| Some(fs::metadata(place).ok()?.dev()))
    };
    Some(disk(one)? == disk(other)?)
}

fn names(path: &Path) -> Result<Vec<String>, BackupError> {
    let read = |source| BackupError::io(path, "read", source);
    let mut names = Vec::new();
    for entry in fs::read_dir(path).map_err(read)? {
        // A name that is no text is none of ours.
        if let Ok(name) = entry.map_err(read)?.file_name().into_string() {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_they_were_made_from() {
        let name = Name {
            instance: "1a2b3c4d".to_owned(),
            made: Timestamp::from_micros(1_795_530_330_999_999),
            content: Content::Keys,
        };
        let file = name.file();
        assert_eq!(file, "fieldkeep-1a2b3c4d-20261124T142530Z-keys.age");
        let read = Name::parse(&file).unwrap();
        assert_eq!(read.made.as_micros(), 1_795_530_330_000_000);
        assert_eq!(read.file(), file);
        for other in [
            "fieldkeep-1a2b3c4d-20261124T142530Z-keys.age.part",
            ".fieldkeep-1a2b3c4d-20261124T142530Z-keys.age.part",
            "fieldkeep-1a2b3c4-20261124T142530Z-keys.age",
            "fieldkeep-1a2b3c4d-20261324T142530Z-keys.age",
            "fieldkeep-1a2b3c4d-20261124T142530Z-else.age",
            "fieldkeep-1a2b3c4d-20261124T142530Z-keys-data.age",
            "fieldkeep-1a2b3c4d-2026é24T142530Z-keys.age",
        ] {
            assert!(Name::parse(other).is_none(), "{other}");
        }
    }

    #[test]
    fn old_keys_go_and_old_data_stay_unless_a_limit_is_set() {
        let folder = tempfile::tempdir().unwrap();
        let target = Target::prepare(folder.path(), "1a2b3c4d").unwrap();
        let at = |day: i64, content, instance: &str| Name {
            instance: instance.to_owned(),
            made: Timestamp::from_micros(1_795_530_330_000_000 + day * DAY_US),
            content,
        };
        for day in 0..50 {
            for content in [Content::Data, Content::Keys] {
                for instance in ["1a2b3c4d", "ffffffff"] {
                    fs::write(target.path(&at(day, content, instance)), "x").unwrap();
                }
            }
        }
        let left = |content, instance| {
            let all = archives(folder.path()).unwrap();
            all.iter()
                .filter(|name| name.content == content && name.instance == instance)
                .count()
        };
        let newest = at(49, Content::Data, "1a2b3c4d");
        assert!(target.prune(&newest, None).is_empty());
        assert_eq!(left(Content::Data, "1a2b3c4d"), 50);
        assert_eq!(left(Content::Keys, "1a2b3c4d"), 8);
        assert!(target.prune(&newest, Some(31)).is_empty());
        assert_eq!(left(Content::Data, "1a2b3c4d"), 32);
        assert_eq!(left(Content::Keys, "ffffffff"), 50);
        assert_eq!(left(Content::Data, "ffffffff"), 50);
    }

    #[test]
    fn what_was_broken_off_is_cleared_away_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let ours = ".fieldkeep-1a2b3c4d-20261124T142530Z-keys.age.part";
        let others = [
            ".fieldkeep-ffffffff-20261124T142530Z-keys.age.part",
            "notes.part",
            "fieldkeep-1a2b3c4d-20261124T142530Z-keys.age",
        ];
        for name in others.iter().chain([&ours]) {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        Target::prepare(folder.path(), "1a2b3c4d").unwrap();
        assert!(!folder.path().join(ours).exists());
        assert!(others.iter().all(|name| folder.path().join(name).exists()));
    }
}
