//! Owns the HTTP requests of enrolment and renewal: JSON by POST to the cloud's device port, one connection each.
//! Promises a bounded answer in bounded time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::{Request, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    folder::Endpoint,
    reach::{self, ReachError, TlsFault},
};

const ANSWER_BYTES: usize = 64 * 1024;
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum PostError {
    /// The server was not reached.
    #[error(transparent)]
    Reach(#[from] ReachError),
    /// The server answered, but not as the cloud does.
    #[error("{endpoint} did not answer as a Fieldkeep cloud: {what}")]
    Answer {
        /// Who was asked.
        endpoint: Endpoint,
        /// What was wrong.
        what: String,
    },
    /// The cloud refuses, and says why.
    #[error("the cloud refuses: {title}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The machine-readable reason.
        code: String,
        /// The reason for people.
        title: String,
        /// More of it, or what to do.
        detail: String,
    },
}

#[derive(serde::Deserialize)]
struct Problem {
    #[serde(default)]
    code: String,
    #[serde(default)]
    detail: String,
    #[serde(default)]
    title: String,
}

/// Posts JSON and reads JSON.
pub async fn post<A: DeserializeOwned>(
    endpoint: &Endpoint,
    config: ClientConfig,
    path: &str,
    body: &impl Serialize,
) -> Result<A, PostError> {
    let answer = |what: String| PostError::Answer {
        endpoint: endpoint.clone(),
        what,
    };
    let stream = reach::connect(endpoint, config).await?;
    let bytes = serde_json::to_vec(body).map_err(|e| answer(e.to_string()))?;
    let request = Request::post(path)
        .header(header::HOST, endpoint.to_string())
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json, application/problem+json")
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::from(bytes)))
        .map_err(|e| answer(e.to_string()))?;
    let exchange = async {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let send = async move {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_BYTES)
                .collect()
                .await;
            Ok::<_, hyper::Error>((status, body))
        };
        // The connection's own future moves the bytes; it ends with the answer.
        let (sent, _) = tokio::join!(send, connection);
        sent
    };
    let (status, body) = tokio::time::timeout(PATIENCE, exchange)
        .await
        .map_err(|_| answer("no answer in time".to_owned()))?
        .map_err(|error| match alert_in(&error) {
            Some(fault) => ReachError::Tls {
                endpoint: endpoint.clone(),
                fault,
            }
            .into(),
            None => answer(error.to_string()),
        })?;
    let body = body.map_err(|e| answer(e.to_string()))?.to_bytes();
    if status.is_success() {
        return serde_json::from_slice(&body).map_err(|e| answer(e.to_string()));
    }
    let problem: Problem =
        serde_json::from_slice(&body).map_err(|_| answer(format!("HTTP status {status}")))?;
    let title = if problem.title.is_empty() {
        format!("HTTP status {status}")
    } else {
        printable(&problem.title)
    };
    Err(PostError::Refused {
        status: status.as_u16(),
        code: problem.code,
        title,
        detail: printable(&problem.detail),
    })
}

/// The TLS fault inside what hyper said.
pub(crate) fn alert_in(error: &hyper::Error) -> Option<TlsFault> {
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        if let Some(fault) = inner
            .downcast_ref::<std::io::Error>()
            .and_then(TlsFault::within)
        {
            return Some(fault);
        }
        source = inner.source();
    }
    None
}

/// What a refusal says for people, if it is one of this cloud's.
pub(crate) fn refusal(body: &[u8]) -> Option<String> {
    let problem: Problem = serde_json::from_slice(body).ok()?;
    Some(format!("{}. {}", problem.title, problem.detail))
}

/// Text of a stranger as one harmless line.
pub(crate) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(300).collect()
}
