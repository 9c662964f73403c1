//! Owns what lies between a session and the books, whatever way the session speaks: events in, items out, and when to
//! leave.

use fieldkeep_protocol::{ClockQuality, message::Level};

use super::{
    link::{Credentials, Server, check_again, renewal_need},
    rejected,
};
use crate::{
    clock::{Reading, Verdict},
    journal::JournalError,
    logger::{Shared, random_u64},
    reach::TlsFault,
    session::{Event, Item, Session, Way},
    status::LinkState,
};

/// A session this old may be ended to ask the cloud for its time again.
const TIME_US: u64 = 3_600 * 1_000_000;
/// And one this old, if the clock is unset: records of an unset clock are held back from readers.
const UNSET_US: u64 = 300 * 1_000_000;

/// How a session ended.
pub(crate) struct Ended {
    pub(crate) reason: String,
    pub(crate) refused: bool,
    /// Whether it came as far as delivering.
    pub(crate) was_ready: bool,
    /// Whether this side ended it in order, to go on at once.
    pub(crate) is_ours: bool,
}

/// One session with what it works for.
pub(super) struct Desk<'a> {
    shared: &'a Shared,
    credentials: &'a Credentials,
    server: &'a Server,
    way: Way,
    pub(super) session: Session,
    begun_us: u64,
    clock_unset: bool,
    was_ready: bool,
    end: Option<Ended>,
}

impl<'a> Desk<'a> {
    /// Begins a session: everything unacknowledged will be offered.
    pub(super) fn open(
        shared: &'a Shared,
        credentials: &'a Credentials,
        server: &'a Server,
        way: Way,
    ) -> Desk<'a> {
        let begun = shared.options.clock.read();
        let unset = shared.books().judge.time(begun).1 == ClockQuality::Unset;
        shared.books().rewind();
        Desk {
            shared,
            credentials,
            server,
            way,
            session: Session::begin(way, shared.enrolment.device, unset, begun.ticks_us),
            begun_us: begun.ticks_us,
            clock_unset: unset,
            was_ready: false,
            end: None,
        }
    }

    /// Takes in what happened last; says how it ended.
    pub(super) fn close(mut self) -> Ended {
        self.take_events(self.shared.options.clock.read());
        self.end.unwrap_or(Ended {
            reason: "the session ended".to_owned(),
            refused: false,
            was_ready: self.was_ready,
            is_ours: false,
        })
    }

    /// Takes in what happened and gives out what can go.
    pub(super) fn work(&mut self, reading: Reading) {
        self.take_events(reading);
        if self.session.is_ended() {
            return;
        }
        let is_final = self.shared.is_draining();
        // A visit ends as soon as there is nothing left to say.
        let is_leaving = is_final || self.way == Way::Exchange || self.wants_new_session(reading);
        let identity = &self.credentials.identity;
        let waits = {
            let mut books = self.shared.books();
            books.fill(&mut self.session, identity, is_leaving, reading);
            books.waits()
        };
        // A cloud that cannot take more now is not waited for.
        let idle = self.session.in_flight() == 0 && (!waits || self.session.is_paused());
        if is_leaving && self.was_ready && idle {
            self.leave(reading);
        }
    }

    /// Whether a new session would do something that this one cannot.
    fn wants_new_session(&self, reading: Reading) -> bool {
        let age_us = reading.ticks_us.saturating_sub(self.begun_us);
        if !self.was_ready || age_us < UNSET_US {
            return false;
        }
        let books = self.shared.books();
        if age_us < TIME_US {
            return books.judge.time(reading).1 == ClockQuality::Unset;
        }
        let now_s = books.judge.certificate_time_s(reading);
        books.judge.wants_time(reading) || renewal_need(&self.credentials.identity, now_s).0
    }

    fn leave(&mut self, reading: Reading) {
        self.end = Some(Ended {
            reason: "ended by this device".to_owned(),
            refused: false,
            was_ready: self.was_ready,
            is_ours: true,
        });
        self.session.end(reading.ticks_us);
    }

    fn take_events(&mut self, reading: Reading) {
        while let Some(event) = self.session.poll_event() {
            if let Err(error) = self.take(event, reading) {
                self.journal_failed(&error);
            }
        }
        let settled = self.shared.books().settle();
        if let Err(error) = settled {
            self.journal_failed(&error);
        }
    }

    fn take(&mut self, event: Event, reading: Reading) -> Result<(), JournalError> {
        match event {
            Event::Time { unix_us } => self.take_time(unix_us, reading),
            Event::WantsState => {
                let (states, epoch) = {
                    let books = self.shared.books();
                    (books.states(reading), books.journal.facts().epoch)
                };
                self.session.tell_state(&states, epoch, reading.ticks_us);
            }
            Event::Ledger { epoch, next, holes } => {
                self.shared
                    .books()
                    .ledger(epoch, next, &holes, random_u64(), reading)?;
            }
            Event::Ready => {
                tracing::info!("connected");
                self.was_ready = true;
                self.shared.set_link(LinkState::Delivering);
                self.shared.link().link.error = None;
            }
            Event::Durable(item) => {
                self.shared.books().durable(&item)?;
                if matches!(item, Item::Batch(_)) {
                    self.shared.link().link.delivered_us = Some(reading.wall_us);
                }
            }
            Event::Undecodable(item) => {
                let aside = self.shared.books().undecodable(&item, reading)?;
                if let Some(batch) = aside
                    && let Err(error) = rejected::put_aside(&self.shared.folder, &batch)
                {
                    tracing::error!(%error, "a rejected batch cannot be put aside");
                }
            }
            Event::Later(_) => self.shared.books().later(reading),
            Event::Ended { reason, refused } => self.fail(&reason, refused),
        }
        Ok(())
    }

    fn take_time(&mut self, unix_us: i64, reading: Reading) {
        let verdict = self.shared.books().judge.cloud_says(reading, unix_us);
        match verdict {
            Verdict::Agrees => {}
            Verdict::Corrected => tracing::warn!("the clock is unset; the cloud's time is used"),
            Verdict::Differs { by_us } => {
                let text = format!(
                    "the clock differs from the cloud's by {:.1} s",
                    by_us as f64 / 1e6
                );
                tracing::warn!("{text}");
                self.shared
                    .books()
                    .note(reading, Level::Warning, "clock.differs", text);
            }
        }
        if !self.clock_unset {
            return;
        }
        match check_again(self.shared, self.credentials, self.server) {
            Ok(()) => self.session.trust(),
            Err(error) => {
                let reason = format!("by the cloud's time its certificate is not valid: {error}");
                self.fail(&reason, false);
            }
        }
    }

    pub(super) fn line_failed(&mut self, error: &std::io::Error) {
        // A refusal of our certificate arrives only here, after a handshake that looked well.
        let fault = TlsFault::within(error);
        let refused = matches!(fault, Some(TlsFault::Alert(_)));
        let reason = match fault {
            Some(TlsFault::Alert(alert)) => {
                format!("the cloud refuses this device's certificate (TLS alert: {alert})")
            }
            _ => format!("the connection broke: {error}"),
        };
        self.fail(&reason, refused);
    }

    fn journal_failed(&mut self, error: &JournalError) {
        let source = std::error::Error::source(error).map_or(String::new(), |s| format!(": {s}"));
        self.fail(&format!("{error}{source}"), false);
    }

    pub(super) fn fail(&mut self, reason: &str, refused: bool) {
        let was_ready = self.was_ready;
        self.end.get_or_insert_with(|| Ended {
            reason: reason.to_owned(),
            refused,
            was_ready,
            is_ours: false,
        });
        self.session.fail(reason);
    }
}
