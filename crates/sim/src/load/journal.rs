//! Batches as a logger would have them in its journal: encoded, chained, numbered.
//!
//! Owns nothing of the codec, which is `protocol`'s; only cuts rows into batches of one size.

use anyhow::{Result, anyhow};
use fieldkeep_protocol::batch::{self, Cell, ColumnInput, Header};
use fieldkeep_protocol::channels::{self, Channel, Kind};
use fieldkeep_protocol::{ClockQuality, Epoch, Reason, limits};

use super::walk::{CHANNELS, Row, Station, decimals};

/// The configuration revision of all batches here.
const REVISION: u32 = 1;

/// Encoded batches and how many values are in them.
#[derive(Clone, Debug, Default)]
pub struct Journal {
    /// In the order of their numbers.
    pub batches: Vec<Vec<u8>>,
    /// Values that are there.
    pub points: u64,
}

/// Writes one epoch batch by batch.
pub struct Writer {
    epoch: Epoch,
    next: u64,
    prev: [u8; 32],
    out: Vec<u8>,
    journal: Journal,
}

impl Writer {
    /// An epoch without records yet.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self {
            epoch: Epoch(epoch),
            next: 0,
            prev: [0; 32],
            out: vec![0; limits::BATCH_BYTES],
            journal: Journal::default(),
        }
    }

    /// Adds one batch; `columns` holds one cell a time for each channel.
    pub fn batch(&mut self, times: &[i64], columns: &[Vec<Cell>]) -> Result<()> {
        let inputs: Vec<ColumnInput<'_>> = (0..)
            .zip(columns)
            .map(|(channel, values)| ColumnInput { channel, values })
            .collect();
        let header = Header {
            epoch: self.epoch,
            first: self.next,
            count: u32::try_from(times.len())?,
            prev: self.prev,
            boot: 1,
            ticks_us: self.next.saturating_mul(1_000_000),
            clock: ClockQuality::Synchronised,
            revision: REVISION,
        };
        let length = batch::encode(&header, times, &[], &inputs, &mut self.out)
            .map_err(|error| anyhow!("a batch cannot be encoded: {error}"))?;
        let bytes = self.out.get(..length).unwrap_or_default().to_vec();
        self.prev = batch::hash(&bytes);
        self.next += times.len() as u64;
        let present = |cells: &Vec<Cell>| cells.iter().filter(|cell| cell.value.is_some()).count();
        self.journal.points += columns.iter().map(present).sum::<usize>() as u64;
        self.journal.batches.push(bytes);
        Ok(())
    }

    /// All that was written.
    #[must_use]
    pub fn finish(self) -> Journal {
        self.journal
    }
}

/// A station's whole journal: its first `channels` channels in batches of `records`.
pub fn of_station(
    station: &Station,
    epoch: u64,
    channels: usize,
    records: usize,
) -> Result<Journal> {
    let mut writer = Writer::new(epoch);
    let mut times = Vec::with_capacity(records);
    let mut columns = vec![Vec::with_capacity(records); channels.min(CHANNELS)];
    let mut flush = |times: &mut Vec<i64>, columns: &mut Vec<Vec<Cell>>| {
        let done = if times.is_empty() {
            Ok(())
        } else {
            writer.batch(times, columns)
        };
        times.clear();
        columns.iter_mut().for_each(Vec::clear);
        done
    };
    for row in station.rows() {
        times.push(row.time_us);
        for (channel, column) in columns.iter_mut().enumerate() {
            column.push(cell(&row, channel));
        }
        if times.len() == records {
            flush(&mut times, &mut columns)?;
        }
    }
    flush(&mut times, &mut columns)?;
    Ok(writer.finish())
}

fn cell(row: &Row, channel: usize) -> Cell {
    row.value(channel)
        .map_or(Cell::missing(Reason::SensorError), Cell::measured)
}

/// The channel table of an epoch: `e0`, `e1`, … every `interval_us`.
pub fn table(epoch: u64, channels: usize, interval_us: i64) -> Result<Vec<u8>> {
    let names: Vec<String> = (0..channels).map(name).collect();
    let named: Vec<(&str, u8)> = names
        .iter()
        .enumerate()
        .map(|(channel, name)| (name.as_str(), u8::try_from(decimals(channel)).unwrap_or(0)))
        .collect();
    named_table(epoch, &named, interval_us)
}

/// The channel table of an epoch with channels of these names and decimals.
pub fn named_table(epoch: u64, named: &[(&str, u8)], interval_us: i64) -> Result<Vec<u8>> {
    let channels: Vec<Channel<'_>> = (0..)
        .zip(named)
        .map(|(index, (name, digits))| Channel {
            index,
            name,
            unit: "1",
            kind: Kind::Number,
            digits: *digits,
            interval_us: interval_us.unsigned_abs(),
            label: None,
        })
        .collect();
    let mut out = vec![0; limits::CHANNELS_BYTES];
    let length = channels::encode(Epoch(epoch), REVISION, &channels, &mut out)
        .map_err(|error| anyhow!("a channel table cannot be encoded: {error}"))?;
    out.truncate(length);
    Ok(out)
}

/// The name of a channel.
#[must_use]
pub fn name(channel: usize) -> String {
    format!("e{channel}")
}

#[cfg(test)]
mod tests {
    use fieldkeep_protocol::batch::Batch;

    use super::*;
    use crate::load::walk::MINUTE_US;

    #[test]
    fn a_journal_holds_every_row_in_a_chain() {
        let station = Station {
            number: 7,
            start_us: 1_000_000_000,
            step_us: MINUTE_US,
            records: 3_000,
        };
        let journal = of_station(&station, 5, CHANNELS, 60).unwrap();
        let (mut prev, mut records, mut times) = ([0; 32], 0, Vec::new());
        for bytes in &journal.batches {
            let decoded = Batch::decode(bytes).unwrap();
            assert_eq!(decoded.header().prev, prev);
            assert_eq!(decoded.header().first, records);
            records += u64::from(decoded.header().count);
            times.extend(decoded.times());
            prev = batch::hash(bytes);
        }
        let rows: Vec<Row> = station.rows().collect();
        assert_eq!(
            times,
            rows.iter().map(|row| row.time_us).collect::<Vec<_>>()
        );
        let present = rows.iter().flat_map(|row| row.units).flatten().count();
        assert_eq!(journal.points, present as u64);
    }
}
