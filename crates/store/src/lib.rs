//! Measurement store of Fieldkeep over SQL: batches, ledger, scans.
//!
//! Owns everything a device measured. Promises: what [`Store::append`] answered is durable; every acknowledged batch is
//! there once; nothing is hidden, whatever the order, repetition or forking of arrivals; payloads are encrypted under
//! their project's key and bound to their place. Knows no HTTP and no users: callers prove access before they call, and
//! say which device channels an element is read from. Reads no clock. Also lends its SQL layer ([`sql`]) to the
//! catalogue, so that one place knows the engines.

mod append;
mod arrivals;
mod audit;
mod buckets;
mod changes;
mod cipher;
mod clocks;
mod cold;
mod completeness;
mod days;
mod devices;
mod error;
mod explain;
mod feed;
mod gaps;
mod judge;
mod kept;
mod known;
mod lanes;
mod latest;
mod ledger;
mod projects;
mod proposals;
mod quarantine;
mod ranges;
mod restamp;
mod retention;
mod scan;
mod settle;
mod sizes;
mod spans;
pub mod sql;
mod stamp;
mod store;
mod stream;
mod sweep;
mod tables;
mod tiers;
mod writer;

pub use append::{ChannelsReceipt, Outcome, Receipt};
pub use arrivals::{Arrival, Arrived, ArrivedChannel};
pub use audit::{Audit, Figures, Opened};
pub use buckets::{Bucket, Buckets, MOST_BUCKETS, MOST_BUCKETS_TOGETHER, Outline};
pub use changes::{Change, ChangeCause, Changes, Revision};
pub use cipher::{ProjectKey, ProjectKeyFuture, ProjectKeys};
pub use clocks::{ClockStamp, DeviceClock, HeldRange, HeldReason};
pub use cold::Compacted;
#[cfg(feature = "fuzz")]
pub use cold::fuzz;
pub use completeness::{Completeness, DAY_US, Day, Hole, MissingCause};
pub use error::{AppendError, KeyUnavailable, StoreError};
pub use fieldkeep_protocol::channels::Kind as ChannelKind;
pub use gaps::{Gap, GapReason};
pub use ledger::{EpochLedger, Links, Totals};
pub use proposals::{ClockProposal, ProposalState};
pub use quarantine::{QuarantineState, Quarantined};
pub use restamp::{ClockCorrection, ClockError, ClockNote, MOST_STAMPED, Restamp, Restamped};
pub use retention::{Amount, Cutoffs, Deletion, Expired, Order};
pub use scan::{Cursor, InvalidCursor, Page, Point, Source, TimeRange};
pub use settle::Settled;
pub use stamp::StampCause;
pub use store::{MIGRATIONS, Options, Origin, Store};
pub use tables::{Channel, ChannelTable};

#[cfg(test)]
mod tests;
