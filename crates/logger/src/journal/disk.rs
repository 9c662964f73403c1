//! Owns the few things that the journal does to files, so that tests can cut them short.
//! Promises of `FileDisk`: `sync` and `replace` have reached the medium when they return; a plain `append` survives
//! the death of the process, not that of the power.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crate::folder::{sync_folder, write_atomically};

/// Flat names to bytes, on something that can fail.
pub trait Disk: Send {
    /// All names.
    fn list(&self) -> io::Result<Vec<String>>;
    /// A whole file; `None` if there is none of that name.
    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>>;
    /// Part of a file.
    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>>;
    /// Adds to the end, making the file if there is none.
    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Cuts a file to a length.
    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()>;
    /// Makes a file's content durable.
    fn sync(&mut self, name: &str) -> io::Result<()>;
    /// Puts new content in place of the old, all or nothing, durable.
    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
    /// Gives a file another name.
    fn rename(&mut self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&mut self, name: &str) -> io::Result<()>;
}

/// Files kept open at a time: the active segment, the marks, the open batch, and one that is on its way out.
const HANDLES: usize = 4;

/// A real folder.
pub struct FileDisk {
    root: PathBuf,
    open: HashMap<String, File>,
}

impl FileDisk {
    /// Makes the folder if there is none.
    pub fn open(root: &Path) -> io::Result<FileDisk> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(root)?;
        Ok(FileDisk {
            root: root.to_owned(),
            open: HashMap::new(),
        })
    }

    fn handle(&mut self, name: &str) -> io::Result<&mut File> {
        if !self.open.contains_key(name) {
            // Old segments are not written any more; their handles must not add up over the years.
            if self.open.len() >= HANDLES {
                self.open.clear();
            }
            let path = self.root.join(name);
            let fresh = !path.exists();
            let file = OpenOptions::new()
                .create(true)
                .append(true)
                .mode(0o600)
                .read(true)
                .open(path)?;
            if fresh {
                sync_folder(&self.root)?;
            }
            self.open.insert(name.to_owned(), file);
        }
        self.open
            .get_mut(name)
            .ok_or_else(|| io::Error::other("the file is not open"))
    }
}

impl Disk for FileDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            if let Ok(name) = entry?.file_name().into_string() {
                names.push(name);
            }
        }
        names.sort();
        Ok(names)
    }

    fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.root.join(name)) {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn read_at(&self, name: &str, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        File::open(self.root.join(name))?.read_exact_at(&mut bytes, offset)?;
        Ok(bytes)
    }

    fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.handle(name)?.write_all(bytes)
    }

    fn truncate(&mut self, name: &str, length: u64) -> io::Result<()> {
        self.handle(name)?.set_len(length)
    }

    fn sync(&mut self, name: &str) -> io::Result<()> {
        self.handle(name)?.sync_data()
    }

    fn replace(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.open.remove(name);
        write_atomically(&self.root.join(name), bytes, 0o600)
    }

    fn rename(&mut self, from: &str, to: &str) -> io::Result<()> {
        self.open.remove(from);
        self.open.remove(to);
        fs::rename(self.root.join(from), self.root.join(to))?;
        sync_folder(&self.root)
    }

    fn remove(&mut self, name: &str) -> io::Result<()> {
        self.open.remove(name);
        fs::remove_file(self.root.join(name))?;
        sync_folder(&self.root)
    }
}
