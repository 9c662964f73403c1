//! The exchange of devices that sleep: messages up in one request, their outcomes, the ledger and the time in its answer.
//!
//! Promises what a session promises: each message is judged alone, an outcome of 0x00 follows durability, and what
//! cannot be read is quarantined. The messages are worked on side by side, so that one commit can hold them all; a
//! client that goes away leaves each of them kept or not, never half.

use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::response::{IntoResponse, Response};
use fieldkeep_protocol::exchange::{Acknowledged, Answer, Message, Request};
use fieldkeep_protocol::message::Level;
use fieldkeep_protocol::topic::Down;
use fieldkeep_protocol::{EncodeError, limits};
use futures_util::future::{BoxFuture, FutureExt as _};
use futures_util::stream::{self, StreamExt as _};
use http::{HeaderValue, StatusCode, header};

use super::Inner;
use super::down;
use super::mqtt::IN_FLIGHT;
use super::problem::Problem;
use super::up::{self, Outcome};
use crate::pki::DeviceSession;

/// Takes a request of an authenticated device.
pub(super) async fn exchange(
    inner: &Inner,
    session: &DeviceSession,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let body = body.map_err(|rejection| {
        Problem::new(
            rejection.status(),
            "invalid_request",
            "The exchange cannot be read",
            format!(
                "It may have {} bytes at most: send fewer messages at a time.",
                limits::EXCHANGE_BYTES
            ),
        )
    })?;
    let request = match Request::decode(&body) {
        Ok(request) => request,
        Err(error) => {
            let text = format!(
                "An exchange of {} bytes was refused: it {}.",
                body.len(),
                error.as_str()
            );
            up::line(inner, session, Level::Warning, "exchange_invalid", &text).await;
            return Err(Problem::new(
                StatusCode::UNPROCESSABLE_ENTITY,
                "exchange_invalid",
                "The exchange is not what it should be",
                format!("It {} (error {}).", error.as_str(), error.code()),
            ));
        }
    };
    if let Err(error) = inner.fleet.exchanging(session).await {
        tracing::error!(
            device.id = %session.device(),
            error = &error as &dyn std::error::Error,
            "an exchange cannot be opened"
        );
        return Err(unavailable());
    }
    let work: Vec<BoxFuture<'_, Outcome>> = request
        .messages
        .iter()
        .map(|message| up::keep(inner, session, message.kind, message.bytes).boxed())
        .collect();
    let outcomes: Vec<Outcome> = stream::iter(work)
        .buffered(usize::from(IN_FLIGHT))
        .collect()
        .await;
    inner.fleet.exchanged(session);
    let bytes = answer(inner, session, &outcomes).await?;
    let mut response = bytes.into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/cbor"),
    );
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The answer; the ledgers in it know all that the request brought.
async fn answer(
    inner: &Inner,
    session: &DeviceSession,
    outcomes: &[Outcome],
) -> Result<Vec<u8>, Problem> {
    let untold = |error: &dyn std::error::Error| {
        tracing::error!(device.id = %session.device(), error = %error, "an exchange cannot be answered");
        unavailable()
    };
    let mut told: Vec<(Down, Vec<u8>)> = Vec::new();
    for kept in outcomes.iter().filter_map(|outcome| outcome.ledger) {
        let ledger = down::ledger(inner, session, kept).await;
        told.push((Down::Ledger, ledger.map_err(|error| untold(&error))?));
    }
    // Last, so that it is as new as can be.
    if let Some(time) = down::trusted_time(inner).await {
        told.push((Down::Time, time));
    }
    let codes: Vec<u8> = outcomes
        .iter()
        .map(|outcome| outcome.code.as_u8())
        .collect();
    let rows = join(outcomes.iter().filter_map(|outcome| outcome.stored));
    let messages: Vec<Message<'_, Down>> = told
        .iter()
        .map(|(kind, bytes)| Message { kind: *kind, bytes })
        .collect();
    let mut bytes = vec![0; limits::EXCHANGE_ANSWER_BYTES];
    let length =
        Answer::encode(&codes, &rows, &messages, &mut bytes).map_err(|error: EncodeError| {
            tracing::error!(?error, "an exchange's answer cannot be written");
            unavailable()
        })?;
    bytes.truncate(length);
    Ok(bytes)
}

/// Durable records in ascending order, each once, neighbours in one row.
fn join(stored: impl Iterator<Item = Acknowledged>) -> Vec<Acknowledged> {
    let mut all: Vec<Acknowledged> = stored.collect();
    all.sort_unstable();
    let mut rows: Vec<Acknowledged> = Vec::with_capacity(all.len());
    for next in all {
        match rows.last_mut() {
            Some(row) if row.epoch == next.epoch && next.first <= row.last.saturating_add(1) => {
                row.last = row.last.max(next.last);
            }
            _ => rows.push(next),
        }
    }
    rows
}

fn unavailable() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "unavailable",
        "The cloud cannot do this at the moment",
        "Keep everything and send it again later.",
    )
}

#[cfg(test)]
mod tests {
    use fieldkeep_protocol::Epoch;

    use super::*;

    #[test]
    fn rows_are_joined_whatever_their_order() {
        let row = |epoch, first, last| Acknowledged {
            epoch: Epoch(epoch),
            first,
            last,
        };
        let stored = [
            row(2, 0, 4),
            row(1, 10, 19),
            row(1, 0, 9),
            row(1, 0, 9),
            row(1, 30, 39),
            row(1, 15, 16),
        ];
        let joined = join(stored.into_iter());
        assert_eq!(joined, [row(1, 0, 19), row(1, 30, 39), row(2, 0, 4)]);
    }
}
