//! Writing a batch. Nothing is allocated and no column is buffered: sizes are computed in a first pass, bytes in a second.

use super::bits::{varint_length, write_varint};
use super::codec;
use super::decode::TIME_DIVISORS;
use super::packed::{Order, Plan, common_step};
use super::scale::Scale;
use super::{Cell, ColumnInput, Header, Step};
use crate::cbor::{Writer, head_length};
use crate::error::EncodeError;
use crate::limits;
use crate::time::Timestamp;

/// Writes a batch into `out` and returns its length.
///
/// `times` and every column have one entry for each of the header's records; columns are in ascending order of their
/// channel. [`EncodeError::NoSpace`] also says that the batch would exceed [`limits::BATCH_BYTES`]: close it with fewer
/// records. The bytes depend on the arguments alone.
pub fn encode(
    header: &Header,
    times: &[i64],
    steps: &[Step],
    columns: &[ColumnInput<'_>],
    out: &mut [u8],
) -> Result<usize, EncodeError> {
    let count = header.count as usize;
    if count == 0
        || count > limits::BATCH_RECORDS
        || columns.is_empty()
        || columns.len() > limits::CHANNELS
    {
        return Err(EncodeError::Count);
    }
    if times.len() != count || columns.iter().any(|column| column.values.len() != count) {
        return Err(EncodeError::Mismatch);
    }
    if !columns.is_sorted_by(|a, b| a.channel < b.channel) {
        return Err(EncodeError::Order);
    }
    if !times
        .iter()
        .all(|&time| Timestamp::from_micros(time).is_portable())
    {
        return Err(EncodeError::Time);
    }
    let mut writer = Writer::limited(out, limits::BATCH_BYTES);
    writer.array(12)?;
    writer.version()?;
    write_header(header, &mut writer)?;
    write_steps(steps, count, &mut writer)?;
    write_times(times, &mut writer)?;
    writer.array(columns.len())?;
    for column in columns {
        write_column(column, &mut writer)?;
    }
    Ok(writer.position())
}

fn write_header(header: &Header, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    if header.range().end() > limits::RECORD_NUMBER {
        return Err(EncodeError::Range);
    }
    writer.uint(header.epoch.0)?;
    writer.record_number(header.first)?;
    writer.uint(header.count.into())?;
    writer.bytes(&header.prev)?;
    writer.uint(header.boot.into())?;
    writer.counter(header.ticks_us)?;
    header.clock.write(writer)?;
    writer.uint(header.revision.into())
}

fn write_steps(steps: &[Step], count: usize, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    if steps.is_empty() {
        return writer.null();
    }
    if steps.len() > limits::STEPS {
        return Err(EncodeError::Count);
    }
    if !steps.is_sorted_by(|a, b| a.record < b.record) {
        return Err(EncodeError::Order);
    }
    writer.array(steps.len())?;
    for step in steps {
        if step.record as usize >= count || step.by_us == 0 {
            return Err(EncodeError::Range);
        }
        writer.array(2)?;
        writer.uint(step.record.into())?;
        writer.int(step.by_us)?;
    }
    Ok(())
}

fn write_times(times: &[i64], writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    // Times are portable, so no difference overflows.
    let common = common_step(times.iter().copied());
    let (power, step) = (0u64..)
        .zip(TIME_DIVISORS)
        .take_while(|&(power, divisor)| {
            power == 0 || (common != 0 && common % divisor.unsigned_abs() == 0)
        })
        .last()
        .unwrap_or((0, 1));
    let plan = Plan::new(
        times.iter().copied(),
        times.len(),
        Order::DeltaOfDelta,
        step,
    );
    let packed = plan.length();
    let plain = times.len() * 8;
    if plain < packed {
        writer.array(2)?;
        writer.uint(codec::INTEGERS)?;
        writer.bytes_head(plain)?;
        return times
            .iter()
            .try_for_each(|time| writer.raw(&time.to_le_bytes()));
    }
    writer.array(3)?;
    writer.uint(codec::DELTA_OF_DELTA)?;
    writer.uint(power)?;
    writer.bytes_head(packed)?;
    plan.write(writer)
}

fn write_column(column: &ColumnInput<'_>, writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    let (channel, cells) = (column.channel, column.values);
    let mut all_default = true;
    for cell in cells {
        if !cell.is_consistent() {
            return Err(EncodeError::Inconsistent { channel });
        }
        if cell.value.is_some_and(|value| !value.is_finite()) {
            return Err(EncodeError::NotFinite { channel });
        }
        all_default &= cell.is_default();
    }
    let present = values(cells).count();
    let values_form = Values::choose(cells, present);
    writer.array(values_form.items())?;
    writer.uint(channel.into())?;
    if present == cells.len() {
        writer.null()
    } else {
        write_presence(cells, writer)
    }?;
    if all_default {
        writer.null()
    } else {
        write_flags(cells, writer)
    }?;
    values_form.write(cells, present, writer)
}

fn values(cells: &[Cell]) -> impl Iterator<Item = f64> + Clone {
    cells.iter().filter_map(|cell| cell.value)
}

fn write_presence(cells: &[Cell], writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    writer.bytes_head(cells.len().div_ceil(8))?;
    for group in cells.chunks(8) {
        let bits = group
            .iter()
            .rev()
            .fold(0u8, |bits, cell| bits << 1 | u8::from(cell.value.is_some()));
        writer.raw(&[bits])?;
    }
    Ok(())
}

fn write_flags(cells: &[Cell], writer: &mut Writer<'_>) -> Result<(), EncodeError> {
    let runs = || cells.chunk_by(|a, b| (a.flag, a.reason) == (b.flag, b.reason));
    let length = runs().map(|run| 1 + varint_length(run.len() as u64)).sum();
    writer.bytes_head(length)?;
    for run in runs() {
        if let Some(cell) = run.first() {
            writer.raw(&[cell.flag.code() | cell.reason.code() << 4])?;
        }
        write_varint(run.len() as u64, writer)?;
    }
    Ok(())
}

/// How the values of a column are written.
enum Values {
    Floats,
    Packed {
        order: Order,
        scale: Scale,
        step: i64,
        length: usize,
    },
}

impl Values {
    /// The smallest exact form. Plain integers are never smaller than plain floats.
    fn choose(cells: &[Cell], present: usize) -> Self {
        let Some(scale) = Scale::of(values(cells)) else {
            return Self::Floats;
        };
        let integers = values(cells).map(|value| scale.integer(value));
        // A common step takes bits off every difference and costs a few bytes once.
        let steps = [Some(1), i64::try_from(common_step(integers.clone())).ok()];
        let orders = if present > 2 {
            &[Order::Delta, Order::DeltaOfDelta][..]
        } else {
            &[Order::Delta]
        };
        let mut best = Self::Floats;
        let mut smallest = if present == 0 {
            usize::MAX
        } else {
            present * 8
        };
        for step in steps
            .into_iter()
            .flatten()
            .filter(|step| (1..=limits::SCALED).contains(step))
        {
            for &order in orders {
                let length = Plan::new(integers.clone(), present, order, step).length();
                let cost = length
                    + if step > 1 {
                        head_length(step.unsigned_abs())
                    } else {
                        0
                    };
                if cost < smallest {
                    smallest = cost;
                    best = Self::Packed {
                        order,
                        scale,
                        step,
                        length,
                    };
                }
            }
        }
        best
    }

    fn items(&self) -> usize {
        match self {
            Self::Floats => 5,
            Self::Packed { step: 1, .. } => 6,
            Self::Packed { .. } => 7,
        }
    }

    fn write(
        &self,
        cells: &[Cell],
        present: usize,
        writer: &mut Writer<'_>,
    ) -> Result<(), EncodeError> {
        match *self {
            Self::Floats => {
                writer.uint(codec::FLOATS)?;
                writer.bytes_head(present * 8)?;
                values(cells).try_for_each(|value| writer.raw(&value.to_le_bytes()))
            }
            Self::Packed {
                order,
                scale,
                step,
                length,
            } => {
                writer.uint(match order {
                    Order::Delta => codec::DELTA,
                    Order::DeltaOfDelta => codec::DELTA_OF_DELTA,
                })?;
                writer.uint(scale.code().into())?;
                if step > 1 {
                    writer.uint(step.unsigned_abs())?;
                }
                writer.bytes_head(length)?;
                let integers = values(cells).map(|value| scale.integer(value));
                Plan::new(integers, present, order, step).write(writer)
            }
        }
    }
}
