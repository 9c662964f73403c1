//! Bytes of the cold formats: variable-length integers, bounded reads.
//!
//! A reader never goes past its input; a count is refused where the rest of the input could not hold as many entries.

use fieldkeep_protocol::limits::NAME_BYTES;

/// Appends a number, seven bits a byte, lowest first.
pub(super) fn put_uint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a number of either sign.
pub(super) fn put_int(out: &mut Vec<u8>, value: i64) {
    put_uint(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

/// Appends bytes after their length.
pub(super) fn put_block(out: &mut Vec<u8>, block: &[u8]) {
    put_uint(out, block.len() as u64);
    out.extend_from_slice(block);
}

/// Appends a name: how many bytes are as in the one before, then the others.
pub(super) fn put_name(out: &mut Vec<u8>, before: &str, name: &str) {
    let pairs = before.bytes().zip(name.bytes());
    let same = pairs.take_while(|(before, byte)| before == byte).count();
    put_uint(out, same as u64);
    put_block(out, name.as_bytes().get(same..).unwrap_or_default());
}

/// What is left of an input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) fn left(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn uint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    pub(super) fn int(&mut self) -> Option<i64> {
        let raw = self.uint()?;
        Some((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    pub(super) fn small<T: TryFrom<u64>>(&mut self) -> Option<T> {
        T::try_from(self.uint()?).ok()
    }

    /// A number of entries, each of which takes at least `least` bytes of what follows.
    pub(super) fn count(&mut self, least: usize) -> Option<usize> {
        let count: usize = self.small()?;
        (count <= self.left() / least.max(1)).then_some(count)
    }

    /// Bytes after their length.
    pub(super) fn block(&mut self) -> Option<&'a [u8]> {
        let length = self.small()?;
        self.take(length)
    }

    /// A name, of which the beginning may be as in the one before.
    pub(super) fn name(&mut self, before: &str) -> Option<String> {
        let same = before.as_bytes().get(..self.small()?)?;
        let name = [same, self.block()?].concat();
        // What a few bytes stand for stays small.
        String::from_utf8(name)
            .ok()
            .filter(|name| name.len() <= NAME_BYTES)
    }
}
