//! Deterministic CBOR (RFC 8949, 4.2.1) for the few item types of the protocol.
//!
//! The reader refuses what the writer would not write: lengths and integers in longer forms, indefinite lengths, other
//! types. Both are thin layers over `minicbor` and keep no state but a position.

use core::fmt;

use minicbor::data::Type;
use minicbor::decode::{Decoder, Error};
use minicbor::encode::Encoder;
use minicbor::encode::write::{Cursor, Write};

use crate::error::{DecodeError, EncodeError};
use crate::limits;
use crate::time::Timestamp;

/// Reads items one after another.
#[derive(Clone, Copy)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl fmt::Debug for Reader<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Reader({} of {})", self.position, self.bytes.len())
    }
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Runs one minicbor call and advances. `argument` is the number in the item's head, `payload` what follows the head.
    fn item<T>(
        &mut self,
        call: impl FnOnce(&mut Decoder<'a>) -> Result<T, Error>,
        shape: impl FnOnce(&T) -> (u64, usize),
    ) -> Result<T, DecodeError> {
        let mut decoder = Decoder::new(self.bytes);
        decoder.set_position(self.position);
        let item = call(&mut decoder).map_err(refused)?;
        let (argument, payload) = shape(&item);
        let length = decoder.position() - self.position;
        if length != head_length(argument) + payload {
            return Err(DecodeError::NotCanonical);
        }
        self.position = decoder.position();
        Ok(item)
    }

    fn next_type(&self) -> Option<Type> {
        let mut decoder = Decoder::new(self.bytes);
        decoder.set_position(self.position);
        decoder.datatype().ok()
    }

    pub(crate) fn uint(&mut self) -> Result<u64, DecodeError> {
        self.item(Decoder::u64, |&value| (value, 0))
    }

    pub(crate) fn int(&mut self) -> Result<i64, DecodeError> {
        self.item(Decoder::i64, |&value| {
            ((if value < 0 { !value } else { value }) as u64, 0)
        })
    }

    pub(crate) fn u32(&mut self) -> Result<u32, DecodeError> {
        u32::try_from(self.uint()?).map_err(|_| DecodeError::Range)
    }

    pub(crate) fn u16(&mut self) -> Result<u16, DecodeError> {
        u16::try_from(self.uint()?).map_err(|_| DecodeError::Range)
    }

    pub(crate) fn u8(&mut self) -> Result<u8, DecodeError> {
        u8::try_from(self.uint()?).map_err(|_| DecodeError::Range)
    }

    /// An unsigned integer that SQL's bigint can hold.
    pub(crate) fn counter(&mut self) -> Result<u64, DecodeError> {
        self.uint().and_then(|value| {
            if value <= i64::MAX as u64 {
                Ok(value)
            } else {
                Err(DecodeError::Range)
            }
        })
    }

    pub(crate) fn record_number(&mut self) -> Result<u64, DecodeError> {
        self.uint().and_then(|value| {
            if value < limits::RECORD_NUMBER {
                Ok(value)
            } else {
                Err(DecodeError::Range)
            }
        })
    }

    pub(crate) fn timestamp(&mut self) -> Result<Timestamp, DecodeError> {
        let time = Timestamp::from_micros(self.int()?);
        if time.is_portable() {
            Ok(time)
        } else {
            Err(DecodeError::Time)
        }
    }

    pub(crate) fn version(&mut self) -> Result<(), DecodeError> {
        if self.uint()? == crate::version::PROTOCOL {
            Ok(())
        } else {
            Err(DecodeError::Version)
        }
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        self.item(Decoder::bytes, |bytes| (bytes.len() as u64, bytes.len()))
    }

    pub(crate) fn bytes_of<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        self.bytes()?.try_into().map_err(|_| DecodeError::Length)
    }

    pub(crate) fn text(&mut self) -> Result<&'a str, DecodeError> {
        let text = self.item(Decoder::str, |text| (text.len() as u64, text.len()));
        // A definite text string that is refused for its type's sake has the right type and is not UTF-8.
        if text == Err(DecodeError::Type) && self.next_type() == Some(Type::String) {
            return Err(DecodeError::Text);
        }
        text
    }

    pub(crate) fn array(&mut self) -> Result<usize, DecodeError> {
        let count = self.item(Decoder::array, |count| (count.unwrap_or(u64::MAX), 0))?;
        count
            .and_then(|count| usize::try_from(count).ok())
            .ok_or(DecodeError::NotCanonical)
    }

    pub(crate) fn array_of(&mut self, expected: usize) -> Result<(), DecodeError> {
        if self.array()? == expected {
            Ok(())
        } else {
            Err(DecodeError::Length)
        }
    }

    pub(crate) fn empty_map(&mut self) -> Result<(), DecodeError> {
        match self.item(Decoder::map, |count| (count.unwrap_or(u64::MAX), 0))? {
            Some(0) => Ok(()),
            _ => Err(DecodeError::Length),
        }
    }

    pub(crate) fn tag(&mut self) -> Result<u64, DecodeError> {
        self.item(
            |decoder| decoder.tag().map(|tag| tag.as_u64()),
            |&tag| (tag, 0),
        )
    }

    /// Consumes a null if it is next.
    pub(crate) fn null(&mut self) -> bool {
        self.item(Decoder::null, |()| (0, 0)).is_ok()
    }

    pub(crate) fn is_array(&self) -> bool {
        matches!(self.next_type(), Some(Type::Array | Type::ArrayIndef))
    }

    /// The whole message must have been read.
    pub(crate) fn end(&self) -> Result<(), DecodeError> {
        if self.position == self.bytes.len() {
            Ok(())
        } else {
            Err(DecodeError::Trailing)
        }
    }
}

fn refused(error: Error) -> DecodeError {
    if error.is_end_of_input() {
        DecodeError::Truncated
    } else {
        DecodeError::Type
    }
}

/// Length of the shortest head that holds `argument`.
pub(crate) const fn head_length(argument: u64) -> usize {
    match argument {
        0..=23 => 1,
        24..=0xff => 2,
        0x100..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// Writes items one after another into a fixed buffer.
pub(crate) struct Writer<'a> {
    encoder: Encoder<Cursor<&'a mut [u8]>>,
}

impl<'a> Writer<'a> {
    pub(crate) fn new(out: &'a mut [u8]) -> Self {
        Self {
            encoder: Encoder::new(Cursor::new(out)),
        }
    }

    /// A writer that also holds to a size limit.
    pub(crate) fn limited(out: &'a mut [u8], limit: usize) -> Self {
        let length = out.len().min(limit);
        Self::new(out.split_at_mut(length).0)
    }

    pub(crate) fn position(&self) -> usize {
        self.encoder.writer().position()
    }

    pub(crate) fn uint(&mut self, value: u64) -> Result<(), EncodeError> {
        self.encoder
            .u64(value)
            .map(drop)
            .map_err(|_| EncodeError::NoSpace)
    }

    pub(crate) fn int(&mut self, value: i64) -> Result<(), EncodeError> {
        self.encoder
            .i64(value)
            .map(drop)
            .map_err(|_| EncodeError::NoSpace)
    }

    pub(crate) fn timestamp(&mut self, time: Timestamp) -> Result<(), EncodeError> {
        if time.is_portable() {
            self.int(time.as_micros())
        } else {
            Err(EncodeError::Time)
        }
    }

    pub(crate) fn record_number(&mut self, value: u64) -> Result<(), EncodeError> {
        if value < limits::RECORD_NUMBER {
            self.uint(value)
        } else {
            Err(EncodeError::Range)
        }
    }

    pub(crate) fn counter(&mut self, value: u64) -> Result<(), EncodeError> {
        if value <= i64::MAX as u64 {
            self.uint(value)
        } else {
            Err(EncodeError::Range)
        }
    }

    pub(crate) fn version(&mut self) -> Result<(), EncodeError> {
        self.uint(crate::version::PROTOCOL)
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.encoder
            .bytes(bytes)
            .map(drop)
            .map_err(|_| EncodeError::NoSpace)
    }

    /// The head of a byte string whose content follows through [`Writer::raw`].
    pub(crate) fn bytes_head(&mut self, length: usize) -> Result<(), EncodeError> {
        self.encoder
            .bytes_len(length as u64)
            .map(drop)
            .map_err(|_| EncodeError::NoSpace)
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<(), EncodeError> {
        self.encoder
            .str(text)
            .map(drop)
            .map_err(|_| EncodeError::NoSpace)
    }

    pub(crate) fn array(&mut self, count: usize) -> Result<(), EncodeError> {
        self.encoder
            .array(count as u64)
            .map(drop)
            .map_err(|_| EncodeError::NoSpace)
    }

    pub(crate) fn empty_map(&mut self) -> Result<(), EncodeError> {
        self.encoder
            .map(0)
            .map(drop)
            .map_err(|_| EncodeError::NoSpace)
    }

    pub(crate) fn tag(&mut self, tag: u64) -> Result<(), EncodeError> {
        self.encoder
            .tag(minicbor::data::Tag::new(tag))
            .map(drop)
            .map_err(|_| EncodeError::NoSpace)
    }

    pub(crate) fn null(&mut self) -> Result<(), EncodeError> {
        self.encoder
            .null()
            .map(drop)
            .map_err(|_| EncodeError::NoSpace)
    }

    /// Bytes as they are.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.encoder
            .writer_mut()
            .write_all(bytes)
            .map_err(|_| EncodeError::NoSpace)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn longer_forms_are_refused() {
        for bytes in [
            &[0x18, 0x17][..],
            &[0x19, 0x00, 0xff],
            &[0x1a, 0, 0, 0xff, 0xff],
            &[0x1b, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff],
        ] {
            assert_eq!(Reader::new(bytes).uint(), Err(DecodeError::NotCanonical));
            assert_eq!(Reader::new(bytes).int(), Err(DecodeError::NotCanonical));
        }
        assert_eq!(
            Reader::new(&[0x38, 0x00]).int(),
            Err(DecodeError::NotCanonical)
        );
        assert_eq!(
            Reader::new(&[0x58, 0x01, 0xaa]).bytes(),
            Err(DecodeError::NotCanonical)
        );
        assert_eq!(
            Reader::new(&[0x78, 0x01, b'a']).text(),
            Err(DecodeError::NotCanonical)
        );
        assert_eq!(
            Reader::new(&[0x98, 0x01, 0x00]).array(),
            Err(DecodeError::NotCanonical)
        );
        assert_eq!(
            Reader::new(&[0x9f, 0xff]).array(),
            Err(DecodeError::NotCanonical)
        );
        assert_eq!(
            Reader::new(&[0xd8, 0x12]).tag(),
            Err(DecodeError::NotCanonical)
        );
        assert!(Reader::new(&[0x5f, 0x41, 0x00, 0xff]).bytes().is_err());
        assert!(Reader::new(&[0xbf, 0xff]).empty_map().is_err());
    }

    #[test]
    fn wrong_types_and_ends() {
        assert_eq!(Reader::new(&[]).uint(), Err(DecodeError::Truncated));
        assert_eq!(Reader::new(&[0x20]).uint(), Err(DecodeError::Type));
        assert_eq!(
            Reader::new(&[0x43, 1, 2]).bytes(),
            Err(DecodeError::Truncated)
        );
        assert_eq!(
            Reader::new(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).bytes(),
            Err(DecodeError::Truncated)
        );
        assert_eq!(
            Reader::new(&[0x62, 0xff, 0xff]).text(),
            Err(DecodeError::Text)
        );
        assert_eq!(
            Reader::new(&[0x42, 0x41, 0x41]).text(),
            Err(DecodeError::Type)
        );
        assert!(!Reader::new(&[0xf7]).null() && Reader::new(&[0xf6]).null());
        assert_eq!(Reader::new(&[0xf6]).end(), Err(DecodeError::Trailing));
    }

    #[test]
    fn extremes_read_back() {
        let mut out = [0; 64];
        for value in [
            i64::MIN,
            -257,
            -256,
            -25,
            -24,
            -1,
            0,
            23,
            24,
            255,
            256,
            65_535,
            65_536,
            i64::MAX,
        ] {
            let mut writer = Writer::new(&mut out);
            writer.int(value).unwrap();
            let end = writer.position();
            let mut reader = Reader::new(&out[..end]);
            assert_eq!(reader.int(), Ok(value));
            assert_eq!(reader.end(), Ok(()));
        }
    }
}
