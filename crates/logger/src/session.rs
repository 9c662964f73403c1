//! Owns the course of a session with the cloud: connect, subscribe, tell the state, hear the ledger, deliver.
//! It decides and does no I/O: bytes and time come in, bytes and events go out.
//! Promises that nothing of the journal is published before the cloud's ledger was heard or waited for, that no more
//! publishes are open than the cloud allows, and that only reason code 0 counts as durable.

use std::collections::{BTreeMap, VecDeque};

use fieldkeep_protocol::{
    DeviceId, Span,
    message::{Ledger, Time},
    puback::Code,
    topic::{self, Down, Up},
};

use crate::{journal::BatchKey, mqtt::Incoming};

mod wire;

pub use wire::Way;
use wire::Wire;

const SECOND_US: u64 = 1_000_000;
/// How long the cloud may take to accept a session.
const ACCEPT_US: u64 = 20 * SECOND_US;
/// How long an unset clock waits for the cloud's time.
const TIME_US: u64 = 10 * SECOND_US;
/// How long delivery waits for the ledger.
const LEDGER_US: u64 = 10 * SECOND_US;
/// How long the cloud may take to answer a publish.
const ANSWER_US: u64 = 90 * SECOND_US;
/// The first and the longest pause when the cloud asks to come later.
const PAUSE_US: (u64, u64) = (2 * SECOND_US, 300 * SECOND_US);

/// What is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A closed batch.
    Batch(BatchKey),
    /// The channel table of a revision.
    Table {
        /// Its epoch.
        epoch: u64,
        /// Its revision.
        revision: u32,
    },
    /// A seal.
    Seal {
        /// Its epoch.
        epoch: u64,
        /// The last record it covers.
        last: u64,
        /// When it was made.
        time_us: i64,
    },
    /// The state of the device.
    State,
    /// A line of the device's log.
    Log,
}

impl Item {
    fn topic(&self) -> Up {
        match self {
            Item::Batch(_) => Up::Batch,
            Item::Table { .. } => Up::Channels,
            Item::Seal { .. } => Up::Seal,
            Item::State => Up::State,
            Item::Log => Up::Log,
        }
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The cloud's time.
    Time {
        /// Microseconds since 1970 UTC.
        unix_us: i64,
    },
    /// The cloud wants to know how the journal is: answer with `tell_state`.
    WantsState,
    /// What the cloud has of an epoch.
    Ledger {
        /// The epoch.
        epoch: u64,
        /// The first number it never saw.
        next: u64,
        /// What it lacks below that.
        holes: Vec<Span>,
    },
    /// From now on `publish` works.
    Ready,
    /// The cloud has it for good.
    Durable(Item),
    /// The cloud can never read it.
    Undecodable(Item),
    /// The cloud cannot take it now: it is to be offered again.
    Later(Item),
    /// The session is over.
    Ended {
        /// Why.
        reason: String,
        /// Whether the cloud refused, rather than the line failing.
        refused: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Connecting,
    Subscribing,
    AwaitingTime,
    Checking,
    Telling,
    AwaitingLedger,
    Delivering,
    Ended,
}

/// One session.
pub struct Session {
    wire: Wire,
    device: DeviceId,
    clock_unset: bool,
    phase: Phase,
    deadline: Option<u64>,
    window: usize,
    open: BTreeMap<u16, (Item, u64)>,
    awaited_epoch: Option<u64>,
    paused_until: Option<u64>,
    pause_us: u64,
    events: VecDeque<Event>,
}

impl Session {
    /// Begins a session, or a visit, on a connection whose server has been checked. With an unset clock nothing but the request for
    /// the time goes out until `trust` is called.
    pub fn begin(way: Way, device: DeviceId, clock_unset: bool, now_us: u64) -> Session {
        let wire = Wire::open(way, device, now_us);
        let mut session = Session {
            window: wire.window(),
            wire,
            device,
            clock_unset,
            phase: Phase::Connecting,
            deadline: Some(now_us + ACCEPT_US),
            open: BTreeMap::new(),
            awaited_epoch: None,
            paused_until: None,
            pause_us: PAUSE_US.0,
            events: VecDeque::new(),
        };
        session.digest(now_us);
        session
    }

    /// Takes bytes from the cloud.
    pub fn handle_bytes(&mut self, bytes: &[u8], now_us: u64) {
        self.wire.handle_bytes(bytes, now_us);
        self.digest(now_us);
    }

    /// When `handle_timeout` is to be called.
    pub fn poll_timeout(&self) -> Option<u64> {
        let oldest = self.open.values().map(|(_, sent)| sent + ANSWER_US).min();
        [
            self.wire.poll_timeout(),
            self.deadline,
            self.paused_until,
            oldest,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Lets time pass.
    pub fn handle_timeout(&mut self, now_us: u64) {
        self.wire.handle_timeout(now_us);
        self.digest(now_us);
        self.paused_until = self.paused_until.filter(|until| *until > now_us);
        if self
            .open
            .values()
            .any(|(_, sent)| sent + ANSWER_US <= now_us)
        {
            self.end_with("the cloud does not acknowledge what it is sent", false);
        }
        if self.deadline.is_none_or(|deadline| deadline > now_us) {
            return;
        }
        self.deadline = None;
        match self.phase {
            Phase::Connecting | Phase::Subscribing => {
                self.end_with("the cloud did not accept the session in time", false)
            }
            // Without its time the newest provable one has to do; the records say that the clock is unset.
            Phase::AwaitingTime | Phase::Checking => self.trust(),
            Phase::Telling => {}
            Phase::AwaitingLedger => self.ready(),
            Phase::Delivering | Phase::Ended => {}
        }
    }

    /// Bytes for the cloud.
    pub fn take_output(&mut self) -> Vec<u8> {
        self.wire.take_output()
    }

    /// The next thing that happened.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// The server's certificate passed by the time that the cloud told: the session goes on.
    pub fn trust(&mut self) {
        if matches!(self.phase, Phase::AwaitingTime | Phase::Checking) {
            self.phase = Phase::Telling;
            self.deadline = None;
            self.events.push_back(Event::WantsState);
        }
    }

    /// Publishes the state of each epoch that is kept, the current one last. Its ledger is waited for.
    pub fn tell_state(&mut self, states: &[Vec<u8>], current_epoch: u64, now_us: u64) {
        if self.phase != Phase::Telling {
            return;
        }
        // A cloud that allows fewer open publishes hears of the newest epochs only.
        for state in states.iter().skip(states.len().saturating_sub(self.window)) {
            self.send(Item::State, state, now_us);
        }
        self.awaited_epoch = Some(current_epoch);
        self.phase = Phase::AwaitingLedger;
        self.deadline = Some(now_us + LEDGER_US);
    }

    /// How many more items may be published now.
    pub fn vacancy(&self) -> usize {
        if self.phase != Phase::Delivering || self.paused_until.is_some() {
            return 0;
        }
        self.window.saturating_sub(self.open.len())
    }

    /// How many items are not answered yet.
    pub fn in_flight(&self) -> usize {
        self.open.len()
    }

    /// Whether an item is published and not answered yet.
    pub fn is_in_flight(&self, item: &Item) -> bool {
        self.open.values().any(|(open, _)| open == item)
    }

    /// Whether a seal is published and not answered yet.
    pub fn is_sealing(&self) -> bool {
        self.open
            .values()
            .any(|(item, _)| matches!(item, Item::Seal { .. }))
    }

    /// Publishes an item; `false` if it could not be taken.
    pub fn publish(&mut self, item: Item, bytes: &[u8], now_us: u64) -> bool {
        self.vacancy() > 0 && self.send(item, bytes, now_us)
    }

    /// Ends the session in order; what is not answered is sent again in the next one.
    pub fn end(&mut self, now_us: u64) {
        if self.phase != Phase::Ended {
            self.wire.disconnect(now_us);
            self.phase = Phase::Ended;
            self.events.push_back(Event::Ended {
                reason: "ended by this device".to_owned(),
                refused: false,
            });
        }
    }

    /// Ends the session for a reason of the caller's.
    pub fn fail(&mut self, reason: &str) {
        self.end_with(reason, false);
    }

    /// Whether it is over.
    pub fn is_ended(&self) -> bool {
        self.phase == Phase::Ended
    }

    /// Whether the cloud asked to come later.
    pub fn is_paused(&self) -> bool {
        self.paused_until.is_some()
    }

    fn send(&mut self, item: Item, bytes: &[u8], now_us: u64) -> bool {
        match self.wire.publish(self.device, item.topic(), bytes, now_us) {
            Some(packet) => {
                self.open.insert(packet, (item, now_us));
                true
            }
            None => {
                self.digest(now_us);
                false
            }
        }
    }

    fn digest(&mut self, now_us: u64) {
        for incoming in self.wire.take_incoming() {
            self.take(incoming, now_us);
        }
        if self.wire.is_ended() {
            self.end_with("the cloud closed the connection", false);
        }
    }

    fn take(&mut self, incoming: Incoming, now_us: u64) {
        match incoming {
            Incoming::Connected { window } => {
                self.window = usize::from(window).clamp(1, self.wire.window());
                self.phase = Phase::Subscribing;
                self.wire.subscribe(self.device, now_us);
                // An exchange has its answer at once; MQTT's comes later.
                self.digest(now_us);
            }
            Incoming::Subscribed { granted: false } => {
                self.end_with("the cloud refuses the subscription", true)
            }
            Incoming::Subscribed { granted: true } if self.phase == Phase::Subscribing => {
                self.phase = if self.clock_unset {
                    Phase::AwaitingTime
                } else {
                    Phase::Checking
                };
                self.deadline = Some(now_us + TIME_US);
                if !self.clock_unset {
                    self.trust();
                }
            }
            Incoming::Subscribed { .. } => {}
            Incoming::Message { topic, payload } => self.take_message(&topic, &payload),
            Incoming::Answered { packet, code } => self.take_answer(packet, code, now_us),
            Incoming::Refused { reason } => {
                self.end_with(&format!("the cloud refuses the session: {reason}"), true)
            }
            Incoming::Disconnected { reason } => {
                self.end_with(&format!("the cloud ended the session: {reason}"), false)
            }
            Incoming::Broken { reason } => self.end_with(&reason, false),
        }
    }

    fn take_message(&mut self, topic: &str, payload: &[u8]) {
        match topic::parse_down(topic) {
            Some((device, Down::Time)) if device == self.device => {
                if let Ok(time) = Time::decode(payload) {
                    if self.phase == Phase::AwaitingTime {
                        self.phase = Phase::Checking;
                    }
                    self.events.push_back(Event::Time {
                        unix_us: time.now.as_micros(),
                    });
                }
            }
            Some((device, Down::Ledger)) if device == self.device => {
                if let Ok(ledger) = Ledger::decode(payload) {
                    self.events.push_back(Event::Ledger {
                        epoch: ledger.epoch.0,
                        next: ledger.next,
                        holes: ledger.holes.iter().collect(),
                    });
                    if self.phase == Phase::AwaitingLedger
                        && self.awaited_epoch == Some(ledger.epoch.0)
                    {
                        self.ready();
                    }
                }
            }
            _ => tracing::debug!("a message on a topic that this logger does not know"),
        }
    }

    fn take_answer(&mut self, packet: u16, code: u8, now_us: u64) {
        let Some((item, _)) = self.open.remove(&packet) else {
            return;
        };
        match Code::from_u8(code) {
            Some(Code::Durable) => {
                self.pause_us = PAUSE_US.0;
                self.events.push_back(Event::Durable(item));
            }
            Some(Code::Undecodable) => self.events.push_back(Event::Undecodable(item)),
            Some(Code::NotYourTopic) => {
                self.end_with("the cloud says that this is not this device's topic", true)
            }
            Some(Code::Quota) | None => {
                if self.paused_until.is_none() {
                    self.paused_until = Some(now_us + self.pause_us);
                    self.pause_us = (self.pause_us * 2).min(PAUSE_US.1);
                }
                self.events.push_back(Event::Later(item));
            }
        }
    }

    fn ready(&mut self) {
        self.phase = Phase::Delivering;
        self.deadline = None;
        self.events.push_back(Event::Ready);
    }

    fn end_with(&mut self, reason: &str, refused: bool) {
        if self.phase != Phase::Ended {
            self.phase = Phase::Ended;
            self.events.push_back(Event::Ended {
                reason: reason.to_owned(),
                refused,
            });
        }
    }
}

#[cfg(test)]
mod tests;
