//! Instants, as microseconds since 1970-01-01T00:00:00Z without leap seconds.
//!
//! Does not read a clock and does not format: the shells do.

use crate::limits;

/// An instant in microseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest instant that a message may carry.
    pub const MIN: Self = Self(limits::TIME_MIN_US);
    /// The latest instant that a message may carry.
    pub const MAX: Self = Self(limits::TIME_MAX_US);

    /// An instant from microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// The microseconds.
    pub const fn as_micros(self) -> i64 {
        self.0
    }

    /// Whether a message may carry this instant (years 1 to 9999).
    pub const fn is_portable(self) -> bool {
        self.0 >= limits::TIME_MIN_US && self.0 <= limits::TIME_MAX_US
    }

    /// The instant that many microseconds later, or earlier when negative; `None` on overflow.
    pub const fn checked_add_micros(self, micros: i64) -> Option<Self> {
        match self.0.checked_add(micros) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The instant that many microseconds earlier, or later when negative; `None` on overflow.
    pub const fn checked_sub_micros(self, micros: i64) -> Option<Self> {
        match self.0.checked_sub(micros) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// Microseconds from `earlier` to `self`, negative when `earlier` is later; `None` on overflow.
    pub const fn checked_since(self, earlier: Self) -> Option<i64> {
        self.0.checked_sub(earlier.0)
    }

    /// Microseconds from `earlier` to `self`, held at the ends of i64.
    pub const fn saturating_since(self, earlier: Self) -> i64 {
        self.0.saturating_sub(earlier.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_is_checked() {
        let noon = Timestamp::from_micros(43_200_000_000);
        assert_eq!(
            noon.checked_add_micros(1).unwrap().checked_since(noon),
            Some(1)
        );
        assert_eq!(noon.checked_sub_micros(-1), noon.checked_add_micros(1));
        assert_eq!(Timestamp::from_micros(i64::MAX).checked_add_micros(1), None);
        assert_eq!(
            Timestamp::from_micros(i64::MAX).saturating_since(Timestamp::from_micros(-1)),
            i64::MAX
        );
        assert!(Timestamp::MAX.is_portable() && !Timestamp::from_micros(i64::MIN).is_portable());
    }
}
