//! Values that are exact decimals, as integers: what sensors deliver, and what packs best.
//!
//! Exact means bit for bit: a value is written as an integer only if dividing that integer by the power of ten gives the
//! very same f64. Everything else is packed as floats.

use super::bytes::Reader;
use super::numbers;

/// Most decimal places.
const PLACES: usize = 9;
const POWERS: [f64; PLACES + 1] = [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9];
/// Every integer up to here is an exact f64.
const LARGEST: f64 = 9_007_199_254_740_992.0;

/// Integers over one power of ten.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decimals {
    pub(super) places: u8,
    pub(super) integers: Vec<i64>,
}

/// The values as integers, if all of them are decimals of at most nine places.
pub(super) fn scaled(values: &[f64]) -> Option<Decimals> {
    let mut places = 0;
    for value in values {
        while integer(*value, places).is_none() {
            places += 1;
            if places > PLACES {
                return None;
            }
        }
    }
    // More places may be too many for a large value before.
    let integers = values
        .iter()
        .map(|value| integer(*value, places))
        .collect::<Option<_>>()?;
    Some(Decimals {
        places: u8::try_from(places).ok()?,
        integers,
    })
}

/// The value of an integer over a power of ten.
#[expect(clippy::cast_precision_loss, reason = "callers keep within 2^53")]
pub(super) fn value(integer: i64, places: u8) -> Option<f64> {
    let power = POWERS.get(usize::from(places))?;
    Some(integer as f64 / power)
}

/// The values of integers over a power of ten; `None` where there are too many places.
#[expect(
    clippy::cast_precision_loss,
    reason = "what was packed lies within 2^53; beyond it any value is as good"
)]
pub(super) fn values(integers: &[i64], places: u8) -> Option<Vec<f64>> {
    let power = *POWERS.get(usize::from(places))?;
    Some(
        integers
            .iter()
            .map(|integer| *integer as f64 / power)
            .collect(),
    )
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "checked against the largest exact integer, and bit for bit afterwards"
)]
fn integer(value: f64, places: usize) -> Option<i64> {
    let power = POWERS.get(places)?;
    let scaled = (value * power).round();
    if scaled.is_nan() || scaled.abs() > LARGEST {
        return None;
    }
    let integer = scaled as i64;
    (((integer as f64) / power).to_bits() == value.to_bits()).then_some(integer)
}

const DECIMALS: u8 = 1;
const FLOATS: u8 = 2;
const SAME: u8 = 3;

/// Packs values, whatever they are.
pub(super) fn pack(values: &[f64]) -> Vec<u8> {
    let Some(first) = values.first() else {
        return Vec::new();
    };
    if values
        .iter()
        .all(|value| value.to_bits() == first.to_bits())
    {
        let mut out = vec![SAME];
        out.extend_from_slice(&first.to_bits().to_le_bytes());
        return out;
    }
    match scaled(values) {
        Some(decimals) => {
            let mut out = vec![DECIMALS, decimals.places];
            out.append(&mut numbers::pack(&decimals.integers));
            out
        }
        None => {
            let mut out = vec![FLOATS];
            out.append(&mut numbers::pack_floats(values));
            out
        }
    }
}

/// Unpacks `count` values.
pub(super) fn unpack(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    if count == 0 {
        return bytes.is_empty().then(Vec::new);
    }
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        SAME => {
            let bits = reader.take(8)?.first_chunk::<8>()?;
            let value = f64::from_bits(u64::from_le_bytes(*bits));
            reader.is_empty().then(|| vec![value; count])
        }
        DECIMALS => {
            let places = reader.byte()?;
            let integers = numbers::unpack(reader.take(reader.left())?, count)?;
            values(&integers, places)
        }
        FLOATS => numbers::unpack_floats(reader.take(reader.left())?, count),
        _ => None,
    }
}
