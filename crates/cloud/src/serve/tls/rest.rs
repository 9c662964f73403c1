//! What is left of a request's body when its answer is ready.
//!
//! A request may be refused before its body was read. Ended at once, the connection would break under a client that still
//! sends, and many of them never read the answer then. Owns reading what is left and throwing it away, bounded in bytes and
//! time; beyond that the connection ends as it would have. Asks for nothing: a client that waits for "100 Continue" before
//! it sends a body is not told to go on.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How much is thrown away at most: some times what any body may have.
const BYTES: usize = 1_024 * 1_024;
/// How long that may take.
const TIME: Duration = Duration::from_secs(5);

/// A body that comes back when whoever had it drops it unread.
pub(super) struct Lent {
    body: Option<Incoming>,
    back: Option<oneshot::Sender<Incoming>>,
    /// Whether the client sends it only when it is asked for.
    waits: bool,
}

/// Where it comes back to.
pub(super) struct Rest(oneshot::Receiver<Incoming>);

/// Lends the body of a request with those headers.
pub(super) fn lend(headers: &HeaderMap, body: Incoming) -> (Lent, Rest) {
    let (back, rest) = oneshot::channel();
    let lent = Lent {
        waits: headers.contains_key(header::EXPECT),
        body: Some(body),
        back: Some(back),
    };
    (lent, Rest(rest))
}

impl Rest {
    /// Throws away what came back; nothing where the body is still in use or was read to its end.
    pub(super) async fn discard(mut self) {
        let Ok(mut body) = self.0.try_recv() else {
            return;
        };
        let reading = async {
            let mut left = BYTES;
            while let Some(Ok(frame)) = body.frame().await {
                let read = frame.data_ref().map_or(0, Bytes::len);
                let Some(less) = left.checked_sub(read) else {
                    return;
                };
                left = less;
            }
        };
        // Too slow is as too much: the connection ends.
        let _ = timeout(TIME, reading).await;
    }
}

impl Body for Lent {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        // Reading asks for it.
        self.waits = false;
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body
            .as_ref()
            .map_or_else(SizeHint::default, Body::size_hint)
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let (Some(body), Some(back)) = (self.body.take(), self.back.take()) else {
            return;
        };
        if !self.waits && !body.is_end_stream() {
            // Nobody waits for it where the connection is gone.
            let _ = back.send(body);
        }
    }
}
