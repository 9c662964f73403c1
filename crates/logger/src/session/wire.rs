//! The two ways in which a session speaks: MQTT on a connection that stays, or exchanges on one visit.
//! Decides nothing; each way does what it can and says so in the same events.

use fieldkeep_protocol::{
    DeviceId, limits,
    topic::{Down, Topic, Up},
};

use crate::{
    exchange,
    mqtt::{self, Incoming},
};

/// The most publishes open at once in MQTT, whatever the cloud allows.
const WINDOW: usize = 16;

/// How a session reaches the cloud.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// MQTT on a connection that stays.
    Mqtt,
    /// Exchanges over HTTPS, then silence until the next visit.
    Exchange,
}

pub(super) enum Wire {
    Mqtt(Box<mqtt::Client>),
    Exchange(exchange::Client),
}

impl Wire {
    pub(super) fn open(way: Way, device: DeviceId, now_us: u64) -> Wire {
        match way {
            Way::Mqtt => {
                let client = mqtt::Client::connect(&device.to_string(), now_us);
                Wire::Mqtt(Box::new(client))
            }
            Way::Exchange => Wire::Exchange(exchange::Client::new(device)),
        }
    }

    /// The most messages that may be open at once, whatever the cloud allows.
    pub(super) fn window(&self) -> usize {
        match self {
            Wire::Mqtt(_) => WINDOW,
            Wire::Exchange(_) => limits::EXCHANGE_MESSAGES,
        }
    }

    /// Asks for the ledger and the time.
    pub(super) fn subscribe(&mut self, device: DeviceId, now_us: u64) {
        match self {
            Wire::Mqtt(client) => {
                let topics = [Down::Ledger, Down::Time].map(|kind| Topic::down(device, kind));
                client.subscribe(&[topics[0].as_str(), topics[1].as_str()], now_us);
            }
            Wire::Exchange(client) => client.subscribe(),
        }
    }

    pub(super) fn publish(
        &mut self,
        device: DeviceId,
        kind: Up,
        bytes: &[u8],
        now_us: u64,
    ) -> Option<u16> {
        match self {
            Wire::Mqtt(client) => client.publish(Topic::up(device, kind).as_str(), bytes, now_us),
            Wire::Exchange(client) => client.publish(kind, bytes),
        }
    }

    pub(super) fn handle_bytes(&mut self, bytes: &[u8], now_us: u64) {
        match self {
            Wire::Mqtt(client) => client.handle_bytes(bytes, now_us),
            Wire::Exchange(client) => client.handle_bytes(bytes),
        }
    }

    pub(super) fn poll_timeout(&self) -> Option<u64> {
        match self {
            Wire::Mqtt(client) => client.poll_timeout(),
            // Whoever posts the request has its patience.
            Wire::Exchange(_) => None,
        }
    }

    pub(super) fn handle_timeout(&mut self, now_us: u64) {
        if let Wire::Mqtt(client) = self {
            client.handle_timeout(now_us);
        }
    }

    pub(super) fn disconnect(&mut self, now_us: u64) {
        match self {
            Wire::Mqtt(client) => client.disconnect(now_us),
            Wire::Exchange(client) => client.disconnect(),
        }
    }

    pub(super) fn take_output(&mut self) -> Vec<u8> {
        match self {
            Wire::Mqtt(client) => client.take_output(),
            Wire::Exchange(client) => client.take_output(),
        }
    }

    pub(super) fn take_incoming(&mut self) -> Vec<Incoming> {
        match self {
            Wire::Mqtt(client) => client.take_incoming(),
            Wire::Exchange(client) => client.take_incoming(),
        }
    }

    pub(super) fn is_ended(&self) -> bool {
        match self {
            Wire::Mqtt(client) => client.is_ended(),
            Wire::Exchange(client) => client.is_ended(),
        }
    }
}
