//! Owns the folder of batches that the cloud could not read: kept for whoever looks for the fault, and bounded.

use std::{fs, io, path::PathBuf};

use crate::{
    folder::{Folder, write_atomically},
    journal::Closed,
};

/// At most so many files; the oldest make room.
const FILES: usize = 64;

/// Puts a batch aside.
pub(crate) fn put_aside(folder: &Folder, batch: &Closed) -> io::Result<()> {
    let root = folder.rejected();
    fs::create_dir_all(&root)?;
    let mut files: Vec<(std::time::SystemTime, PathBuf)> = Vec::new();
    for entry in fs::read_dir(&root)? {
        let entry = entry?;
        files.push((entry.metadata()?.modified()?, entry.path()));
    }
    files.sort();
    let surplus = (files.len() + 1).saturating_sub(FILES);
    for (_, path) in files.into_iter().take(surplus) {
        fs::remove_file(path)?;
    }
    let name = format!("{:016x}-{}.batch", batch.epoch, batch.first);
    write_atomically(&root.join(name), &batch.bytes, 0o600)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_stays_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::at(dir.path());
        for first in 0..(FILES as u64 + 9) {
            let batch = Closed {
                epoch: 1,
                first,
                count: 1,
                revision: 1,
                bytes: vec![1, 2, 3],
            };
            put_aside(&folder, &batch).unwrap();
        }
        assert_eq!(fs::read_dir(folder.rejected()).unwrap().count(), FILES);
    }
}
