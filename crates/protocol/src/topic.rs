//! Topics: `fk/1/{device}/{kind}`, each device under its own id only.
//!
//! Parsing accepts exactly what writing makes, so no wildcard, empty level or other version slips through.

use core::fmt::{self, Write as _};
use core::ops::Deref;

use crate::id::DeviceId;
use crate::limits;

const ROOT: &str = "fk/1/";

/// What a device publishes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Up {
    /// A closed batch of records.
    Batch,
    /// A signature over the chain of batches.
    Seal,
    /// The channel table of a configuration revision.
    Channels,
    /// How the device and its journal are.
    State,
    /// A line of the device's log.
    Log,
}

impl Up {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Batch,
        Self::Seal,
        Self::Channels,
        Self::State,
        Self::Log,
    ];

    /// The last level of the topic.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Batch => "batch",
            Self::Seal => "seal",
            Self::Channels => "channels",
            Self::State => "state",
            Self::Log => "log",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// What the cloud publishes to a device.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Down {
    /// Which records of an epoch the cloud lacks.
    Ledger,
    /// What time it is.
    Time,
}

impl Down {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Ledger, Self::Time];

    /// The last level of the topic.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ledger => "ledger",
            Self::Time => "time",
        }
    }

    /// The kind of that name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

/// A topic in a buffer of its own.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Topic {
    bytes: [u8; limits::TOPIC_BYTES],
    length: usize,
}

impl Topic {
    /// The topic on which a device publishes.
    pub fn up(device: DeviceId, kind: Up) -> Self {
        Self::of(device, kind.as_str())
    }

    /// The topic to which a device subscribes.
    pub fn down(device: DeviceId, kind: Down) -> Self {
        Self::of(device, kind.as_str())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        self.bytes
            .get(..self.length)
            .and_then(|bytes| core::str::from_utf8(bytes).ok())
            .unwrap_or("")
    }

    fn of(device: DeviceId, kind: &str) -> Self {
        let mut topic = Self {
            bytes: [0; limits::TOPIC_BYTES],
            length: 0,
        };
        // Infallible: 5 + 30 + 1 + at most 8 characters; a test writes every topic there is.
        let _ = write!(topic, "{ROOT}{device}/{kind}");
        topic
    }
}

impl fmt::Write for Topic {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        self.bytes
            .get_mut(self.length..end)
            .ok_or(fmt::Error)?
            .copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

impl Deref for Topic {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Topic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// Reads a topic that a device publishes on; `None` for anything else.
pub fn parse(topic: &str) -> Option<(DeviceId, Up)> {
    let (device, kind) = split(topic)?;
    Some((device, Up::named(kind)?))
}

/// Reads a topic that the cloud publishes on; `None` for anything else.
pub fn parse_down(topic: &str) -> Option<(DeviceId, Down)> {
    let (device, kind) = split(topic)?;
    Some((device, Down::named(kind)?))
}

fn split(topic: &str) -> Option<(DeviceId, &str)> {
    let (device, kind) = topic.strip_prefix(ROOT)?.split_once('/')?;
    Some((device.parse().ok()?, kind))
}

#[cfg(test)]
mod tests {
    use std::format;
    use std::string::ToString;

    use super::*;

    #[test]
    fn each_topic_reads_back() {
        let device = DeviceId::from_bytes([0xff; 16]);
        for kind in Up::ALL {
            let topic = Topic::up(device, kind);
            assert_eq!(topic.as_str(), format!("fk/1/{device}/{}", kind.as_str()));
            assert_eq!(topic.to_string(), &*topic);
            assert_eq!(parse(&topic), Some((device, kind)));
            assert_eq!(parse_down(&topic), None);
        }
        for kind in Down::ALL {
            let topic = Topic::down(device, kind);
            assert_eq!(topic.as_str(), format!("fk/1/{device}/{}", kind.as_str()));
            assert_eq!(parse_down(&topic), Some((device, kind)));
            assert_eq!(parse(&topic), None);
        }
    }

    #[test]
    fn nothing_else_is_a_topic() {
        let device = DeviceId::from_bytes([1; 16]);
        for topic in [
            "".into(),
            "fk".into(),
            "fk/1/".into(),
            "fk/1/#".into(),
            "fk/1/+/batch".into(),
            format!("fk/2/{device}/batch"),
            format!("/fk/1/{device}/batch"),
            format!("fk/1/{device}"),
            format!("fk/1/{device}/"),
            format!("fk/1/{device}/batch/"),
            format!("fk/1/{device}/batch/0"),
            format!("fk/1/{device}/Batch"),
            format!("fk/1/{device}//batch"),
            format!("fk/1/{device}/order"),
            format!("$share/a/fk/1/{device}/batch"),
        ] {
            assert_eq!(parse(&topic), None, "{topic}");
            assert_eq!(parse_down(&topic), None, "{topic}");
        }
    }
}
