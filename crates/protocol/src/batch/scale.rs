//! Decimal scaling: most sensors deliver decimal numbers, and `21.37` is the integer 2137 of scale 2.
//!
//! A scale is accepted only if every value comes back bit for bit from `integer / 10^scale`, one correctly rounded division
//! of two exact numbers; so the result is the same on every machine. Negative zero and most computed values have no such
//! integer and travel as plain f64.

use crate::limits::{SCALE, SCALED};

const POWERS: [f64; SCALE as usize + 1] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

/// A power of ten by which integers are divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Scale(u8);

impl Scale {
    pub(super) const ONE: Self = Self(0);

    /// The scale of a number in a batch.
    pub(super) fn from_code(code: u64) -> Option<Self> {
        u8::try_from(code)
            .ok()
            .filter(|&code| code <= SCALE)
            .map(Self)
    }

    pub(super) const fn code(self) -> u8 {
        self.0
    }

    fn power(self) -> f64 {
        POWERS.get(usize::from(self.0)).copied().unwrap_or(1.0)
    }

    /// The smallest scale at which all values are integers; `None` if there is none.
    pub(super) fn of(values: impl Iterator<Item = f64> + Clone) -> Option<Self> {
        let mut scale = Self::ONE;
        for value in values.clone() {
            while !scale.is_exact(value) {
                scale = Self::from_code(u64::from(scale.0) + 1)?;
            }
        }
        values
            .into_iter()
            .all(|value| scale.is_exact(value))
            .then_some(scale)
    }

    fn is_exact(self, value: f64) -> bool {
        let integer = self.integer(value);
        is_in_range(integer) && self.value(integer).to_bits() == value.to_bits()
    }

    /// The integer nearest to a value; exact for the values that the scale was made for.
    pub(super) fn integer(self, value: f64) -> i64 {
        let scaled = value * self.power();
        (if scaled < 0.0 {
            scaled - 0.5
        } else {
            scaled + 0.5
        }) as i64
    }

    /// The value of an integer in range.
    pub(super) fn value(self, integer: i64) -> f64 {
        integer as f64 / self.power()
    }
}

/// Whether an integer is an exact f64.
pub(super) const fn is_in_range(integer: i64) -> bool {
    -SCALED <= integer && integer <= SCALED
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scale_of(values: &[f64]) -> Option<u8> {
        Scale::of(values.iter().copied()).map(Scale::code)
    }

    #[test]
    fn powers_are_exact() {
        let mut power = 1u128;
        for (scale, float) in POWERS.iter().enumerate() {
            assert_eq!(*float as u128, power, "10^{scale}");
            power *= 10;
        }
    }

    #[test]
    fn smallest_scale() {
        assert_eq!(scale_of(&[]), Some(0));
        assert_eq!(scale_of(&[0.0, -3.0, 1e15]), Some(0));
        assert_eq!(scale_of(&[21.37, 0.1, -5.0]), Some(2));
        assert_eq!(scale_of(&[0.0625]), Some(4));
        assert_eq!(scale_of(&[1.5e-12]), Some(13));
        assert_eq!(scale_of(&[9_007_199_254_740_992.0]), Some(0));
        for value in [-0.0, 1e17, 0.1 + 0.2, f64::MIN_POSITIVE, f64::MAX, 5e-324] {
            assert_eq!(scale_of(&[value]), None, "{value:e}");
        }
        assert_eq!(scale_of(&[1e-10, 9e15]), None);
    }

    proptest! {
        #[test]
        fn decimals_of_fifteen_digits_are_exact(integer in -999_999_999_999_999i64..=999_999_999_999_999, places in 0u8..=15) {
            let value = integer as f64 / POWERS[usize::from(places)];
            let scale = Scale::of([value].into_iter()).unwrap();
            prop_assert!(scale.code() <= places);
            prop_assert_eq!(scale.value(scale.integer(value)).to_bits(), value.to_bits());
        }
    }
}
