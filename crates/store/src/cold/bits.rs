//! Few numbers by Rice codes: what is left of each after a simple guess, in a handful of bits.
//!
//! Made for columns of some dozens of numbers, where a table of frequencies would cost more than it saves. Decoding never
//! reads behind its input and allocates nothing that the input could not hold.

use super::bytes::{Reader, put_int};

/// So many ones say that the number follows in full.
const ESCAPE: u32 = 24;
/// Bits of the rest at most.
const MOST_BITS: u32 = 40;

/// What a number is thought to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guess {
    Zero = 0,
    Previous = 1,
    First = 2,
}

impl Guess {
    const ALL: [Self; 3] = [Self::Zero, Self::Previous, Self::First];

    fn of(self, first: i64, previous: i64) -> i64 {
        match self {
            Self::Zero => 0,
            Self::Previous => previous,
            Self::First => first,
        }
    }
}

/// Packs integers: guess and bits of the rest in one byte, the first number, codes of the others.
pub(super) fn pack(numbers: &[i64]) -> Option<Vec<u8>> {
    let (first, others) = numbers.split_first()?;
    let mut best: Option<(u64, Guess, u32, Vec<u64>)> = None;
    for guess in Guess::ALL {
        let mut previous = *first;
        let rests: Vec<u64> = others
            .iter()
            .map(|number| {
                let rest = number.wrapping_sub(guess.of(*first, previous));
                previous = *number;
                ((rest << 1) ^ (rest >> 63)).cast_unsigned()
            })
            .collect();
        for bits in 0..=MOST_BITS {
            let size: u64 = rests.iter().map(|rest| size(*rest, bits)).sum();
            let known = best.as_ref();
            if known.is_none_or(|(smallest, ..)| size < *smallest) {
                best = Some((size, guess, bits, rests.clone()));
            }
        }
    }
    let (_, guess, bits, rests) = best?;
    let mut out = vec![(guess as u8) << 6 | bits as u8];
    put_int(&mut out, *first);
    let mut writer = Writer {
        out,
        filled: 0,
        byte: 0,
    };
    for rest in rests {
        let ones = rest >> bits;
        if ones >= ESCAPE.into() {
            writer.put(u64::MAX, ESCAPE);
            writer.put(rest >> 32, 32);
            writer.put(rest, 32);
        } else {
            writer.put(u64::MAX, ones as u32);
            writer.put(0, 1);
            writer.put(rest, bits);
        }
    }
    Some(writer.finish())
}

fn size(rest: u64, bits: u32) -> u64 {
    let ones = rest >> bits;
    if ones >= ESCAPE.into() {
        u64::from(ESCAPE) + 64
    } else {
        ones + 1 + u64::from(bits)
    }
}

/// Unpacks `count` integers.
pub(super) fn unpack(bytes: &[u8], count: usize) -> Option<Vec<i64>> {
    let mut reader = Reader::new(bytes);
    let head = reader.byte()?;
    let guess = Guess::ALL
        .into_iter()
        .find(|guess| *guess as u8 == head >> 6)?;
    let bits = u32::from(head & 63);
    let first = reader.int()?;
    let bytes = reader.take(reader.left())?;
    // Each of the others takes a bit at least.
    if bits > MOST_BITS || count.checked_sub(1)? > bytes.len().saturating_mul(8) {
        return None;
    }
    let mut codes = Codes { bytes, at: 0 };
    let mut numbers = Vec::with_capacity(count);
    numbers.push(first);
    let mut previous = first;
    for _ in 1..count {
        let ones = codes.ones();
        let rest = if ones == ESCAPE {
            codes.take(32) << 32 | codes.take(32)
        } else {
            u64::from(ones) << bits | codes.take(bits)
        };
        let rest = (rest >> 1).cast_signed() ^ -(rest & 1).cast_signed();
        previous = guess.of(first, previous).wrapping_add(rest);
        numbers.push(previous);
    }
    codes.is_at_end().then_some(numbers)
}

struct Writer {
    out: Vec<u8>,
    byte: u8,
    filled: u32,
}

impl Writer {
    /// Appends the lowest `count` bits, the highest of them first.
    fn put(&mut self, value: u64, count: u32) {
        for bit in (0..count).rev() {
            self.byte = self.byte << 1 | (value >> bit & 1) as u8;
            self.filled += 1;
            if self.filled == 8 {
                self.out.push(self.byte);
                self.filled = 0;
            }
        }
    }

    fn finish(mut self) -> Vec<u8> {
        if self.filled > 0 {
            self.out.push(self.byte << (8 - self.filled));
        }
        self.out
    }
}

/// Bits of an input; behind its end are zeros.
struct Codes<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Codes<'_> {
    /// What comes next, from the highest bit on: 57 bits at least.
    fn peek(&self) -> u64 {
        let rest = self.bytes.get(self.at / 8..).unwrap_or_default();
        let word = match rest.first_chunk::<8>() {
            Some(word) => u64::from_be_bytes(*word),
            None => {
                let mut word = [0; 8];
                for (place, byte) in word.iter_mut().zip(rest) {
                    *place = *byte;
                }
                u64::from_be_bytes(word)
            }
        };
        word << (self.at % 8)
    }

    /// Ones up to the first zero, which is passed over, or to the escape.
    fn ones(&mut self) -> u32 {
        let ones = self.peek().leading_ones().min(ESCAPE);
        self.at += ones as usize + usize::from(ones < ESCAPE);
        ones
    }

    fn take(&mut self, count: u32) -> u64 {
        if count == 0 {
            return 0;
        }
        let value = self.peek() >> (64 - count);
        self.at += count as usize;
        value
    }

    /// Whether nothing but the padding of the last byte is left.
    fn is_at_end(&self) -> bool {
        self.at.div_ceil(8) == self.bytes.len() && self.peek() == 0
    }
}
