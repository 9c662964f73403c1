//! The small messages of a session: state and log line up, ledger and time down.
//!
//! Each is one array whose first item is the version. `encode` writes into the caller's buffer and returns the length;
//! `decode` borrows from the bytes and has checked everything when it returns.

use crate::cbor::{Reader, Writer};
use crate::error::{DecodeError, EncodeError};
use crate::limits;
use crate::record::{ClockQuality, Epoch, Spans};
use crate::time::Timestamp;

/// How a device and its journal are; sent at the start of a session and when something changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<'a> {
    /// The journal's current epoch.
    pub epoch: Epoch,
    /// The oldest record still in the journal, acknowledged or not.
    pub oldest: Option<u64>,
    /// The number that the next record will get.
    pub next: u64,
    /// Unacknowledged records lost for want of space since the epoch began.
    pub dropped_total: u64,
    /// Size of the journal.
    pub journal_bytes: u64,
    /// Seconds since the device started.
    pub uptime_s: u64,
    /// How far its clock can be believed.
    pub clock: ClockQuality,
    /// Version of the logger's software.
    pub version: &'a str,
}

impl<'a> State<'a> {
    /// Writes the message and returns its length.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        if !is_version(self.version) {
            return Err(EncodeError::Text);
        }
        if self.oldest.is_some_and(|oldest| oldest >= self.next) {
            return Err(EncodeError::Range);
        }
        let mut writer = Writer::limited(out, limits::STATE_BYTES);
        writer.array(9)?;
        writer.version()?;
        writer.uint(self.epoch.0)?;
        match self.oldest {
            Some(oldest) => writer.record_number(oldest)?,
            None => writer.null()?,
        }
        writer.record_number(self.next)?;
        writer.counter(self.dropped_total)?;
        writer.counter(self.journal_bytes)?;
        writer.counter(self.uptime_s)?;
        self.clock.write(&mut writer)?;
        writer.text(self.version)?;
        Ok(writer.position())
    }

    /// Reads and checks the message.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = open(bytes, limits::STATE_BYTES, 9)?;
        let state = Self {
            epoch: Epoch(reader.uint()?),
            oldest: if reader.null() {
                None
            } else {
                Some(reader.record_number()?)
            },
            next: reader.record_number()?,
            dropped_total: reader.counter()?,
            journal_bytes: reader.counter()?,
            uptime_s: reader.counter()?,
            clock: ClockQuality::read(&mut reader)?,
            version: reader.text()?,
        };
        reader.end()?;
        if state.oldest.is_some_and(|oldest| oldest >= state.next) {
            return Err(DecodeError::Range);
        }
        if is_version(state.version) {
            Ok(state)
        } else {
            Err(DecodeError::Text)
        }
    }
}

/// Weight of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Level {
    /// For whoever looks for a fault.
    Debug = 0,
    /// Normal course of things.
    Info = 1,
    /// Worth knowing, nothing to do.
    Notice = 2,
    /// Soon a person should look.
    Warning = 3,
    /// A person should act.
    Error = 4,
}

impl Level {
    /// The number in messages.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The level of a number.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Debug),
            1 => Some(Self::Info),
            2 => Some(Self::Notice),
            3 => Some(Self::Warning),
            4 => Some(Self::Error),
            _ => None,
        }
    }
}

/// A line of the device's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// When, by the device's clock.
    pub time: Timestamp,
    /// How weighty.
    pub level: Level,
    /// What kind, for machines: `[a-z0-9._-]`.
    pub code: &'a str,
    /// What happened, for people: one line.
    pub text: &'a str,
}

impl<'a> LogLine<'a> {
    /// Writes the message and returns its length.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        if !is_code(self.code) || !is_line(self.text, limits::LOG_TEXT_BYTES) {
            return Err(EncodeError::Text);
        }
        let mut writer = Writer::limited(out, limits::LOG_BYTES);
        writer.array(5)?;
        writer.version()?;
        writer.timestamp(self.time)?;
        writer.uint(self.level.code().into())?;
        writer.text(self.code)?;
        writer.text(self.text)?;
        Ok(writer.position())
    }

    /// Reads and checks the message.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = open(bytes, limits::LOG_BYTES, 5)?;
        let line = Self {
            time: reader.timestamp()?,
            level: Level::from_code(reader.u8()?).ok_or(DecodeError::Range)?,
            code: reader.text()?,
            text: reader.text()?,
        };
        reader.end()?;
        let allowed = is_code(line.code) && is_line(line.text, limits::LOG_TEXT_BYTES);
        if allowed {
            Ok(line)
        } else {
            Err(DecodeError::Text)
        }
    }
}

/// Which records of an epoch the cloud has: all below `next` but the holes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ledger<'a> {
    /// The epoch that is meant.
    pub epoch: Epoch,
    /// The first number that the cloud has never seen, nor any above it.
    pub next: u64,
    /// Numbers below `next` that it lacks, lowest first; when there are more than the limit, the rest comes later.
    pub holes: Spans<'a>,
}

impl<'a> Ledger<'a> {
    /// Writes the message and returns its length.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        if self.holes.iter().any(|hole| hole.last >= self.next) {
            return Err(EncodeError::Range);
        }
        let mut writer = Writer::limited(out, limits::LEDGER_BYTES);
        writer.array(4)?;
        writer.version()?;
        writer.uint(self.epoch.0)?;
        writer.record_number(self.next)?;
        self.holes.write(limits::HOLES, &mut writer)?;
        Ok(writer.position())
    }

    /// Reads and checks the message.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut reader = open(bytes, limits::LEDGER_BYTES, 4)?;
        let ledger = Self {
            epoch: Epoch(reader.uint()?),
            next: reader.record_number()?,
            holes: Spans::read(limits::HOLES, &mut reader)?,
        };
        reader.end()?;
        let inside = ledger.holes.iter().all(|hole| hole.last < ledger.next);
        if inside {
            Ok(ledger)
        } else {
            Err(DecodeError::Range)
        }
    }
}

/// The cloud's time; sent only while the cloud trusts its own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time {
    /// The instant of sending.
    pub now: Timestamp,
}

impl Time {
    /// Writes the message and returns its length.
    pub fn encode(&self, out: &mut [u8]) -> Result<usize, EncodeError> {
        let mut writer = Writer::limited(out, limits::TIME_BYTES);
        writer.array(2)?;
        writer.version()?;
        writer.timestamp(self.now)?;
        Ok(writer.position())
    }

    /// Reads and checks the message.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = open(bytes, limits::TIME_BYTES, 2)?;
        let time = Self {
            now: reader.timestamp()?,
        };
        reader.end()?;
        Ok(time)
    }
}

/// A reader behind the version of a message. The version is judged before the number of items, so that a later version of
/// another shape is told apart from damage.
pub(crate) fn open(bytes: &[u8], limit: usize, items: usize) -> Result<Reader<'_>, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong);
    }
    let mut reader = Reader::new(bytes);
    let count = reader.array()?;
    reader.version()?;
    if count == items {
        Ok(reader)
    } else {
        Err(DecodeError::Length)
    }
}

fn is_version(text: &str) -> bool {
    (1..=limits::VERSION_BYTES).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_graphic())
}

fn is_code(text: &str) -> bool {
    (1..=limits::LOG_CODE_BYTES).contains(&text.len())
        && text
            .bytes()
            .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
}

/// One line of text for people: no control characters, not empty, within a limit.
pub(crate) fn is_line(text: &str, limit: usize) -> bool {
    (1..=limit).contains(&text.len()) && !text.chars().any(char::is_control)
}

#[cfg(test)]
mod tests;
