//! What a channel has in each row, as runs of states.
//!
//! Nearly always there is one state, or values take turns with one reason why there are none: both cost a few bytes.

use super::State;
use crate::cold::bytes::{Reader, put_block, put_uint};
use crate::cold::numbers;

/// One state in all rows.
const ONE: u8 = 0;
/// Two that take turns: their codes, then the lengths of the even and of the odd runs.
const TURNS: u8 = 1;
/// Any: codes and lengths of even and odd runs.
const ANY: u8 = 2;

/// Writes the runs.
pub(super) fn write(states: &[(State, usize)]) -> Vec<u8> {
    let every = |offset: usize| states.iter().skip(offset).step_by(2);
    let lengths = |offset| {
        let lengths = every(offset).map(|(_, length)| i64::try_from(*length).unwrap_or(i64::MAX));
        numbers::pack(&lengths.collect::<Vec<_>>())
    };
    let mut out = Vec::new();
    match states {
        [] => {}
        [(state, _)] => out.extend([ONE, state.code()]),
        [(even, _), (odd, _), ..]
            if every(0).all(|(state, _)| state == even)
                && every(1).all(|(state, _)| state == odd) =>
        {
            out.extend([TURNS, even.code(), odd.code()]);
            put_uint(&mut out, states.len() as u64);
            put_block(&mut out, &lengths(0));
            put_block(&mut out, &lengths(1));
        }
        _ => {
            out.push(ANY);
            put_uint(&mut out, states.len() as u64);
            for offset in [0, 1] {
                let codes = every(offset).map(|(state, _)| i64::from(state.code()));
                put_block(&mut out, &numbers::pack(&codes.collect::<Vec<_>>()));
            }
            put_block(&mut out, &lengths(0));
            put_block(&mut out, &lengths(1));
        }
    }
    out
}

/// Reads the runs of `rows` rows.
pub(super) fn read(bytes: &[u8], rows: usize) -> Option<Vec<(State, usize)>> {
    if rows == 0 {
        return bytes.is_empty().then(Vec::new);
    }
    let mut reader = Reader::new(bytes);
    match reader.byte()? {
        ONE => {
            let state = State::from_code(reader.byte()?.into())?;
            reader.is_empty().then(|| vec![(state, rows)])
        }
        TURNS => {
            let codes = [reader.byte()?, reader.byte()?].map(i64::from);
            let count: usize = reader.small()?;
            runs(reader, count, rows, |index| codes.get(index % 2).copied())
        }
        ANY => read_v1(reader, rows),
        _ => None,
    }
}

/// Reads runs of any states, which is all that version 1 had.
pub(super) fn read_v1(mut reader: Reader<'_>, rows: usize) -> Option<Vec<(State, usize)>> {
    let count: usize = reader.small()?;
    if count > rows {
        return None;
    }
    let mut column = |count| numbers::unpack(reader.block()?, count);
    let codes = [column(count.div_ceil(2))?, column(count / 2)?];
    runs(reader, count, rows, |index| {
        codes.get(index % 2)?.get(index / 2).copied()
    })
}

fn runs(
    mut reader: Reader<'_>,
    count: usize,
    rows: usize,
    code: impl Fn(usize) -> Option<i64>,
) -> Option<Vec<(State, usize)>> {
    if count > rows {
        return None;
    }
    let mut column = |count| numbers::unpack(reader.block()?, count);
    let lengths = [column(count.div_ceil(2))?, column(count / 2)?];
    if !reader.is_empty() {
        return None;
    }
    let mut total = 0_usize;
    let mut runs = Vec::with_capacity(count);
    for index in 0..count {
        let length = *lengths.get(index % 2)?.get(index / 2)?;
        let length = usize::try_from(length).ok().filter(|length| *length > 0)?;
        total = total.checked_add(length).filter(|total| *total <= rows)?;
        runs.push((State::from_code(code(index)?)?, length));
    }
    (total == rows).then_some(runs)
}
