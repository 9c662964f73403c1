//! The answer to a published message: MQTT 5 PUBACK reason codes, with what each obliges the logger to do.

/// Why the cloud answered as it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Code {
    /// Durable. The logger may forget its copy when it needs the space.
    Durable = 0x00,
    /// Not this device's topic. Keep the record, log the error: sending it again cannot help.
    NotYourTopic = 0x87,
    /// A quota or the disk is full. Keep it, back off, send it again.
    Quota = 0x97,
    /// Undecodable, kept in quarantine. Move it to `rejected/` and go on with the next.
    Undecodable = 0x99,
}

impl Code {
    /// The byte on the wire.
    pub const fn as_u8(self) -> u8 {
        self as u8
    }

    /// The meaning of a byte; `None` is any other code, to be treated like [`Code::Quota`].
    pub const fn from_u8(byte: u8) -> Option<Self> {
        match byte {
            0x00 => Some(Self::Durable),
            0x87 => Some(Self::NotYourTopic),
            0x97 => Some(Self::Quota),
            0x99 => Some(Self::Undecodable),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_codes_and_no_other() {
        let known = (0..=u8::MAX).filter_map(Code::from_u8).count();
        assert_eq!(known, 4);
        assert!(
            (0..=u8::MAX)
                .filter_map(|byte| Code::from_u8(byte).map(|code| (code, byte)))
                .all(|(code, byte)| code.as_u8() == byte)
        );
    }
}
