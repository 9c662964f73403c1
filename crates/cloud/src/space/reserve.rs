//! The reserve: a file that holds room on the disk, released so that deleting, signing in and backing up still work.
//!
//! Decides by numbers alone when new data are refused and let in again, with a distance between the two. Without a
//! reserve nothing is refused before the disk itself refuses.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;

/// The file's name in the data folder.
pub(super) const FILE: &str = "reserve";
/// Never more than this part of the disk.
const PART: u64 = 100;

/// What to do after a look at the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing.
    Stay,
    /// There is room for the reserve.
    Make,
    /// Refuse new data and release the reserve.
    Shut,
    /// Make the reserve again and let new data in.
    Open,
}

#[derive(Debug)]
pub(super) struct Reserve {
    path: PathBuf,
    most: u64,
}

impl Reserve {
    pub(super) fn new(data: &Path, most: u64) -> Self {
        Self {
            path: data.join(FILE),
            most,
        }
    }

    /// How large it should be on a disk of this size.
    fn size(&self, total: u64) -> u64 {
        self.most.min(total / PART)
    }

    /// How large it is.
    pub(super) fn held(&self) -> u64 {
        fs::metadata(&self.path).map_or(0, |found| found.len())
    }

    pub(super) fn judge(&self, total: u64, free: u64, let_in: bool) -> Step {
        let size = self.size(total);
        if size == 0 {
            return if let_in { Step::Stay } else { Step::Open };
        }
        // The reserve itself comes out of the same room.
        let roomy = free >= size.saturating_mul(2);
        match (let_in, roomy) {
            (true, _) if free < size / 4 => Step::Shut,
            (true, true) if self.held() < size => Step::Make,
            (false, true) => Step::Open,
            _ => Step::Stay,
        }
    }

    /// Makes it, whole or not at all.
    pub(super) fn make(&self, total: u64) -> io::Result<()> {
        let size = self.size(total);
        if size == 0 {
            return Ok(());
        }
        let made = self.fill(size);
        if made.is_err() {
            self.release();
        }
        made
    }

    fn fill(&self, size: u64) -> io::Result<()> {
        let mut file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .mode(0o600)
            .open(&self.path)?;
        match fallocate(&file, FallocateFlags::empty(), 0, size) {
            Ok(()) => {}
            // A file system that cannot promise room is given something to hold.
            Err(Errno::OPNOTSUPP | Errno::NOSYS) => {
                let zeros = [0; 65_536];
                let mut left = size;
                while left > 0 {
                    let part = left.min(zeros.len() as u64);
                    let part = usize::try_from(part).unwrap_or(zeros.len());
                    file.write_all(&zeros[..part])?;
                    left -= part as u64;
                }
            }
            Err(error) => return Err(error.into()),
        }
        file.sync_all()
    }

    /// Gives its room back; that it was not there is as good.
    pub(super) fn release(&self) {
        if let Err(error) = fs::remove_file(&self.path)
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                "the reserve on the disk cannot be released"
            );
        }
    }
}
