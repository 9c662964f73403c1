//! Times as RFC 3339 text: written in UTC with as many digits as needed, read with any offset.

use fieldkeep_protocol::time::Timestamp;

/// The text is not an RFC 3339 time with an offset, or lies outside the years 0 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 time with an offset, such as 2026-03-01T12:00:00Z")]
pub struct NotATime;

/// Writes `time` in UTC (`2026-03-01T12:00:00.25Z`). A time outside the years that RFC 3339 can
/// write becomes the nearest one that it can.
pub fn format(time: Timestamp) -> String {
    const YEAR_0_US: i64 = -62_167_219_200_000_000;
    const YEAR_9999_US: i64 = 253_402_207_200_000_000;
    let micros = time.as_micros().clamp(YEAR_0_US, YEAR_9999_US);
    jiff::Timestamp::from_microsecond(micros)
        .map_or_else(|_| String::new(), |time| time.to_string())
}

/// Reads a time with an offset; digits below a microsecond are cut off.
///
/// # Errors
/// [`NotATime`], also for a local time without offset.
pub fn parse(text: &str) -> Result<Timestamp, NotATime> {
    let time: jiff::Timestamp = text.parse().map_err(|_| NotATime)?;
    Ok(Timestamp::from_micros(time.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_what_it_reads() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2026-03-01T12:00:00.25Z", 1_772_366_400_250_000),
            ("1969-12-31T23:59:59.999999Z", -1),
        ] {
            assert_eq!(parse(text).map(Timestamp::as_micros), Ok(micros), "{text}");
            assert_eq!(format(Timestamp::from_micros(micros)), text);
        }
    }

    #[test]
    fn reads_offsets_and_refuses_local_times() {
        assert_eq!(
            parse("2026-03-01T13:00:00+01:00").map(Timestamp::as_micros),
            Ok(1_772_366_400_000_000)
        );
        for text in ["2026-03-01T12:00:00", "2026-03-01", "", "yesterday"] {
            assert_eq!(parse(text), Err(NotATime), "{text}");
        }
    }

    #[test]
    fn extremes_stay_readable() {
        for micros in [i64::MIN, i64::MAX] {
            assert!(parse(&format(Timestamp::from_micros(micros))).is_ok());
        }
    }
}
