//! One MQTT session of one device, from its first byte to its last.
//!
//! Promises: messages are worked on side by side and answered in the order they came; nothing is read while 16 wait
//! or the project's lane to the disk is full, so a device is slowed down, not dropped; the session ends when its device is disabled, its certificate ends,
//! a newer session of the device opens, the client is silent for too long, or the server stops.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use fieldkeep_protocol::message::Level;
use fieldkeep_protocol::topic::{Down, Topic, parse_down};
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesOrdered;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::time::{Instant, sleep_until, timeout};

use super::Inner;
use super::down;
use super::live::{Cut, Seat};
use super::mqtt::{
    Broken, ConnectReasonCode, DisconnectReasonCode, Framer, IN_FLIGHT, Input, SubackReasonCode,
};
use super::up::{self, Answer, Kept};
use crate::pki::{DeviceSession, Peer, Refused};

/// From the end of the handshake to the client's CONNECT.
const CONNECT: Duration = Duration::from_secs(10);
/// A client that takes nothing for this long is gone.
const WRITE: Duration = Duration::from_secs(20);
/// Read at a time: a TLS record.
const BUFFER: usize = 16_384;
/// Topic filters in one SUBSCRIBE: more than there are topics to a device.
const FILTERS: usize = 16;
/// Messages that one device may send before it is slowed to [`RATE`] a second.
const BURST: u64 = 5_000;
const RATE: u64 = 500;

/// How a session ended, for the log.
type End = &'static str;

pub(super) async fn run(
    inner: &Inner,
    stream: impl AsyncRead + AsyncWrite + Unpin + Send,
    peer: Peer,
    stop: BoxFuture<'_, ()>,
) {
    let mut link = Link::new(stream);
    // What is waited for once is boxed here and below: a session is idle for most of its life and holds its own state only.
    let Some(opening) = Box::pin(opening(inner, &mut link, peer)).await else {
        return;
    };
    let Some(mut seat) = Box::pin(open(inner, &mut link, &opening)).await else {
        return;
    };
    let session = &opening.session;
    let end = live(inner, &mut link, session, &mut seat, stop).await;
    Box::pin(link.close()).await;
    if seat.is_newest() {
        inner.fleet.disconnected(session);
    }
    tracing::info!(device.id = %session.device(), project.id = %session.project(), reason = end, "device disconnected");
}

fn log_unopened(inner: &Inner, address: SocketAddr, reason: End) {
    if let Some(unlogged) = inner.may_log() {
        tracing::warn!(source = %address.ip(), reason, unlogged, "MQTT session not opened");
    }
}

/// A proved device that asks for a session.
struct Opening {
    session: DeviceSession,
    address: SocketAddr,
    client_id: String,
    keep_alive_s: u16,
}

/// Waits for the CONNECT and only then judges who sends it: no row is read for a connection that never asks. Who is
/// refused has had the answer.
async fn opening(
    inner: &Inner,
    link: &mut Link<impl AsyncRead + AsyncWrite + Unpin + Send>,
    peer: Peer,
) -> Option<Opening> {
    let address = peer.address;
    let unopened = match timeout(CONNECT, link.connect()).await {
        Ok(Ok((client_id, keep_alive_s))) => match inner.pki.authenticate(&peer).await {
            Ok(session) => {
                return Some(Opening {
                    session,
                    address,
                    client_id,
                    keep_alive_s,
                });
            }
            Err(refused) => {
                inner.turned_away(&peer, &refused).await;
                let code = match refused {
                    Refused::Inactive { .. } => ConnectReasonCode::Banned,
                    Refused::Unavailable(_) => ConnectReasonCode::ServerUnavailable,
                    Refused::NoCertificate
                    | Refused::Certificate(_)
                    | Refused::Unknown { .. }
                    | Refused::Expired { .. } => ConnectReasonCode::NotAuthorized,
                };
                link.refuse(code, &refused.to_string()).await;
                return None;
            }
        },
        Ok(Err(end)) => end,
        Err(_) => "connect_timeout",
    };
    log_unopened(inner, address, unopened);
    None
}

/// Takes the device's place and says so to the client; `None` where it was refused or is gone, which it has been told.
async fn open(
    inner: &Inner,
    link: &mut Link<impl AsyncRead + AsyncWrite + Unpin + Send>,
    opening: &Opening,
) -> Option<Seat> {
    let session = &opening.session;
    let client_id = opening.client_id.as_str();
    let own = session.device().to_string();
    if !client_id.is_empty() && client_id != own {
        let device = Some((session.project(), session.device()));
        inner.note(Some(opening.address.ip()), device, "client_id");
        if let Some(unlogged) = inner.may_log() {
            tracing::warn!(
                source = %opening.address.ip(),
                reason = "client_id",
                device.id = own,
                unlogged,
                "MQTT session refused"
            );
        }
        let text =
            "A session was refused: its client id is not the device that the certificate names.";
        up::line(inner, session, Level::Warning, "client_id", text).await;
        let why = "the client id must be the device that the certificate names";
        link.refuse(ConnectReasonCode::ClientIdentifierNotValid, why)
            .await;
        return None;
    }
    let seat = inner.live.enter(session.device());
    // From here on a change would be told. One that came since the row was read is looked for now.
    let valid = match inner.pki.is_unchanged_since(session) {
        true => Ok(true),
        false => inner.pki.still_valid(session).await,
    };
    let entered = match valid {
        Ok(true) => {
            let connected = inner.fleet.connected(session).await;
            connected.map_err(|error| error.to_string())
        }
        Ok(false) => {
            link.refuse(ConnectReasonCode::Banned, "the device was disabled")
                .await;
            return None;
        }
        Err(error) => Err(error.to_string()),
    };
    if let Err(error) = entered {
        tracing::error!(device.id = own, error, "a session cannot be opened");
        let why = "the cloud cannot open sessions at the moment";
        link.refuse(ConnectReasonCode::ServerUnavailable, why).await;
        return None;
    }
    let assigned = client_id.is_empty().then_some(own.as_str());
    tracing::info!(device.id = own, project.id = %session.project(), source = %opening.address.ip(), "device connected");
    if let Err(broken) = link.framer.accept(opening.keep_alive_s, assigned) {
        link.close().await;
        if seat.is_newest() {
            inner.fleet.disconnected(session);
        }
        tracing::info!(device.id = own, project.id = %session.project(), reason = broken.code(), "device disconnected");
        return None;
    }
    Some(seat)
}

/// The open session: reads, works, answers, until something ends it.
async fn live(
    inner: &Inner,
    link: &mut Link<impl AsyncRead + AsyncWrite + Unpin + Send>,
    session: &DeviceSession,
    seat: &mut Seat,
    mut stop: BoxFuture<'_, ()>,
) -> End {
    let mut working: FuturesOrdered<BoxFuture<'_, Answer>> = FuturesOrdered::new();
    let mut rate = Rate::new();
    let silence = link.framer.silence().unwrap_or(CONNECT);
    let mut last_heard = Instant::now();
    let left_us = session.not_after().saturating_since(inner.clock.now());
    let over = Instant::now() + Duration::from_micros(u64::try_from(left_us).unwrap_or(0));
    loop {
        while working.len() < usize::from(IN_FLIGHT) {
            let Some(input) = link.inputs.pop_front() else {
                break;
            };
            rate.count();
            match input {
                Input::Publish {
                    packet,
                    topic,
                    payload,
                } => {
                    working.push_back(Box::pin(up::receive(
                        inner, session, packet, topic, payload,
                    )));
                }
                input => {
                    if let Err(end) = Box::pin(answer_now(inner, link, session, input)).await {
                        drain(link, &mut working).await;
                        return end;
                    }
                }
            }
        }
        if let Err(end) = link.flush().await {
            return end;
        }
        // With work of its own under way, a device of a project whose lane is full is not read: each answer looks again.
        let is_crowded = !working.is_empty() && inner.series.is_crowded(session);
        let may_read =
            link.inputs.is_empty() && working.len() < usize::from(IN_FLIGHT) && !is_crowded;
        let paused = rate.paused_until();
        tokio::select! {
            biased;
            cut = seat.told() => match cut {
                Cut::TakenOver => return link.part(DisconnectReasonCode::SessionTakenOver, "taken_over"),
                Cut::Recheck => match Box::pin(inner.pki.still_valid(session)).await {
                    Ok(true) => {}
                    Ok(false) => {
                        let text = "The session was ended: the device was disabled or its certificate is over.";
                        Box::pin(up::line(inner, session, Level::Warning, "session_cut", text)).await;
                        return link.part(DisconnectReasonCode::AdministrativeAction, "device_inactive");
                    }
                    Err(error) => {
                        tracing::error!(error = &error as &dyn std::error::Error, "a live session cannot be judged");
                        return link.part(DisconnectReasonCode::UnspecifiedError, "unavailable");
                    }
                },
            },
            () = &mut stop => {
                drain(link, &mut working).await;
                return link.part(DisconnectReasonCode::ServerShuttingDown, "server_stops");
            }
            () = sleep_until(over) => {
                return link.part(DisconnectReasonCode::NotAuthorized, "certificate_expired");
            }
            Some(answer) = working.next(), if !working.is_empty() => {
                if let Err(broken) = link.framer.puback(answer.packet, answer.code) {
                    return broken.code();
                }
                if let Some(kept) = answer.ledger
                    && let Err(end) = Box::pin(send_ledger(inner, link, session, kept)).await
                {
                    return end;
                }
            }
            () = sleep_until(last_heard + silence), if may_read && paused.is_none() => {
                return link.part(DisconnectReasonCode::KeepAliveTimeout, "keep_alive_timeout");
            }
            () = sleep_until(paused.unwrap_or(last_heard)), if paused.is_some() => {
                last_heard = Instant::now();
            }
            read = link.read(), if may_read && paused.is_none() => match read {
                Ok(()) => last_heard = Instant::now(),
                Err(end) => {
                    drain(link, &mut working).await;
                    return end;
                }
            },
        }
    }
}

/// Answers what needs no work. An error is how the session ends.
async fn answer_now(
    inner: &Inner,
    link: &mut Link<impl AsyncRead + AsyncWrite + Unpin + Send>,
    session: &DeviceSession,
    input: Input,
) -> Result<(), End> {
    match input {
        Input::Subscribe { packet, filters } => {
            if filters.len() > FILTERS {
                return Err(link.part(DisconnectReasonCode::QuotaExceeded, "mqtt_filters"));
            }
            let mut codes = Vec::with_capacity(filters.len());
            let mut wants_time = false;
            let mut refused = None;
            for filter in &filters {
                codes.push(match parse_down(filter) {
                    Some((device, down)) if device == session.device() => {
                        wants_time |= down == Down::Time;
                        SubackReasonCode::GrantedQos0
                    }
                    _ => {
                        refused.get_or_insert(filter);
                        SubackReasonCode::NotAuthorized
                    }
                });
            }
            if let Some(filter) = refused {
                subscription_refused(inner, session, filter).await;
            }
            link.framer
                .suback(packet, codes)
                .map_err(|broken| broken.code())?;
            if wants_time {
                send_time(inner, link, session).await?;
            }
            Ok(())
        }
        Input::Unsubscribe { packet, filters } => link
            .framer
            .unsuback(packet, filters)
            .map_err(|broken| broken.code()),
        Input::Disconnect => Err("goodbye"),
        Input::Connect { .. } | Input::Publish { .. } => {
            Err(link.part(DisconnectReasonCode::ProtocolError, "mqtt_protocol"))
        }
    }
}

/// One line a packet: a device must not make the log grow faster than it sends.
async fn subscription_refused(inner: &Inner, session: &DeviceSession, filter: &str) {
    let device = Some((session.project(), session.device()));
    inner.note(None, device, "subscription_refused");
    if let Some(unlogged) = inner.may_log() {
        tracing::warn!(
            device.id = %session.device(),
            reason = "subscription_refused",
            unlogged,
            "subscription refused"
        );
    }
    let text = format!("A subscription was refused: {filter} is not a topic to this device.");
    up::line(
        inner,
        session,
        Level::Warning,
        "subscription_refused",
        &text,
    )
    .await;
}

/// The time, unless this cloud has reason to doubt its own clock.
async fn send_time(
    inner: &Inner,
    link: &mut Link<impl AsyncRead + AsyncWrite + Unpin + Send>,
    session: &DeviceSession,
) -> Result<(), End> {
    match down::trusted_time(inner).await {
        Some(time) => link.tell(session, Down::Time, &time),
        None => Ok(()),
    }
}

/// Which of the records that the device keeps are missing here.
async fn send_ledger(
    inner: &Inner,
    link: &mut Link<impl AsyncRead + AsyncWrite + Unpin + Send>,
    session: &DeviceSession,
    kept: Kept,
) -> Result<(), End> {
    match down::ledger(inner, session, kept).await {
        Ok(ledger) => link.tell(session, Down::Ledger, &ledger),
        Err(error) => {
            tracing::error!(
                device.id = %session.device(),
                error = &error as &dyn std::error::Error,
                "the ledger cannot be told"
            );
            Err(link.part(DisconnectReasonCode::UnspecifiedError, "unavailable"))
        }
    }
}

/// Finishes what was begun, so that what became durable is also answered where the client still listens.
async fn drain(
    link: &mut Link<impl AsyncRead + AsyncWrite + Unpin + Send>,
    working: &mut FuturesOrdered<BoxFuture<'_, Answer>>,
) {
    while let Some(answer) = working.next().await {
        if link.framer.puback(answer.packet, answer.code).is_err() {
            return;
        }
    }
}

/// A stream with its framing.
struct Link<S> {
    stream: S,
    framer: Framer,
    inputs: VecDeque<Input>,
}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Link<S> {
    fn new(stream: S) -> Self {
        Self {
            stream,
            framer: Framer::new(),
            inputs: VecDeque::new(),
        }
    }

    /// Waits for the first packet, which must be a CONNECT.
    async fn connect(&mut self) -> Result<(String, u16), End> {
        while self.inputs.is_empty() {
            let read = self.read().await;
            if read.is_err() {
                let _ = self.flush().await;
            }
            read?;
        }
        match self.inputs.pop_front() {
            Some(Input::Connect {
                client_id,
                keep_alive_s,
            }) => Ok((client_id, keep_alive_s)),
            _ => Err("mqtt_protocol"),
        }
    }

    /// Reads once and frames what came. May be cancelled: bytes are taken whole or not at all.
    async fn read(&mut self) -> Result<(), End> {
        let Self {
            stream,
            framer,
            inputs,
        } = self;
        poll_fn(|context| {
            // On the stack, while there is something to read: a connection that is idle keeps no buffer.
            let mut bytes = [0; BUFFER];
            let mut buffer = ReadBuf::new(&mut bytes);
            if ready!(Pin::new(&mut *stream).poll_read(context, &mut buffer)).is_err() {
                return Poll::Ready(Err("connection_lost"));
            }
            Poll::Ready(match buffer.filled() {
                [] => Err("closed"),
                bytes => framer
                    .feed(bytes, inputs)
                    .map_err(|broken: Broken| broken.code()),
            })
        })
        .await
    }

    async fn flush(&mut self) -> Result<(), End> {
        let output = self.framer.output();
        if output.is_empty() {
            return Ok(());
        }
        let written = timeout(WRITE, async {
            self.stream.write_all(output).await?;
            self.stream.flush().await
        })
        .await;
        self.framer.output().clear();
        match written {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err("connection_lost"),
            Err(_) => Err("write_timeout"),
        }
    }

    fn tell(&mut self, session: &DeviceSession, down: Down, payload: &[u8]) -> Result<(), End> {
        let topic = Topic::down(session.device(), down);
        self.framer
            .publish(&topic, payload)
            .map_err(|broken| broken.code())
    }

    /// Says goodbye with a reason; it is written when the link is closed.
    fn part(&mut self, code: DisconnectReasonCode, end: End) -> End {
        // A session that the library has ended already has said its reason.
        let _ = self.framer.disconnect(code);
        end
    }

    async fn refuse(&mut self, code: ConnectReasonCode, why: &str) {
        if self.framer.refuse(code, why).is_ok() {
            self.close().await;
        }
    }

    /// Writes what is left and ends the stream properly; neither matters to a client that is gone.
    async fn close(&mut self) {
        let _ = self.flush().await;
        let _ = timeout(WRITE, self.stream.shutdown()).await;
    }
}

/// How fast one device may send: a burst, then so many a second. Who is faster is read more slowly.
struct Rate {
    left: u64,
    since: Instant,
}

impl Rate {
    fn new() -> Self {
        Self {
            left: BURST,
            since: Instant::now(),
        }
    }

    fn count(&mut self) {
        let seconds = self.since.elapsed().as_secs();
        if seconds > 0 {
            self.since += Duration::from_secs(seconds);
            self.left = self
                .left
                .saturating_add(seconds.saturating_mul(RATE))
                .min(BURST);
        }
        self.left = self.left.saturating_sub(1);
    }

    fn paused_until(&self) -> Option<Instant> {
        let until = self.since + Duration::from_secs(1);
        (self.left == 0 && Instant::now() < until).then_some(until)
    }
}
