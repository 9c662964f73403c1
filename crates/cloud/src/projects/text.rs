//! What texts from outside may be: each check names its field and reason.

use jiff::tz::TimeZone;

use super::ProjectsError;
use crate::access::sound_name;

const UNIT_LONGEST: usize = 32;
/// Decimal places that a number may be shown with.
const DIGITS_MOST: u8 = 9;

/// What is wrong with a field.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Invalid {
    /// Not a name.
    #[error("needs 1 to 128 characters and no control characters")]
    Name,
    /// Not a unit.
    #[error("must be a UCUM unit of at most 32 characters, such as m, Cel or L/s")]
    Unit,
    /// Not an IANA time zone.
    #[error("must be a time zone such as Europe/Copenhagen")]
    Zone,
    /// Not a colour.
    #[error("must be a colour such as #1f77b4")]
    Colour,
    /// Not a number of decimal places.
    #[error("must be from 0 to 9")]
    Digits,
    /// Not a place on Earth.
    #[error("latitude is from -90 to 90, longitude from -180 to 180")]
    Place,
    /// Nothing has this id in reach.
    #[error("does not exist in this project")]
    Unknown,
    /// Ends before it begins.
    #[error("must be later than the beginning")]
    NotAfter,
    /// Not a number of days.
    #[error("must be from 1 to 36525 days, or null for ever")]
    Days,
    /// A coarser tier would go before a finer one.
    #[error("must not be shorter than that of the finer data, or null for ever")]
    ShorterThanFiner,
    /// Not a reason.
    #[error("needs 1 to 1000 characters that say why")]
    Reason,
    /// Not an id from elsewhere.
    #[error("needs 1 to 64 letters, digits, - and _, not in the form of our own ids")]
    LegacyId,
    /// Another thing of its kind has it.
    #[error("belongs to another thing of this kind in the project")]
    Taken,
    /// A relabelling of a part.
    #[error("goes with mode rescale: relabel says that the values were always in the new unit")]
    AlwaysThis,
    /// Values that have no scale.
    #[error("rescale is for elements whose values are numbers")]
    NoNumbers,
    /// Not a factor or offset.
    #[error("must be a number of at most 1e30, a factor not below 1e-30")]
    Factor,
    /// More changes than an element may have.
    #[error("has been changed 64 times: make a new element")]
    TooOften,
    /// A grant limited to locations must say at which of them.
    #[error("must be one of the locations that your access is limited to")]
    OutOfReach,
}

pub(super) fn name<'a>(field: &'static str, text: &'a str) -> Result<&'a str, ProjectsError> {
    sound_name(text).ok_or(ProjectsError::Invalid {
        field,
        reason: Invalid::Name,
    })
}

/// Why somebody did something, for whoever asks later.
pub(super) fn reason<'a>(field: &'static str, text: &'a str) -> Result<&'a str, ProjectsError> {
    let text = text.trim();
    let sound = !text.is_empty()
        && text.chars().count() <= 1_000
        && !text
            .chars()
            .any(|letter| letter.is_control() && letter != '\n');
    check(sound, field, Invalid::Reason, text)
}

/// UCUM's case-sensitive form is printable ASCII without spaces; empty stands for no unit.
pub(super) fn unit<'a>(field: &'static str, text: &'a str) -> Result<&'a str, ProjectsError> {
    let text = text.trim();
    let sound = text.len() <= UNIT_LONGEST && text.bytes().all(|byte| byte.is_ascii_graphic());
    check(sound, field, Invalid::Unit, text)
}

pub(super) fn zone<'a>(field: &'static str, text: &'a str) -> Result<&'a str, ProjectsError> {
    check(TimeZone::get(text).is_ok(), field, Invalid::Zone, text)
}

pub(super) fn colour<'a>(field: &'static str, text: &'a str) -> Result<&'a str, ProjectsError> {
    let sound = text.strip_prefix('#').is_some_and(|digits| {
        digits.len() == 6 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    });
    check(sound, field, Invalid::Colour, text)
}

pub(super) fn digits(field: &'static str, number: u8) -> Result<u8, ProjectsError> {
    check(number <= DIGITS_MOST, field, Invalid::Digits, number)
}

fn check<T>(
    sound: bool,
    field: &'static str,
    reason: Invalid,
    value: T,
) -> Result<T, ProjectsError> {
    sound
        .then_some(value)
        .ok_or(ProjectsError::Invalid { field, reason })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for good in ["River Å", "x", &"å".repeat(128)] {
            assert!(name("name", good).is_ok());
        }
        for bad in ["", "  ", "a\nb", &"a".repeat(129)] {
            assert!(name("name", bad).is_err(), "{bad:?}");
        }
        for good in ["", "m", "Cel", "L/s", "10*3/uL", "%"] {
            assert!(unit("unit", good).is_ok());
        }
        for bad in ["°C", "m s", &"m".repeat(33)] {
            assert!(unit("unit", bad).is_err(), "{bad:?}");
        }
        for good in ["UTC", "Europe/Copenhagen"] {
            assert!(zone("zone", good).is_ok());
        }
        for bad in ["", "CET+1", "../../etc/passwd", "Mars/Olympus"] {
            assert!(zone("zone", bad).is_err(), "{bad:?}");
        }
        assert!(colour("colour", "#1F77b4").is_ok());
        for bad in ["", "red", "#12345", "#12345g", "#1234567"] {
            assert!(colour("colour", bad).is_err(), "{bad:?}");
        }
    }
}
