//! Integers packed by difference: the first ones as varints, the rest in blocks of 128, each with the cheaper of two forms.
//!
//! A block begins on a whole byte with its form: 0 to 63 is the parameter of a Rice code, 64 + w is w bits a number. A Rice
//! code's quotient of 16 or more escapes to six bits of length and the number itself, so that a spike costs a few bytes
//! and not its size. Numbers are zigzag. The encoder needs two passes over a block and a few hundred bytes of stack.

use super::bits::{
    BitReader, BitWriter, bit_length, unzigzag, varint_length, write_varint, zigzag,
};
use crate::cbor::Writer;
use crate::error::EncodeError;

const BLOCK: usize = 128;
const WIDTH: u8 = 64;
const ESCAPE: u32 = 16;
const LENGTH_BITS: u32 = 6;

/// Which differences are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// From the number before.
    Delta,
    /// From the difference before.
    DeltaOfDelta,
}

impl Order {
    /// How many varints stand before the blocks.
    const fn leading(self) -> usize {
        match self {
            Self::Delta => 1,
            Self::DeltaOfDelta => 2,
        }
    }
}

/// The form of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Rice(u32),
    Width(u32),
}

impl Form {
    const fn code(self) -> u8 {
        match self {
            Self::Rice(parameter) => parameter as u8,
            Self::Width(width) => WIDTH + width as u8,
        }
    }

    fn from_code(code: u64) -> Option<Self> {
        match code {
            0..=63 => Some(Self::Rice(code as u32)),
            64..=128 => Some(Self::Width(code as u32 - u32::from(WIDTH))),
            _ => None,
        }
    }

    const fn bits(self, number: u64) -> u32 {
        match self {
            Self::Width(width) => width,
            Self::Rice(parameter) => {
                let quotient = number >> parameter;
                if quotient < ESCAPE as u64 {
                    quotient as u32 + 1 + parameter
                } else {
                    ESCAPE + LENGTH_BITS + bit_length(number)
                }
            }
        }
    }

    /// The cheapest form of a block, or nearly, and how many bits it needs.
    ///
    /// The best Rice parameter lies near the length of the median, which spikes do not move.
    fn choose(numbers: impl Iterator<Item = u64> + Clone) -> (Self, usize) {
        let mut lengths = [0u8; 65];
        let (mut count, mut longest) = (0usize, 0);
        for number in numbers.clone() {
            let length = bit_length(number);
            longest = longest.max(length);
            count += 1;
            if let Some(seen) = lengths.get_mut(length as usize) {
                *seen += 1;
            }
        }
        let mut below = 0;
        let median = lengths.iter().take_while(|&&seen| {
            below += usize::from(seen);
            below * 2 < count
        });
        let start = (median.count() as u32).saturating_sub(3).min(59);
        let mut costs = [0usize; 5];
        for number in numbers {
            for (parameter, cost) in (start..).zip(&mut costs) {
                *cost += Self::Rice(parameter).bits(number) as usize;
            }
        }
        let mut best = (Self::Width(longest), longest as usize * count);
        for (parameter, cost) in (start..64).zip(costs) {
            if cost < best.1 {
                best = (Self::Rice(parameter), cost);
            }
        }
        best
    }

    fn write(self, number: u64, bits: &mut BitWriter<'_, '_>) -> Result<(), EncodeError> {
        match self {
            Self::Width(width) => bits.put(number, width),
            Self::Rice(parameter) => {
                let quotient = number >> parameter;
                if quotient < u64::from(ESCAPE) {
                    bits.put((1 << quotient) - 1, quotient as u32 + 1)?;
                    return bits.put(number, parameter);
                }
                let length = bit_length(number);
                bits.put((1 << ESCAPE) - 1, ESCAPE)?;
                bits.put(u64::from(length) - 1, LENGTH_BITS)?;
                bits.put(number, length)
            }
        }
    }

    fn read(self, bits: &mut BitReader<'_>) -> Option<u64> {
        match self {
            Self::Width(width) => bits.take(width),
            Self::Rice(parameter) => {
                let quotient = bits.ones(ESCAPE)?;
                if quotient < ESCAPE {
                    let number = u64::from(quotient) << parameter;
                    // A quotient that does not fit is no number's.
                    if number >> parameter != u64::from(quotient) {
                        return None;
                    }
                    return Some(number | bits.take(parameter)?);
                }
                let length = bits.take(LENGTH_BITS)? as u32 + 1;
                let number = bits.take(length)?;
                (bit_length(number) == length && number >> parameter >= u64::from(ESCAPE))
                    .then_some(number)
            }
        }
    }
}

/// The zigzag differences of integers, in steps. Integers must be near enough that no difference overflows.
#[derive(Clone)]
struct Differences<I> {
    integers: I,
    order: Order,
    step: i64,
    seen: usize,
    integer: i64,
    delta: i64,
}

impl<I: Iterator<Item = i64>> Iterator for Differences<I> {
    type Item = u64;

    fn next(&mut self) -> Option<u64> {
        let integer = self.integers.next()?;
        let difference = integer.wrapping_sub(self.integer);
        self.integer = integer;
        self.seen += 1;
        if self.seen == 1 {
            return Some(zigzag(integer));
        }
        let delta = if self.step > 1 {
            difference / self.step
        } else {
            difference
        };
        let before = self.delta;
        self.delta = delta;
        Some(zigzag(match self.order {
            Order::Delta => delta,
            Order::DeltaOfDelta => delta.wrapping_sub(before),
        }))
    }
}

/// Integers to be packed. All differences must be multiples of `step`.
#[derive(Clone)]
pub(super) struct Plan<I> {
    integers: I,
    count: usize,
    order: Order,
    step: i64,
}

impl<I: Iterator<Item = i64> + Clone> Plan<I> {
    pub(super) fn new(integers: I, count: usize, order: Order, step: i64) -> Self {
        Self {
            integers,
            count,
            order,
            step,
        }
    }

    fn differences(&self) -> Differences<I> {
        let integers = self.integers.clone();
        Differences {
            integers,
            order: self.order,
            step: self.step,
            seen: 0,
            integer: 0,
            delta: 0,
        }
    }

    /// How many bytes [`Plan::write`] writes.
    pub(super) fn length(&self) -> usize {
        let mut rest = self.differences();
        let leading = self.count.min(self.order.leading());
        let mut length: usize = rest.by_ref().take(leading).map(varint_length).sum();
        let mut left = self.count - leading;
        while left > 0 {
            let block = left.min(BLOCK);
            let (_, bits) = Form::choose(rest.clone().take(block));
            length += 1 + bits.div_ceil(8);
            rest.by_ref().take(block).for_each(drop);
            left -= block;
        }
        length
    }

    pub(super) fn write(&self, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
        let mut rest = self.differences();
        let leading = self.count.min(self.order.leading());
        for number in rest.by_ref().take(leading) {
            write_varint(number, writer)?;
        }
        let mut left = self.count - leading;
        while left > 0 {
            let block = left.min(BLOCK);
            let (form, _) = Form::choose(rest.clone().take(block));
            writer.raw(&[form.code()])?;
            let mut bits = BitWriter::new(writer);
            for number in rest.by_ref().take(block) {
                form.write(number, &mut bits)?;
            }
            bits.align()?;
            left -= block;
        }
        Ok(())
    }
}

/// The greatest common divisor of all differences; 0 if all integers are equal.
pub(super) fn common_step(mut integers: impl Iterator<Item = i64>) -> u64 {
    let Some(mut before) = integers.next() else {
        return 0;
    };
    let mut common = 0u64;
    for integer in integers {
        let mut other = integer.wrapping_sub(before).unsigned_abs();
        before = integer;
        while other != 0 {
            (common, other) = (other, common % other);
        }
        if common == 1 {
            break;
        }
    }
    common
}

/// Takes packed integers from bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unpacker<'a> {
    bits: BitReader<'a>,
    order: Order,
    step: i64,
    seen: usize,
    left: usize,
    form: Form,
    integer: i64,
    delta: i64,
}

impl<'a> Unpacker<'a> {
    pub(super) fn new(bytes: &'a [u8], count: usize, order: Order, step: i64) -> Self {
        let bits = BitReader::new(bytes);
        Self {
            bits,
            order,
            step,
            seen: 0,
            left: count,
            form: Form::Width(0),
            integer: 0,
            delta: 0,
        }
    }

    /// The next integer; `None` after the last, and when the bytes are damaged.
    pub(super) fn next(&mut self) -> Option<i64> {
        self.left = self.left.checked_sub(1)?;
        let position = self.seen;
        self.seen += 1;
        if position == 0 {
            self.integer = unzigzag(self.bits.varint()?);
            return Some(self.integer);
        }
        let number = match position.checked_sub(self.order.leading()) {
            None => self.bits.varint()?,
            Some(offset) => {
                if offset % BLOCK == 0 {
                    self.bits.align()?;
                    self.form = Form::from_code(self.bits.take(8)?)?;
                }
                self.form.read(&mut self.bits)?
            }
        };
        let difference = unzigzag(number);
        self.delta = match self.order {
            Order::Delta => difference,
            Order::DeltaOfDelta => self.delta.checked_add(difference)?,
        };
        self.integer = self
            .integer
            .checked_add(self.delta.checked_mul(self.step)?)?;
        Some(self.integer)
    }

    /// Whether all integers have been taken and no bytes are left but zero padding.
    pub(super) fn is_finished(mut self) -> bool {
        self.left == 0 && self.bits.align().is_some() && self.bits.is_at_end()
    }
}
