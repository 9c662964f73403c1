//! Proves on the host that the protocol runs without the standard library and without an allocator.
//!
//! This library has its own panic handler. If any dependency linked `std`, there would be two and the build would stop with
//! E0152; if anything allocated, it would stop for want of a global allocator. Nothing runs it: that it builds is the proof.
#![no_std]

use core::panic::PanicInfo;

use fieldkeep_protocol::batch::{self, Batch, Cell, ColumnInput, Header};
use fieldkeep_protocol::channels::{self, Channel, Channels, Kind};
use fieldkeep_protocol::message::{Ledger, Level, LogLine, State, Time};
use fieldkeep_protocol::seal::{self, Payload, Seal};
use fieldkeep_protocol::topic::{Topic, Up, parse};
use fieldkeep_protocol::{ClockQuality, DeviceId, Epoch, Reason, Spans, Timestamp};

/// Stops for ever, as a microcontroller would until its watchdog bites.
#[panic_handler]
fn stop(_: &PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}

/// Writes and reads one of everything; the number of bytes, or 0 when something was refused.
pub extern "C" fn protocol_without_std() -> usize {
    let mut buffer = [0; 2_048];
    let lengths = [
        one_batch(&mut buffer),
        one_table(&mut buffer),
        one_seal(&mut buffer),
        messages(&mut buffer),
        one_topic(),
    ];
    lengths
        .into_iter()
        .try_fold(0usize, |sum, length| sum.checked_add(length?))
        .unwrap_or(0)
}

fn one_batch(buffer: &mut [u8]) -> Option<usize> {
    let header = Header {
        epoch: Epoch(1),
        first: 0,
        count: 3,
        prev: [0; 32],
        boot: 1,
        ticks_us: 0,
        clock: ClockQuality::Unset,
        revision: 1,
    };
    let values = [
        Cell::measured(20.1),
        Cell::missing(Reason::SensorError),
        Cell::measured(20.3),
    ];
    let columns = [ColumnInput {
        channel: 0,
        values: &values,
    }];
    let length = batch::encode(&header, &[0, 1_000_000, 2_000_000], &[], &columns, buffer).ok()?;
    let bytes = buffer.get(..length)?;
    let decoded = Batch::decode(bytes).ok()?;
    let cells: usize = decoded.columns().map(|column| column.cells().count()).sum();
    Some(length + decoded.times().count() + cells + usize::from(batch::hash(bytes)[0]))
}

fn one_table(buffer: &mut [u8]) -> Option<usize> {
    let channel = Channel {
        index: 0,
        name: "level",
        unit: "m",
        kind: Kind::Number,
        digits: 3,
        interval_us: 1_000_000,
        label: None,
    };
    let length = channels::encode(Epoch(1), 1, &[channel], buffer).ok()?;
    Some(Channels::decode(buffer.get(..length)?).ok()?.iter().count())
}

fn one_seal(buffer: &mut [u8]) -> Option<usize> {
    let payload = Payload {
        epoch: Epoch(1),
        last: 2,
        hash: [0; 32],
        time: Timestamp::from_micros(0),
        dropped: Spans::EMPTY,
    };
    let mut bytes = [0; 128];
    let length = payload.encode(&mut bytes).ok()?;
    let length = seal::assemble(&[0; 32], bytes.get(..length)?, &[0; 64], buffer).ok()?;
    let seal = Seal::decode(buffer.get(..length)?).ok()?;
    seal.signed_bytes(&mut [0; 256]).ok()
}

fn messages(buffer: &mut [u8]) -> Option<usize> {
    let clock = ClockQuality::FreeRunning { age_s: 9 };
    let state = State {
        epoch: Epoch(1),
        oldest: None,
        next: 3,
        dropped_total: 0,
        journal_bytes: 4_096,
        uptime_s: 1,
        clock,
        version: "0.1.0",
    };
    let length = state.encode(buffer).ok()?;
    State::decode(buffer.get(..length)?).ok()?;
    let line = LogLine {
        time: Timestamp::from_micros(0),
        level: Level::Info,
        code: "start",
        text: "started",
    };
    let length = line.encode(buffer).ok()?;
    LogLine::decode(buffer.get(..length)?).ok()?;
    let length = Ledger {
        epoch: Epoch(1),
        next: 3,
        holes: Spans::EMPTY,
    }
    .encode(buffer)
    .ok()?;
    Ledger::decode(buffer.get(..length)?).ok()?;
    let length = Time {
        now: Timestamp::from_micros(0),
    }
    .encode(buffer)
    .ok()?;
    Time::decode(buffer.get(..length)?).ok()?;
    Some(length)
}

fn one_topic() -> Option<usize> {
    let topic = Topic::up(DeviceId::from_parts(1, [0; 10]), Up::Batch);
    parse(&topic).map(|_| topic.len())
}
