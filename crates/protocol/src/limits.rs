//! Every limit of the protocol in one place. Both sides check them: the encoder refuses to write what a decoder would refuse.

/// Encoded length of a batch.
pub const BATCH_BYTES: usize = 65_536;
/// Records in a batch.
pub const BATCH_RECORDS: usize = 4_096;
/// Columns of a batch, and channels in a channel table.
pub const CHANNELS: usize = 256;
/// Clock steps named in one batch.
pub const STEPS: usize = 64;
/// Encoded length of a channel table.
pub const CHANNELS_BYTES: usize = 65_536;
/// Length of a channel's name, in ASCII characters.
pub const NAME_BYTES: usize = 128;
/// Length of a unit, in ASCII characters.
pub const UNIT_BYTES: usize = 32;
/// Length of a channel's label, in UTF-8 bytes.
pub const LABEL_BYTES: usize = 128;
/// Decimal places that a channel may announce.
pub const DIGITS: u8 = 15;
/// Nominal sampling interval of a channel, 366 days.
pub const INTERVAL_US: u64 = 366 * 86_400 * 1_000_000;
/// Ranges of dropped records named in one seal.
pub const DROPPED_RANGES: usize = 64;
/// Holes named in one ledger message.
pub const HOLES: usize = 256;
/// Encoded length of a seal.
pub const SEAL_BYTES: usize = 1_536;
/// Encoded length of a seal's payload.
pub const SEAL_PAYLOAD_BYTES: usize = 1_360;
/// Encoded length of a state message.
pub const STATE_BYTES: usize = 256;
/// Length of the version in a state message, in printable ASCII characters.
pub const VERSION_BYTES: usize = 64;
/// Encoded length of a log line.
pub const LOG_BYTES: usize = 1_024;
/// Length of a log line's code.
pub const LOG_CODE_BYTES: usize = 64;
/// Length of a log line's text, in UTF-8 bytes.
pub const LOG_TEXT_BYTES: usize = 896;
/// Encoded length of a ledger message.
pub const LEDGER_BYTES: usize = 8_192;
/// Encoded length of a time message.
pub const TIME_BYTES: usize = 16;
/// Encoded length of an exchange's request.
pub const EXCHANGE_BYTES: usize = 262_144;
/// Messages in one exchange.
pub const EXCHANGE_MESSAGES: usize = 64;
/// State messages among them: each is answered by a ledger.
pub const EXCHANGE_STATES: usize = 16;
/// Length of one message in an exchange.
pub const EXCHANGED_BYTES: usize = 65_536;
/// Encoded length of an exchange's answer.
pub const EXCHANGE_ANSWER_BYTES: usize = 139_264;
/// Messages that an exchange brings down: a ledger for each state, and the time.
pub const EXCHANGE_DOWN: usize = EXCHANGE_STATES + 1;
/// Length of any topic.
pub const TOPIC_BYTES: usize = 48;
/// Record numbers are below this.
pub const RECORD_NUMBER: u64 = 1 << 62;
/// Decimal scale of a column: every power of ten up to this one is an exact f64.
pub const SCALE: u8 = 22;
/// Scaled integers lie within ± this, where every integer is an exact f64.
pub const SCALED: i64 = 1 << 53;
/// Earliest time, 0001-01-01T00:00:00Z: RFC 3339 can write every accepted time.
pub const TIME_MIN_US: i64 = -62_135_596_800_000_000;
/// Latest time, 9999-12-31T23:59:59.999999Z.
pub const TIME_MAX_US: i64 = 253_402_300_799_999_999;
