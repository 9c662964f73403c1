//! Columns of numbers, packed: a rule where there is one, a few bits where there are few, pco for the rest, in the narrowest
//! of its types that holds them, since its tables are made of numbers of that type.
//!
//! How many numbers a column holds is known outside; the caller caps it, and with it what decoding allocates. Of pco's
//! modes only those are accepted that need no memory of their own beyond small tables, since its format may announce
//! dictionaries and windows larger than what follows.

use pco::data_types::Number;
use pco::metadata::{DeltaEncoding, Mode};
use pco::wrapped::{FileCompressor, FileDecompressor};
use pco::{ChunkConfig, DeltaSpec, PagingSpec};

use super::bits;
use super::bytes::{Reader, put_int};

/// First number and step.
const LINEAR: u8 = 0;
/// Each number's difference to the one before it.
const DELTAS: u8 = 1;
const PCO: u8 = 2;
/// f64 as they are, little endian.
const RAW: u8 = 3;
/// Codes of a few bits.
const BITS: u8 = 4;
/// The smallest number, and pco of what the others are above it, in 16 bits.
const PCO_16: u8 = 5;
/// The same in 32 bits.
const PCO_32: u8 = 6;

/// Up to here a plain list of differences, or of codes, may be smaller than pco.
const FEW: usize = 512;
/// pco's number of the mode that is led by a dictionary.
const DICTIONARY: u8 = 4;

/// Packs integers.
pub(super) fn pack(numbers: &[i64]) -> Vec<u8> {
    if let Some(linear) = linear(numbers) {
        return linear;
    }
    let mut best: Option<Vec<u8>> = None;
    let mut consider = |packed: Vec<u8>| {
        if best.as_ref().is_none_or(|best| packed.len() < best.len()) {
            best = Some(packed);
        }
    };
    if numbers.len() <= FEW {
        let mut few = vec![DELTAS];
        let mut before = 0_i64;
        for number in numbers {
            put_int(&mut few, number.wrapping_sub(before));
            before = *number;
        }
        consider(few);
        if let Some(mut codes) = bits::pack(numbers) {
            codes.insert(0, BITS);
            consider(codes);
        }
    }
    let least = numbers.iter().min().copied().unwrap_or_default();
    let above = |number: &i64| number.wrapping_sub(least).cast_unsigned();
    let most = numbers.iter().map(above).max().unwrap_or_default();
    let packed = if most <= u16::MAX.into() {
        let narrow: Vec<u16> = numbers.iter().map(|number| above(number) as u16).collect();
        narrowed(PCO_16, least, &narrow)
    } else if most <= u32::MAX.into() {
        let narrow: Vec<u32> = numbers.iter().map(|number| above(number) as u32).collect();
        narrowed(PCO_32, least, &narrow)
    } else {
        smallest(numbers).map(|packed| [vec![PCO], packed].concat())
    };
    if let Some(packed) = packed {
        consider(packed);
    }
    best.unwrap_or_default()
}

fn narrowed<T: Number>(form: u8, least: i64, numbers: &[T]) -> Option<Vec<u8>> {
    let mut out = vec![form];
    put_int(&mut out, least);
    out.append(&mut smallest(numbers)?);
    Some(out)
}

/// The smallest of what pco makes of integers.
fn smallest<T: Number>(numbers: &[T]) -> Option<Vec<u8>> {
    let deltas = [
        DeltaSpec::TryConsecutive(1),
        DeltaSpec::NoOp,
        DeltaSpec::TryConsecutive(2),
    ];
    let packed = deltas.into_iter().filter_map(|delta| pco(numbers, delta));
    packed.min_by_key(Vec::len)
}

/// Unpacks `count` integers.
pub(super) fn unpack(bytes: &[u8], count: usize) -> Option<Vec<i64>> {
    if count == 0 {
        return bytes.is_empty().then(Vec::new);
    }
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        LINEAR => {
            let mut next = reader.int()?;
            let step = reader.int()?;
            let numbers = (0..count)
                .map(|_| {
                    let number = next;
                    next = next.wrapping_add(step);
                    number
                })
                .collect();
            reader.is_empty().then_some(numbers)
        }
        DELTAS => {
            if count > reader.left() {
                return None;
            }
            let mut numbers = Vec::with_capacity(count);
            let mut number = 0_i64;
            for _ in 0..count {
                number = number.wrapping_add(reader.int()?);
                numbers.push(number);
            }
            reader.is_empty().then_some(numbers)
        }
        PCO => unpco(reader.take(reader.left())?, count),
        BITS => bits::unpack(reader.take(reader.left())?, count),
        PCO_16 => widened::<u16>(reader, count),
        PCO_32 => widened::<u32>(reader, count),
        _ => None,
    }
}

fn widened<T: Number + Default + Into<i64>>(
    mut reader: Reader<'_>,
    count: usize,
) -> Option<Vec<i64>> {
    let least = reader.int()?;
    let narrow: Vec<T> = unpco(reader.take(reader.left())?, count)?;
    let wide = narrow
        .into_iter()
        .map(|number| least.wrapping_add(number.into()));
    Some(wide.collect())
}

/// Packs floats, bit for bit.
pub(super) fn pack_floats(numbers: &[f64]) -> Vec<u8> {
    let raw = 1 + numbers.len() * 8;
    let best = [DeltaSpec::NoOp, DeltaSpec::TryConsecutive(1)]
        .into_iter()
        .filter_map(|delta| pco(numbers, delta))
        .min_by_key(Vec::len)
        .map(|packed| [vec![PCO], packed].concat())
        .filter(|packed| packed.len() < raw);
    best.unwrap_or_else(|| {
        let mut plain = Vec::with_capacity(raw);
        plain.push(RAW);
        for number in numbers {
            plain.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        plain
    })
}

/// Unpacks `count` floats.
pub(super) fn unpack_floats(bytes: &[u8], count: usize) -> Option<Vec<f64>> {
    let (form, rest) = bytes.split_first()?;
    match *form {
        RAW => {
            let (numbers, rest) = rest.as_chunks::<8>();
            let numbers: Vec<f64> = numbers
                .iter()
                .map(|bits| f64::from_bits(u64::from_le_bytes(*bits)))
                .collect();
            (rest.is_empty() && numbers.len() == count).then_some(numbers)
        }
        PCO => unpco(rest, count),
        _ => None,
    }
}

fn linear(numbers: &[i64]) -> Option<Vec<u8>> {
    let Some(first) = numbers.first() else {
        return Some(Vec::new());
    };
    let step = numbers
        .get(1)
        .map_or(0, |second| second.wrapping_sub(*first));
    let follows = numbers
        .iter()
        .zip(numbers.iter().skip(1))
        .all(|(before, after)| after.wrapping_sub(*before) == step);
    follows.then(|| {
        let mut out = vec![LINEAR];
        put_int(&mut out, *first);
        put_int(&mut out, step);
        out
    })
}

/// One chunk of one page; `None` where pco refuses, as it does above its own limit of numbers.
fn pco<T: Number>(numbers: &[T], delta: DeltaSpec) -> Option<Vec<u8>> {
    let config = ChunkConfig::default()
        .with_delta_spec(delta)
        .with_paging_spec(PagingSpec::Exact(vec![numbers.len()]));
    let file = FileCompressor::default();
    let mut out = Vec::new();
    file.write_header(&mut out).ok()?;
    let mut chunk = file.chunk_compressor(numbers, &config).ok()?;
    chunk.write_meta(&mut out).ok()?;
    chunk.write_page(0, &mut out).ok()?;
    Some(out)
}

fn unpco<T: Number + Default>(bytes: &[u8], count: usize) -> Option<Vec<T>> {
    let (file, rest) = FileDecompressor::new(bytes).ok()?;
    // The mode is the lowest half byte; a dictionary's announced length is allocated before it is read.
    if rest.first()? & 0x0f >= DICTIONARY {
        return None;
    }
    let (mut chunk, rest) = file.chunk_decompressor::<T, _>(rest).ok()?;
    let meta = chunk.meta();
    let is_plain = matches!(
        meta.mode,
        Mode::Classic | Mode::IntMult(_) | Mode::FloatMult(_) | Mode::FloatQuant(_)
    ) && matches!(
        meta.delta_encoding,
        DeltaEncoding::NoOp | DeltaEncoding::Consecutive { .. }
    );
    if !is_plain {
        return None;
    }
    let mut page = chunk.page_decompressor(rest, count).ok()?;
    let mut numbers = vec![T::default(); count];
    let progress = page.read(&mut numbers).ok()?;
    let is_whole = progress.n_processed == count && progress.finished && page.into_src().is_empty();
    is_whole.then_some(numbers)
}
