//! What can be wrong with bytes that come in, and with what a caller asks to be written.
//!
//! Decoding errors are small and carry no text of the input, so that they may be logged, counted and sent back as a code.

use core::fmt;

macro_rules! decode_errors {
    ($($(#[doc = $doc:literal])+ $name:ident = $code:literal, $text:literal;)+) => {
        /// Why bytes were refused. Codes are part of the protocol: append only.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        #[repr(u8)]
        pub enum DecodeError {
            $($(#[doc = $doc])+ $name = $code,)+
        }

        impl DecodeError {
            /// All variants, in the order of their codes.
            pub const ALL: &'static [Self] = &[$(Self::$name,)+];

            /// The number under which logs and device messages name this error.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// A fixed sentence without anything from the input.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $text,)+
                }
            }
        }
    };
}

decode_errors! {
    /// The bytes end before the message does.
    Truncated = 1, "ends before it is complete";
    /// The bytes are longer than the message may be.
    TooLong = 2, "longer than allowed";
    /// Bytes follow the end of the message.
    Trailing = 3, "has bytes after its end";
    /// A CBOR item has another type than the format says.
    Type = 4, "has a CBOR item of the wrong type";
    /// A CBOR item is not in its shortest, definite form, or an optional part says only what its absence says.
    NotCanonical = 5, "is not in canonical form";
    /// An array has another number of items than the format says.
    Length = 6, "has an array of the wrong length";
    /// The version is not known here.
    Version = 7, "is of an unknown version";
    /// A number lies outside its limits.
    Range = 8, "has a number out of range";
    /// A text is not valid UTF-8, too long, or has characters that are not allowed there.
    Text = 9, "has a text that is not allowed";
    /// Items are not in ascending order, overlap or occur twice.
    Order = 10, "has items out of order or twice";
    /// A presence bitmap has the wrong length or bits after its end.
    Presence = 11, "has a wrong presence bitmap";
    /// Flag runs do not cover the records, or contradict the presence of values.
    Flags = 12, "has wrong flags";
    /// A codec id is not known here.
    Codec = 13, "names an unknown codec";
    /// A column's or the times' bytes do not decode to the number of values.
    Stream = 14, "has a damaged column";
    /// A value is not finite, or its scaled integer is not exact.
    Value = 15, "has a value that is not exact or not finite";
    /// A time lies outside the years 1 to 9999.
    Time = 16, "has a time out of range";
    /// A seal's COSE structure or headers are not the ones of this protocol.
    Cose = 17, "has other COSE headers than a seal";
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for DecodeError {}

/// Why a message could not be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EncodeError {
    /// The output buffer, or the message's size limit, is too small. Batches: close with fewer records.
    NoSpace,
    /// A count of records, columns, steps, channels or ranges is zero or over its limit.
    Count,
    /// A slice has another length than the header's count.
    Mismatch,
    /// Columns, channels, steps or ranges are not in strictly ascending order, or a name occurs twice.
    Order,
    /// A value of this channel is NaN or infinite.
    NotFinite {
        /// Index of the channel.
        channel: u16,
    },
    /// A cell of this channel is absent without flag 9 and a reason, or present with them.
    Inconsistent {
        /// Index of the channel.
        channel: u16,
    },
    /// A time lies outside the years 1 to 9999.
    Time,
    /// A number lies outside its limits.
    Range,
    /// A text is too long, empty or has characters that are not allowed there.
    Text,
}

impl fmt::Display for EncodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSpace => f.write_str("no room in the buffer"),
            Self::Count => f.write_str("too few or too many items"),
            Self::Mismatch => f.write_str("lengths do not match"),
            Self::Order => f.write_str("items out of order or twice"),
            Self::NotFinite { channel } => {
                write!(f, "channel {channel} has a value that is not finite")
            }
            Self::Inconsistent { channel } => write!(
                f,
                "channel {channel} has a cell whose value and flag disagree"
            ),
            Self::Time => f.write_str("time out of range"),
            Self::Range => f.write_str("number out of range"),
            Self::Text => f.write_str("text not allowed"),
        }
    }
}

impl core::error::Error for EncodeError {}
