//! Owns the line to the cloud: when to connect, to renew the certificate and to wait, and the sockets of a session or a visit.
//! Promises that only this side dials, that the server has passed its check before anything is sent, and that every end
//! of a session is logged with its reason.

use std::{fs, sync::Arc, time::Duration};

use fieldkeep_protocol::{ClockQuality, message::Level};
use rustls::RootCertStore;
use rustls_pki_types::{CertificateDer, ServerName};

use super::{desk::Ended, exchange, transport};
use crate::{
    backoff::Backoff,
    identity::Identity,
    logger::{Shared, chance},
    reach, renew,
    session::Way,
    status::LinkState,
    tls,
};

/// A certificate in need is tried to be renewed this often while it still works.
const RENEW_US: u64 = 600 * 1_000_000;

/// A certificate is not renewed again within this time.
const RENEWED_US: u64 = 86_400 * 1_000_000;

/// Why there is no session.
pub(crate) struct Failure {
    reason: String,
    advice: Option<String>,
}

impl Failure {
    fn new(reason: impl std::fmt::Display) -> Failure {
        Failure {
            reason: reason.to_string(),
            advice: None,
        }
    }
}

/// What is needed of the folder for one attempt.
pub(crate) struct Credentials {
    pub(crate) identity: Identity,
    pub(crate) roots: Arc<RootCertStore>,
}

/// What a session may rely on.
pub(crate) struct Server {
    pub(crate) chain: Vec<CertificateDer<'static>>,
    pub(crate) name: ServerName<'static>,
}

/// Keeps the line up until the logger winds up and there is nothing left to deliver, or the line fails then.
pub(crate) async fn run(shared: &Shared) {
    let mut backoff = Backoff::new(shared.options.backoff_most);
    let mut renewal = Renewal::default();
    let mut phase = shared.phase.subscribe();
    loop {
        let in_order = match attempt(shared, &mut renewal).await {
            Ok(ended) => {
                if ended.was_ready {
                    backoff.reset();
                    shared.link().link.error = None;
                }
                note_end(shared, &ended);
                ended.is_ours
            }
            Err(failure) => {
                note_failure(shared, &failure);
                false
            }
        };
        if shared.is_draining() {
            return;
        }
        let wait = match (in_order, shared.config.link.way) {
            (true, Way::Mqtt) => continue,
            (true, Way::Exchange) => {
                shared.set_link(LinkState::Resting);
                shared.config.link.interval
            }
            (false, _) => {
                shared.set_link(LinkState::Waiting);
                backoff.next(chance())
            }
        };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // Winding up is worth one attempt more, if there is something to deliver.
            _ = phase.changed() => {
                if shared.books().journal.next_unacknowledged(None).is_none() {
                    return;
                }
            }
        }
    }
}

#[derive(Default)]
struct Renewal {
    tried_us: Option<u64>,
    done_us: Option<u64>,
}

async fn attempt(shared: &Shared, renewal: &mut Renewal) -> Result<Ended, Failure> {
    let mut credentials = load(shared)?;
    let reading = shared.options.clock.read();
    let (now_s, unproven_s, is_lower_bound) = {
        let books = shared.books();
        let judge = &books.judge;
        let is_unset = judge.time(reading).1 == ClockQuality::Unset;
        (
            judge.certificate_time_s(reading),
            judge.unproven_s(reading),
            is_unset && !judge.was_told(),
        )
    };
    let (is_due, is_expired) = renewal_need(&credentials.identity, now_s);
    let is_quiet = renewal
        .tried_us
        .is_some_and(|tried| reading.ticks_us.saturating_sub(tried) < RENEW_US);
    // One that looks used up right after it was made is not; the clock is wrong.
    let is_new = renewal
        .done_us
        .is_some_and(|done| reading.ticks_us.saturating_sub(done) < RENEWED_US);
    if is_due && !is_new && !shared.is_draining() && (is_expired || !is_quiet) {
        renewal.tried_us = Some(reading.ticks_us);
        shared.set_link(LinkState::Renewing);
        let renewed = renew::renew(
            &shared.folder,
            &shared.enrolment,
            &credentials.identity,
            Arc::clone(&credentials.roots),
            now_s,
        );
        match Box::pin(renewed).await {
            Ok(()) => {
                renewal.done_us = Some(reading.ticks_us);
                tracing::info!("the certificate is renewed, with a new key");
                shared.books().note(
                    reading,
                    Level::Info,
                    "certificate.renewed",
                    "the certificate is renewed, with a new key".to_owned(),
                );
                credentials = load(shared)?;
            }
            // By a clock that nothing proves: the connection will tell.
            Err(error) if is_expired && error.is_about_dates() && unproven_s.is_some() => {
                tracing::warn!(%error, "is this machine's clock right?")
            }
            Err(error) if is_expired => return Err(Failure::new(error)),
            Err(error) => {
                tracing::warn!(%error, "the certificate still works, and its renewal is tried again")
            }
        }
    }

    shared.set_link(LinkState::Connecting);
    let way = shared.config.link.way;
    let endpoint = shared.enrolment.endpoint(way);
    let (roots, own) = (&credentials.roots, &credentials.identity);
    let timeless = |proven_s| {
        tls::timeless_config(Arc::clone(roots), Some(own.for_tls()), proven_s).map_err(Failure::new)
    };
    let config = if is_lower_bound {
        timeless(now_s)?
    } else {
        tls::client_config(Arc::clone(roots), Some(own.for_tls()), now_s).map_err(Failure::new)?
    };
    let mut connected = Box::pin(reach::connect(endpoint, config)).await;
    if let (Err(error), Some(proven_s)) = (&connected, unproven_s)
        && error.is_about_dates()
    {
        connected = Box::pin(reach::connect(endpoint, timeless(proven_s)?)).await;
        if connected.is_ok() {
            let text = "by this machine's clock the cloud's certificate is not valid: the clock is not believed";
            tracing::warn!("{text}");
            let mut books = shared.books();
            books.judge.disprove();
            books.note(reading, Level::Warning, "clock.disproved", text.to_owned());
        }
    }
    let stream = connected.map_err(|error| Failure {
        advice: Some(error.advice()),
        reason: error.to_string(),
    })?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let server = Server {
        chain: chain.iter().map(|c| c.clone().into_owned()).collect(),
        name: ServerName::try_from(endpoint.host.clone()).map_err(Failure::new)?,
    };
    shared.set_link(LinkState::Agreeing);
    Ok(match way {
        Way::Mqtt => Box::pin(transport::run(shared, &credentials, &server, stream)).await,
        Way::Exchange => Box::pin(exchange::run(shared, &credentials, &server, stream)).await,
    })
}

fn load(shared: &Shared) -> Result<Credentials, Failure> {
    let identity = Identity::load(&shared.folder, shared.enrolment.device).map_err(Failure::new)?;
    shared.link().certificate_expires_s = Some(identity.not_after_s);
    let path = shared.folder.ca();
    let pem = fs::read(&path)
        .map_err(|e| Failure::new(format_args!("cannot read {}: {e}", path.display())))?;
    let roots = tls::roots(&pem)
        .ok_or_else(|| Failure::new(format_args!("{} holds no certificate", path.display())))?;
    Ok(Credentials {
        identity,
        roots: Arc::new(roots),
    })
}

/// Whether a renewal is due, and whether the certificate has run out. The chance is the certificate's own, so that it is
/// the same at every start.
pub(crate) fn renewal_need(identity: &Identity, now_s: u64) -> (bool, bool) {
    let chance =
        f64::from(u16::from_le_bytes([identity.x5t[0], identity.x5t[1]])) / f64::from(u16::MAX);
    let now_s = i64::try_from(now_s).unwrap_or(i64::MAX);
    (
        now_s >= identity.renew_at_s(chance),
        now_s >= identity.not_after_s,
    )
}

/// Checks the server once more, by the cloud's own time, where the clock was unset when it was checked first.
pub(crate) fn check_again(
    shared: &Shared,
    credentials: &Credentials,
    server: &Server,
) -> Result<(), rustls::Error> {
    let reading = shared.options.clock.read();
    let (time_us, quality) = shared.books().judge.time(reading);
    if quality == ClockQuality::Unset {
        return Ok(());
    }
    let now_s = time_us.max(0).unsigned_abs() / 1_000_000;
    tls::verify_again(
        Arc::clone(&credentials.roots),
        &server.chain,
        &server.name,
        now_s,
    )
}

fn note_end(shared: &Shared, ended: &Ended) {
    if ended.is_ours {
        tracing::info!(reason = %ended.reason, "the session is over");
        return;
    }
    tracing::warn!(reason = %ended.reason, refused = ended.refused, "the session is over");
    shared.link().link.error = Some(ended.reason.clone());
}

fn note_failure(shared: &Shared, failure: &Failure) {
    let known = shared.link().link.error.as_ref() == Some(&failure.reason);
    // The same failure over and over is one line, and the status says that it lasts.
    if known {
        tracing::debug!(reason = %failure.reason, "still not connected");
    } else {
        let advice = failure.advice.as_deref().unwrap_or_default();
        tracing::warn!("not connected: {}. {advice}", failure.reason);
    }
    shared.link().link.error = Some(failure.reason.clone());
}

/// How long to sleep until a moment of the ticks.
pub(crate) fn until(now_us: u64, at_us: Option<u64>) -> Duration {
    let at = at_us.unwrap_or(now_us + 3_600_000_000);
    Duration::from_micros(at.saturating_sub(now_us)).max(Duration::from_millis(1))
}
