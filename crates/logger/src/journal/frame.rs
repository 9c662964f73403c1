//! Owns how one entry lies in a journal file: length, kind, checksum, payload.
//! Promises that an entry cut anywhere, or moved to another place or file, is not taken for a whole one.
//! Does not know what the kinds mean.

use aws_lc_rs::digest;

/// Length, kind and checksum before each payload.
pub(super) const FRAME_HEAD: usize = 4 + 1 + 8;

/// The longest payload: a batch or a table with its description, or a segment's head with all its tables.
pub(super) const PAYLOAD_MAX: usize = 16 << 20;

/// Appends one entry that will lie at `offset` of the file known by `salt`.
pub(super) fn put(out: &mut Vec<u8>, salt: u64, offset: u64, kind: u8, payload: &[u8]) {
    let length = u32::try_from(payload.len()).expect("payloads are far below 4 GiB");
    out.extend_from_slice(&length.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(&checksum(salt, offset, kind, payload));
    out.extend_from_slice(payload);
}

fn checksum(salt: u64, offset: u64, kind: u8, payload: &[u8]) -> [u8; 8] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&salt.to_le_bytes());
    context.update(&offset.to_le_bytes());
    context.update(&(payload.len() as u64).to_le_bytes());
    context.update(&[kind]);
    context.update(payload);
    let digest = context.finish();
    let mut sum = [0; 8];
    sum.copy_from_slice(&digest.as_ref()[..8]);
    sum
}

/// One whole entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame<'a> {
    pub(super) offset: u64,
    pub(super) kind: u8,
    pub(super) payload: &'a [u8],
}

/// Walks the whole entries of a file and stops at the first that is not.
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    salt: u64,
    position: usize,
}

impl<'a> Frames<'a> {
    pub(super) fn new(bytes: &'a [u8], salt: u64, start: usize) -> Frames<'a> {
        Frames {
            bytes,
            salt,
            position: start,
        }
    }

    /// Where the last whole entry ended.
    pub(super) fn position(&self) -> u64 {
        self.position as u64
    }

    /// How many bytes follow the last whole entry.
    pub(super) fn rest(&self) -> usize {
        self.bytes.len().saturating_sub(self.position)
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Frame<'a>;

    fn next(&mut self) -> Option<Frame<'a>> {
        let rest = self.bytes.get(self.position..)?;
        let (head, body) = rest.split_at_checked(FRAME_HEAD)?;
        let length = u32::from_le_bytes(head[..4].try_into().ok()?) as usize;
        if length > PAYLOAD_MAX {
            return None;
        }
        let payload = body.get(..length)?;
        let offset = self.position as u64;
        if head[5..] != checksum(self.salt, offset, head[4], payload) {
            return None;
        }
        self.position += FRAME_HEAD + length;
        Some(Frame {
            offset,
            kind: head[4],
            payload,
        })
    }
}

/// Reads little-endian fields off the front of a payload.
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (front, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*front)
    }

    pub(super) fn u8(&mut self) -> Option<u8> {
        self.bytes::<1>().map(|[b]| b)
    }

    pub(super) fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_le_bytes)
    }

    pub(super) fn i64(&mut self) -> Option<i64> {
        self.bytes().map(i64::from_le_bytes)
    }

    pub(super) fn slice(&mut self, length: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(front)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_or_changed_entry_ends_the_walk() {
        let mut file = b"HEAD".to_vec();
        for n in 0..3u8 {
            let offset = file.len() as u64;
            put(&mut file, 7, offset, n, &vec![n; usize::from(n) * 9]);
        }
        let whole: Vec<u8> = Frames::new(&file, 7, 4).map(|f| f.kind).collect();
        assert_eq!(whole, [0, 1, 2]);
        for cut in 4..file.len() {
            let kinds: Vec<u8> = Frames::new(&file[..cut], 7, 4).map(|f| f.kind).collect();
            assert!(kinds.len() < 3 && kinds[..] == whole[..kinds.len()]);
        }
        for at in 4..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x10;
            assert!(Frames::new(&changed, 7, 4).count() < 3, "byte {at}");
        }
        assert_eq!(
            Frames::new(&file, 8, 4).count(),
            0,
            "another file's entries"
        );
    }
}
