//! One of each message, with every field away from its default, shared by the golden and the damage tests.

use fieldkeep_protocol::batch::{self, Cell, ColumnInput, Header, Step};
use fieldkeep_protocol::channels::{self, Channel, Kind};
use fieldkeep_protocol::exchange::{Acknowledged, Answer, Message, Request};
use fieldkeep_protocol::message::{Ledger, Level, LogLine, State, Time};
use fieldkeep_protocol::seal::{self, Payload};
use fieldkeep_protocol::topic::{Down, Up};
use fieldkeep_protocol::{ClockQuality, Epoch, Flag, Reason, Span, Spans, Timestamp, limits};

/// The epoch of all samples.
pub(crate) const EPOCH: Epoch = Epoch(0xfedc_ba98_7654_3210);

/// Writes into a buffer that is large enough and cuts it to length.
pub(crate) fn encoded<E: std::fmt::Debug>(
    encode: impl FnOnce(&mut [u8]) -> Result<usize, E>,
) -> Vec<u8> {
    let mut out = vec![0; limits::EXCHANGE_BYTES];
    let length = encode(&mut out).unwrap();
    out.truncate(length);
    out
}

/// A batch's content: 200 records with a gap and a clock step, seven columns, one for each way to write values.
pub(crate) struct Content {
    pub(crate) header: Header,
    pub(crate) times: Vec<i64>,
    pub(crate) steps: Vec<Step>,
    pub(crate) columns: Vec<(u16, Vec<Cell>)>,
}

impl Content {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let columns: Vec<_> = self
            .columns
            .iter()
            .map(|(channel, values)| ColumnInput {
                channel: *channel,
                values,
            })
            .collect();
        encoded(|out| batch::encode(&self.header, &self.times, &self.steps, &columns, out))
    }
}

/// A small generator with a fixed sequence, so that samples never change.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
}

/// The batch sample.
pub(crate) fn batch_content() -> Content {
    let header = Header {
        epoch: EPOCH,
        first: 1_000_000,
        count: 200,
        prev: [0x5a; 32],
        boot: 17,
        ticks_us: 123_456_789_012,
        clock: ClockQuality::FreeRunning { age_s: 86_400 },
        revision: 3,
    };
    let times = (0..200)
        .map(|i| 1_767_225_600_000_000 + i * 10_000_000 + if i < 150 { 0 } else { -2_500_000 });
    let steps = vec![Step {
        record: 150,
        by_us: -2_500_000,
    }];
    let mut noise = Noise(1);
    let mut column = |cell: &mut dyn FnMut(i64, i64) -> Cell| -> Vec<Cell> {
        (0..200)
            .map(|i| cell(i, (noise.next() % 7) as i64 - 3))
            .collect()
    };
    let mut level = 2_500;
    let walk = column(&mut |_, chance| {
        level += chance;
        Cell::measured(level as f64 / 1_000.0)
    });
    let ramp = column(&mut |i, _| Cell::flagged((i * 25) as f64, Flag::Pass));
    let sixteenths = column(&mut |_, chance| Cell::measured((330 + chance) as f64 / 16.0));
    let computed = column(&mut |i, _| Cell::measured((i as f64 + 0.5).sqrt()));
    let spikes = column(&mut |i, chance| {
        let flag = if i % 50 == 49 {
            Flag::Suspect
        } else {
            Flag::NotEvaluated
        };
        Cell::flagged(
            if i % 50 == 49 {
                99_999.9
            } else {
                7.0 + chance as f64 / 10.0
            },
            flag,
        )
    });
    let sparse = column(&mut |i, chance| match i % 10 {
        0 => Cell::measured(chance as f64),
        9 if i > 100 => Cell::missing(Reason::SensorError),
        8 if i > 150 => Cell::missing(Reason::Dropped),
        _ => Cell::missing(Reason::NotSampled),
    });
    let absent = column(&mut |_, _| Cell::missing(Reason::NotSampled));
    Content {
        header,
        times: times.collect(),
        steps,
        columns: vec![
            (0, walk),
            (1, ramp),
            (2, sixteenths),
            (5, computed),
            (300, spikes),
            (4_000, sparse),
            (65_535, absent),
        ],
    }
}

/// The channel table sample.
pub(crate) const CHANNELS: [Channel<'static>; 3] = [
    Channel {
        index: 0,
        name: "modbus.3.flow",
        unit: "L/s",
        kind: Kind::Number,
        digits: 3,
        interval_us: 10_000_000,
        label: Some("Durchfluß"),
    },
    Channel {
        index: 1,
        name: "door",
        unit: "1",
        kind: Kind::Boolean,
        digits: 0,
        interval_us: 0,
        label: None,
    },
    Channel {
        index: 300,
        name: "pump-state_A",
        unit: "1",
        kind: Kind::State,
        digits: 0,
        interval_us: 600_000_000,
        label: None,
    },
];

/// The channel table sample, encoded.
pub(crate) fn channels_bytes() -> Vec<u8> {
    encoded(|out| channels::encode(EPOCH, 3, &CHANNELS, out))
}

/// Two spans.
pub(crate) const SPANS: [Span; 2] = [
    Span { first: 0, last: 99 },
    Span {
        first: 4_000,
        last: 4_000,
    },
];

/// The seal's certificate hash.
pub(crate) const X5T: [u8; 32] = [0xc7; 32];

/// The seal's payload.
pub(crate) const PAYLOAD: Payload<'static> = Payload {
    epoch: EPOCH,
    last: 1_000_199,
    hash: [0x3c; 32],
    time: Timestamp::from_micros(1_767_225_600_123_456),
    dropped: Spans::new(&SPANS),
};

/// The seal sample, with a signature that nobody made.
pub(crate) fn seal_bytes() -> Vec<u8> {
    let payload = encoded(|out| PAYLOAD.encode(out));
    encoded(|out| seal::assemble(&X5T, &payload, &[0x99; 64], out))
}

/// The state sample.
pub(crate) const STATE: State<'static> = State {
    epoch: EPOCH,
    oldest: Some(900_000),
    next: 1_000_200,
    dropped_total: 101,
    journal_bytes: 67_108_864,
    uptime_s: 123_456,
    clock: ClockQuality::Synchronised,
    version: "0.1.0+linux",
};

/// The log sample.
pub(crate) const LOG: LogLine<'static> = LogLine {
    time: Timestamp::from_micros(-1),
    level: Level::Warning,
    code: "sensor.timeout",
    text: "modbus 3 did not answer – tried 3 times",
};

/// The ledger sample.
pub(crate) const LEDGER: Ledger<'static> = Ledger {
    epoch: EPOCH,
    next: 1_000_200,
    holes: Spans::new(&SPANS),
};

/// The time sample.
pub(crate) const TIME: Time = Time {
    now: Timestamp::from_micros(1_767_225_600_123_456),
};

/// The exchange's request: a state, a table, a batch and bytes that are no log line.
pub(crate) fn exchange_bytes() -> Vec<u8> {
    let (state, batch) = (
        encoded(|out| STATE.encode(out)),
        crate::cbor::Parts::plain().build(),
    );
    let message = |kind, bytes| Message { kind, bytes };
    let table = channels_bytes();
    let messages = [
        message(Up::State, &state[..]),
        message(Up::Channels, &table),
        message(Up::Batch, &batch),
        message(Up::Log, b"?"),
    ];
    encoded(|out| Request::encode(&messages, out))
}

/// What that request's batch made durable.
pub(crate) const ACKNOWLEDGED: [Acknowledged; 2] = [
    Acknowledged {
        epoch: Epoch(0x0102_0304_0506_0708),
        first: 100,
        last: 102,
    },
    Acknowledged {
        epoch: EPOCH,
        first: 0,
        last: 0,
    },
];

/// Its answer.
pub(crate) fn exchanged_bytes() -> Vec<u8> {
    let (ledger, time) = (
        encoded(|out| LEDGER.encode(out)),
        encoded(|out| TIME.encode(out)),
    );
    let messages = [
        Message {
            kind: Down::Time,
            bytes: &time[..],
        },
        Message {
            kind: Down::Ledger,
            bytes: &ledger,
        },
    ];
    encoded(|out| Answer::encode(&[0, 0, 0x97, 0x99], &ACKNOWLEDGED, &messages, out))
}
