//! Owns one visit to the cloud over HTTPS: what the session wants to say is posted, what the cloud answers is heard, until
//! there is nothing left to say.

use std::time::Duration;

use bytes::Bytes;
use fieldkeep_protocol::limits;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    Request,
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};
use tokio_rustls::client::TlsStream;

use super::{
    desk::{Desk, Ended},
    link::{Credentials, Server, until},
};
use crate::{
    folder::Endpoint,
    http::{alert_in, printable, refusal},
    logger::Shared,
    reach::TlsFault,
    session::Way,
};

/// How long the cloud may take to read a request over a slow line, commit it and answer.
const PATIENCE: Duration = Duration::from_secs(80);
const PATH: &str = "/device/1/exchange";

/// Why a request got no answer.
struct Unanswered {
    reason: String,
    refused: bool,
}

/// Makes a visit.
pub(crate) async fn run(
    shared: &Shared,
    credentials: &Credentials,
    server: &Server,
    stream: TlsStream<TcpStream>,
) -> Ended {
    let mut desk = Desk::open(shared, credentials, server, Way::Exchange);
    let (mut sender, connection) = match http1::handshake(TokioIo::new(stream)).await {
        Ok(pair) => pair,
        Err(error) => {
            desk.fail(&format!("the connection broke: {error}"), false);
            return desk.close();
        }
    };
    // Moves the bytes; dropped with this visit.
    let mut line = JoinSet::new();
    line.spawn(connection);
    loop {
        let reading = shared.options.clock.read();
        desk.work(reading);
        let request = desk.session.take_output();
        if !request.is_empty() {
            match post(&mut sender, &shared.enrolment.https, request).await {
                Ok(answer) => desk
                    .session
                    .handle_bytes(&answer, shared.options.clock.read().ticks_us),
                Err(unanswered) => {
                    desk.fail(&unanswered.reason, unanswered.refused);
                    break;
                }
            }
            continue;
        }
        if desk.session.is_ended() {
            break;
        }
        let timeout = desk.session.poll_timeout();
        tokio::select! {
            () = tokio::time::sleep(until(reading.ticks_us, timeout)) => {
                desk.session.handle_timeout(shared.options.clock.read().ticks_us);
            }
            () = shared.wake.notified() => {}
        }
    }
    desk.close()
}

async fn post(
    sender: &mut SendRequest<Full<Bytes>>,
    endpoint: &Endpoint,
    body: Vec<u8>,
) -> Result<Bytes, Unanswered> {
    let broken = |reason: String| Unanswered {
        reason,
        refused: false,
    };
    let request = Request::post(PATH)
        .header(header::HOST, endpoint.to_string())
        .header(header::CONTENT_TYPE, "application/cbor")
        .header(header::ACCEPT, "application/cbor, application/problem+json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| broken(error.to_string()))?;
    let answered = async {
        sender.ready().await?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), limits::EXCHANGE_ANSWER_BYTES);
        Ok::<_, hyper::Error>((status, body.collect().await))
    };
    let (status, body) = tokio::time::timeout(PATIENCE, answered)
        .await
        .map_err(|_| broken("the cloud does not answer an exchange".to_owned()))?
        .map_err(|error| match alert_in(&error) {
            // A refusal of our certificate arrives only here, after a handshake that looked well.
            Some(TlsFault::Alert(alert)) => Unanswered {
                reason: format!("the cloud refuses this device's certificate (TLS alert: {alert})"),
                refused: true,
            },
            _ => broken(format!("the connection broke: {error}")),
        })?;
    let body = body
        .map_err(|error| broken(format!("the cloud's answer cannot be read: {error}")))?
        .to_bytes();
    if status.is_success() {
        return Ok(body);
    }
    let said = refusal(&body).unwrap_or_else(|| format!("HTTP status {status}"));
    Err(Unanswered {
        reason: format!("the cloud refuses the exchange: {}", printable(&said)),
        refused: matches!(status.as_u16(), 401 | 403),
    })
}
