//! The channel table of a configuration revision: what the columns of its batches mean.
//!
//! Goes before the first batch of the revision and is kept like one. Names are unique, indices ascend.

use crate::cbor::{Reader, Writer};
use crate::error::{DecodeError, EncodeError};
use crate::limits;
use crate::message::{is_line, open};
use crate::record::Epoch;

/// What the values of a channel are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Kind {
    /// A measured quantity.
    Number = 0,
    /// 0 or 1.
    Boolean = 1,
    /// An integer code whose labels belong to the element.
    State = 2,
}

impl Kind {
    /// The number in messages.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The kind of a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Number),
            1 => Some(Self::Boolean),
            2 => Some(Self::State),
            _ => None,
        }
    }
}

/// One channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Channel<'a> {
    /// The number that columns name it by.
    pub index: u16,
    /// Its name on the device, `[A-Za-z0-9_.-]`; a series stays the same while the name does.
    pub name: &'a str,
    /// UCUM code of the unit, `1` where there is none.
    pub unit: &'a str,
    /// What the values are.
    pub kind: Kind,
    /// Decimal places worth showing.
    pub digits: u8,
    /// Nominal sampling interval; 0 when it is sampled on events.
    pub interval_us: u64,
    /// A name for people.
    pub label: Option<&'a str>,
}

impl<'a> Channel<'a> {
    fn is_valid_text(&self) -> bool {
        is_name(self.name)
            && is_unit(self.unit)
            && self
                .label
                .is_none_or(|label| is_line(label, limits::LABEL_BYTES))
    }

    fn is_in_range(&self) -> bool {
        self.digits <= limits::DIGITS && self.interval_us <= limits::INTERVAL_US
    }

    fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        if !self.is_valid_text() {
            return Err(EncodeError::Text);
        }
        if !self.is_in_range() {
            return Err(EncodeError::Range);
        }
        writer.array(if self.label.is_some() { 7 } else { 6 })?;
        writer.uint(self.index.into())?;
        writer.text(self.name)?;
        writer.text(self.unit)?;
        writer.uint(self.kind.code().into())?;
        writer.uint(self.digits.into())?;
        writer.uint(self.interval_us)?;
        self.label.map_or(Ok(()), |label| writer.text(label))
    }

    fn read(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let items = reader.array()?;
        if !(6..=7).contains(&items) {
            return Err(DecodeError::Length);
        }
        let channel = Self {
            index: reader.u16()?,
            name: reader.text()?,
            unit: reader.text()?,
            kind: Kind::from_code(reader.u8()?).ok_or(DecodeError::Range)?,
            digits: reader.u8()?,
            interval_us: reader.uint()?,
            label: if items == 7 {
                Some(reader.text()?)
            } else {
                None
            },
        };
        if !channel.is_valid_text() {
            return Err(DecodeError::Text);
        }
        if channel.is_in_range() {
            Ok(channel)
        } else {
            Err(DecodeError::Range)
        }
    }
}

/// Whether a text may be a channel's name.
pub fn is_name(text: &str) -> bool {
    (1..=limits::NAME_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

/// Whether a text may be a unit: the characters of UCUM codes. Whether the code means something is not judged.
pub fn is_unit(text: &str) -> bool {
    (1..=limits::UNIT_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// Writes a channel table and returns its length. Channels must be in ascending order of their index.
pub fn encode(
    epoch: Epoch,
    revision: u32,
    channels: &[Channel<'_>],
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    if channels.is_empty() || channels.len() > limits::CHANNELS {
        return Err(EncodeError::Count);
    }
    if !channels.is_sorted_by(|a, b| a.index < b.index) {
        return Err(EncodeError::Order);
    }
    let mut rest = channels;
    while let Some((channel, others)) = rest.split_first() {
        if others.iter().any(|other| other.name == channel.name) {
            return Err(EncodeError::Order);
        }
        rest = others;
    }
    let mut writer = Writer::limited(out, limits::CHANNELS_BYTES);
    writer.array(4)?;
    writer.version()?;
    writer.uint(epoch.0)?;
    writer.uint(revision.into())?;
    writer.array(channels.len())?;
    for channel in channels {
        channel.write(&mut writer)?;
    }
    Ok(writer.position())
}

/// A channel table, borrowed from its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Channels<'a> {
    epoch: Epoch,
    revision: u32,
    count: usize,
    items: Reader<'a>,
}

impl<'a> Channels<'a> {
    /// Reads and checks a channel table.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = open(bytes, limits::CHANNELS_BYTES, 4)?;
        let epoch = Epoch(reader.uint()?);
        let revision = reader.u32()?;
        let count = reader.array()?;
        if count == 0 || count > limits::CHANNELS {
            return Err(DecodeError::Length);
        }
        let table = Self {
            epoch,
            revision,
            count,
            items: reader,
        };
        let mut lowest = 0;
        for position in 0..count {
            let channel = Channel::read(&mut reader)?;
            if u32::from(channel.index) < lowest
                || table
                    .iter()
                    .take(position)
                    .any(|other| other.name == channel.name)
            {
                return Err(DecodeError::Order);
            }
            lowest = u32::from(channel.index) + 1;
        }
        reader.end()?;
        Ok(table)
    }

    /// The epoch whose batches it explains.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The configuration revision that batches name.
    pub fn revision(&self) -> u32 {
        self.revision
    }

    /// How many channels.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Never: a table has at least one channel.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The channels, by ascending index.
    pub fn iter(&self) -> impl Iterator<Item = Channel<'a>> + use<'a> {
        let mut items = self.items;
        (0..self.count).map_while(move |_| Channel::read(&mut items).ok())
    }
}

#[cfg(test)]
mod tests;
