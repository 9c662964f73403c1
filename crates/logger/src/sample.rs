//! Owns what one sampling yields: the channels of a source, and one cell per channel at one instant.
//! Promises that a cell is either a finite number or absent with a reason, never a made-up number.

use fieldkeep_protocol::{
    batch::Cell,
    channels::{self, Kind},
    record::{Epoch, Reason},
};

/// One channel of a device, as its table tells it to the cloud.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channel {
    /// Its name, `[A-Za-z0-9_.-]`.
    pub name: String,
    /// UCUM code of its unit.
    pub unit: &'static str,
    /// Decimal places worth showing.
    pub digits: u8,
    /// A name for people.
    pub label: Option<String>,
}

/// The channels of one configuration and how often they are sampled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels {
    /// Nominal interval; 0 when records come as they come.
    pub interval_us: u64,
    /// The channels; a record has one cell for each, in this order.
    pub list: Vec<Channel>,
}

impl Channels {
    /// The table's bytes under an epoch and a revision number.
    pub fn encode(
        &self,
        epoch: u64,
        revision: u32,
    ) -> Result<Vec<u8>, fieldkeep_protocol::EncodeError> {
        let rows: Vec<channels::Channel<'_>> = self
            .list
            .iter()
            .zip(0u16..)
            .map(|(channel, index)| channels::Channel {
                index,
                name: &channel.name,
                unit: channel.unit,
                kind: Kind::Number,
                digits: channel.digits,
                interval_us: self.interval_us,
                label: channel.label.as_deref(),
            })
            .collect();
        let mut bytes = vec![0; fieldkeep_protocol::limits::CHANNELS_BYTES];
        let length = channels::encode(Epoch(epoch), revision, &rows, &mut bytes)?;
        bytes.truncate(length);
        Ok(bytes)
    }
}

/// One value per channel at one instant.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// When, by the device's clock.
    pub time_us: i64,
    /// One cell per channel.
    pub cells: Vec<Cell>,
}

/// A measured value; what is not a finite number is a sensor error.
pub fn value(number: f64) -> Cell {
    if number.is_finite() {
        Cell::measured(number)
    } else {
        absent(Reason::SensorError)
    }
}

/// A value rounded to the decimal places that its sensor resolves, so that it is stored as short as it is true.
pub fn rounded(number: f64, digits: u8) -> Cell {
    let factor = 10f64.powi(i32::from(digits));
    // Adding zero makes a negative zero a plain one.
    value((number * factor).round() / factor + 0.0)
}

/// No value, and why.
pub fn absent(reason: Reason) -> Cell {
    Cell::missing(reason)
}
