//! Bits in bytes, least significant first, and the two integer forms made of whole bytes: zigzag and varint.

use crate::cbor::Writer;
use crate::error::EncodeError;

/// Takes bits from a slice.
#[derive(Clone, Copy, Debug)]
pub(super) struct BitReader<'a> {
    bytes: &'a [u8],
    position: usize,
    /// Bits not yet taken, from bit 0; above `filled` stand copies of bits that a later refill brings again.
    buffer: u64,
    filled: u32,
}

impl<'a> BitReader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self {
            bytes,
            position: 0,
            buffer: 0,
            filled: 0,
        }
    }

    fn refill(&mut self) {
        if let Some(chunk) = self
            .bytes
            .get(self.position..)
            .and_then(<[u8]>::first_chunk)
        {
            self.buffer |= u64::from_le_bytes(*chunk) << self.filled;
            self.position += ((63 - self.filled) / 8) as usize;
            self.filled |= 56;
            return;
        }
        while self.filled < 56
            && let Some(&byte) = self.bytes.get(self.position)
        {
            self.buffer |= u64::from(byte) << self.filled;
            self.position += 1;
            self.filled += 8;
        }
    }

    fn skip(&mut self, count: u32) -> Option<()> {
        if self.filled < count {
            return None;
        }
        self.buffer >>= count;
        self.filled -= count;
        Some(())
    }

    /// The next `count` bits, at most 64, the first as the least significant; `None` when there are fewer.
    pub(super) fn take(&mut self, count: u32) -> Option<u64> {
        if count > 32 {
            let low = self.take(32)?;
            let high = self.take(count.min(64) - 32)?;
            return Some(high << 32 | low);
        }
        if self.filled < count {
            self.refill();
        }
        let value = self.buffer & ((1 << count) - 1);
        self.skip(count)?;
        Some(value)
    }

    /// Counts one-bits up to the next zero-bit, which is taken too, or up to `limit`, at most 32.
    pub(super) fn ones(&mut self, limit: u32) -> Option<u32> {
        if self.filled <= limit {
            self.refill();
        }
        let count = self.buffer.trailing_ones().min(limit);
        self.skip(if count < limit { count + 1 } else { limit })?;
        Some(count)
    }

    /// Goes to the next whole byte; `None` when a bit in between is set.
    pub(super) fn align(&mut self) -> Option<()> {
        match self.take(self.filled % 8)? {
            0 => Some(()),
            _ => None,
        }
    }

    /// Whether all has been taken.
    pub(super) fn is_at_end(&self) -> bool {
        self.filled == 0 && self.position == self.bytes.len()
    }

    /// The next varint: seven bits a byte, least significant first, in its shortest form.
    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(8)?;
            let part = byte & 0x7f;
            if part << shift >> shift != part || (byte == 0 && shift > 0) {
                return None;
            }
            value |= part << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

/// Puts bits into a writer.
pub(super) struct BitWriter<'w, 'a> {
    writer: &'w mut Writer<'a>,
    buffer: u64,
    filled: u32,
}

impl<'w, 'a> BitWriter<'w, 'a> {
    pub(super) fn new(writer: &'w mut Writer<'a>) -> Self {
        Self {
            writer,
            buffer: 0,
            filled: 0,
        }
    }

    /// Writes the low `count` bits of `value`, at most 64.
    pub(super) fn put(&mut self, value: u64, count: u32) -> Result<(), EncodeError> {
        if count > 32 {
            self.put(value & 0xffff_ffff, 32)?;
            return self.put(value >> 32, count.min(64) - 32);
        }
        self.buffer |= (value & ((1 << count) - 1)) << self.filled;
        self.filled += count;
        while self.filled >= 8 {
            self.writer.raw(&[self.buffer as u8])?;
            self.buffer >>= 8;
            self.filled -= 8;
        }
        Ok(())
    }

    /// Fills the last byte with zeros.
    pub(super) fn align(&mut self) -> Result<(), EncodeError> {
        if self.filled > 0 {
            self.put(0, 8 - self.filled)?;
        }
        Ok(())
    }
}

/// Small magnitudes of either sign as small numbers: 0, -1, 1, -2, … as 0, 1, 2, 3, …
pub(super) const fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

/// The inverse of [`zigzag`].
pub(super) const fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

/// How many bits a number needs; none for zero.
pub(super) const fn bit_length(value: u64) -> u32 {
    u64::BITS - value.leading_zeros()
}

/// How many bytes a varint takes.
pub(super) const fn varint_length(value: u64) -> usize {
    if value == 0 {
        1
    } else {
        bit_length(value).div_ceil(7) as usize
    }
}

/// Writes a varint.
pub(super) fn write_varint(mut value: u64, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    while value >= 0x80 {
        writer.raw(&[value as u8 | 0x80])?;
        value >>= 7;
    }
    writer.raw(&[value as u8])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use std::vec::Vec;

    use super::*;

    proptest! {
        #[test]
        fn bits_read_back(fields in prop::collection::vec((any::<u64>(), 0u32..=64), 0..200)) {
            let mut out = [0; 2_000];
            let mut writer = Writer::new(&mut out);
            let mut bits = BitWriter::new(&mut writer);
            for &(value, count) in &fields {
                bits.put(value, count).unwrap();
            }
            bits.align().unwrap();
            let end = writer.position();
            let mut reader = BitReader::new(&out[..end]);
            for (value, count) in fields {
                let kept = if count == 64 { value } else { value & ((1 << count) - 1) };
                prop_assert_eq!(reader.take(count), Some(kept));
            }
            prop_assert_eq!(reader.align(), Some(()));
            prop_assert!(reader.is_at_end());
            prop_assert_eq!(reader.take(1), None);
        }

        #[test]
        fn varints_read_back(values in prop::collection::vec(any::<u64>().prop_flat_map(|value| (0u32..64).prop_map(move |shift| value >> shift)), 0..50)) {
            let mut out = [0; 600];
            let mut writer = Writer::new(&mut out);
            for &value in &values {
                write_varint(value, &mut writer).unwrap();
            }
            let end = writer.position();
            prop_assert_eq!(end, values.iter().copied().map(varint_length).sum::<usize>());
            let mut reader = BitReader::new(&out[..end]);
            let back: Vec<_> = values.iter().map(|_| reader.varint().unwrap()).collect();
            prop_assert_eq!(back, values);
            prop_assert!(reader.is_at_end());
        }

        #[test]
        fn zigzag_reads_back(value: i64) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn ones_stop_at_zero_at_the_limit_and_at_the_end() {
        assert_eq!(BitReader::new(&[0b0000_0111]).ones(16), Some(3));
        assert_eq!(BitReader::new(&[0xff, 0xff, 0xff]).ones(16), Some(16));
        assert_eq!(BitReader::new(&[0xff]).ones(16), None);
        let mut reader = BitReader::new(&[0xff, 0xff, 0x01]);
        assert_eq!(
            (reader.ones(16), reader.ones(16), reader.align()),
            (Some(16), Some(1), Some(()))
        );
    }

    #[test]
    fn longer_varints_are_refused() {
        assert_eq!(BitReader::new(&[0x80, 0x00]).varint(), None);
        assert_eq!(BitReader::new(&[0xff; 9]).varint(), None);
        assert_eq!(
            BitReader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]).varint(),
            None
        );
        assert_eq!(
            BitReader::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]).varint(),
            Some(u64::MAX)
        );
    }
}
