//! TLS acceptors and accept loops of all listeners, and HTTP over their connections.
//!
//! Promises: nothing is answered before a TLS 1.3 handshake; a handshake takes 10 s at most, and the first HTTP request
//! begins within 20 s of it or the connection ends; connections are limited in total and per source; when told to stop, a listener takes no more connections, lets the open ones finish
//! and then ends them. A refused handshake is logged with a reason, at most a few lines a second.
//! What a client still sends when its request is answered is read on, within bounds (`rest.rs`), so that it hears the answer.
//! Does not judge certificates: the configurations that `pki` makes do, and the rooms behind judge again.

mod limits;
mod operator;
mod rest;
#[cfg(test)]
mod tests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use rustls::{PeerIncompatible, ServerConfig};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tower::ServiceExt as _;

use crate::pki::{Fault, Peer};

pub use limits::Limits;
pub use operator::{OperatorCertificate, OperatorCertificateError};

const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADERS: Duration = Duration::from_secs(20);
/// A connection on which no request begins for this long takes no more.
const IDLE: Duration = Duration::from_secs(300);
/// How long open connections get to finish when the server stops.
const FAREWELL: Duration = Duration::from_secs(10);
const HEADER_BYTES: usize = 32 * 1_024;
const STREAMS: u32 = 64;
/// A pause after a failing accept, so that a lack of file descriptors does not spin.
const REST: Duration = Duration::from_millis(100);

/// Tells every listener and connection when to stop. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Shutdown(watch::Receiver<bool>);

impl Shutdown {
    /// A pair: send `true`, or drop the sender, to stop.
    pub fn new() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// Turns true when it is time to stop; for rooms that must not know of listeners.
    pub fn signal(&self) -> watch::Receiver<bool> {
        self.0.clone()
    }

    /// Returns when it is time to stop.
    pub async fn requested(&mut self) {
        // An error means that the sender is gone: nobody is left to keep us running.
        let _ = self.0.wait_for(|stop| *stop).await;
    }
}

/// An accepted TLS connection.
pub struct Connection {
    /// The stream, handshake done. Boxed: it is handed on several times, and every future that it passes through has room for it.
    pub stream: Box<TlsStream<TcpStream>>,
    /// Who is at the other end, not judged yet.
    pub peer: Peer,
    /// When to stop.
    pub shutdown: Shutdown,
}

/// One listening socket that speaks TLS 1.3 and nothing else.
pub struct Listener {
    name: &'static str,
    tcp: TcpListener,
    acceptor: TlsAcceptor,
    limits: Limits,
}

impl Listener {
    /// Binds `address`; port 0 takes a free one, which [`address`](Self::address) tells.
    pub async fn bind(
        name: &'static str,
        address: SocketAddr,
        config: ServerConfig,
        limits: Limits,
    ) -> io::Result<Self> {
        Ok(Self {
            name,
            tcp: TcpListener::bind(address).await?,
            acceptor: TlsAcceptor::from(Arc::new(config)),
            limits,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }

    /// Accepts connections and hands each to `handle` in a task of its own, until told to stop.
    pub async fn run<H, F>(self, mut shutdown: Shutdown, handle: H)
    where
        H: Fn(Connection) -> F + Clone + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        let stop = shutdown.clone();
        loop {
            let accepted = tokio::select! {
                () = shutdown.requested() => break,
                Some(_) = connections.join_next() => continue,
                accepted = self.tcp.accept() => accepted,
            };
            let (tcp, address) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(
                        listener = self.name,
                        error = &error as &dyn std::error::Error,
                        "accept failed"
                    );
                    tokio::time::sleep(REST).await;
                    continue;
                }
            };
            let Some(place) = self.limits.enter(address.ip()) else {
                self.refused(address, "too_many_connections");
                continue;
            };
            let (name, acceptor, limits) = (self.name, self.acceptor.clone(), self.limits.clone());
            let (stop, handle) = (stop.clone(), handle.clone());
            connections.spawn(async move {
                let _place = place;
                // Boxed, each for itself: what a handshake needs is given back before the connection is used, and an idle
                // connection holds no more than its own state.
                match Box::pin(accept(&acceptor, tcp, address)).await {
                    Ok((stream, peer)) => {
                        let connection = Connection {
                            stream,
                            peer,
                            shutdown: stop,
                        };
                        Box::pin(handle(connection)).await;
                    }
                    Err(reason) => log_refusal(&limits, name, address, reason),
                }
            });
        }
        drop(self.tcp);
        let finish = async { while connections.join_next().await.is_some() {} };
        if timeout(FAREWELL, finish).await.is_err() {
            tracing::info!(
                listener = self.name,
                "ending connections that did not finish"
            );
            connections.shutdown().await;
        }
    }

    fn refused(&self, address: SocketAddr, reason: &'static str) {
        log_refusal(&self.limits, self.name, address, reason);
    }
}

fn log_refusal(limits: &Limits, listener: &'static str, source: SocketAddr, reason: &'static str) {
    if let Some(unlogged) = limits.may_log() {
        tracing::warn!(listener, source = %source.ip(), reason, unlogged, "connection refused");
    }
}

async fn accept(
    acceptor: &TlsAcceptor,
    tcp: TcpStream,
    address: SocketAddr,
) -> Result<(Box<TlsStream<TcpStream>>, Peer), &'static str> {
    // Acknowledgements are small and must not wait for more to say.
    let _ = tcp.set_nodelay(true);
    let stream = match timeout(HANDSHAKE, acceptor.accept(tcp)).await {
        Ok(Ok(stream)) => Box::new(stream),
        Ok(Err(error)) => return Err(reason(&error)),
        Err(_) => return Err("handshake_timeout"),
    };
    let (_, session) = stream.get_ref();
    let chain = session.peer_certificates().unwrap_or_default();
    let peer = Peer {
        address,
        chain: chain.iter().map(|one| one.clone().into_owned()).collect(),
    };
    Ok((stream, peer))
}

/// One fixed word for a failed handshake.
fn reason(error: &io::Error) -> &'static str {
    let Some(error) = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
    else {
        return "connection_lost";
    };
    if let Some(fault) = Fault::in_tls(error) {
        return fault.code();
    }
    match error {
        rustls::Error::NoCertificatesPresented => "certificate_missing",
        rustls::Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            | PeerIncompatible::Tls13RequiredForQuic,
        ) => "tls_version",
        rustls::Error::PeerIncompatible(_) => "tls_incompatible",
        rustls::Error::InvalidMessage(_) => "not_tls",
        rustls::Error::InappropriateMessage { .. }
        | rustls::Error::InappropriateHandshakeMessage { .. }
        | rustls::Error::PeerMisbehaved(_) => "tls_misuse",
        rustls::Error::NoApplicationProtocol => "tls_protocol",
        rustls::Error::AlertReceived(_) => "refused_by_client",
        rustls::Error::InvalidCertificate(_) => "certificate_refused",
        _ => "tls_failed",
    }
}

/// Serves HTTP/1.1 and, where `h2` was agreed on, HTTP/2 on a connection. Each request carries the [`Peer`] as
/// an extension. Stops after the requests under way when the server stops. A client that asks nothing loses its
/// connection: the library's own limits begin only with the first bytes of a request.
pub async fn serve_http(connection: Connection, router: Router) {
    let Connection {
        stream,
        peer,
        mut shutdown,
    } = connection;
    // Only what was agreed on: a preface of HTTP/2 must not open what the listener does not offer.
    let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let requests = Arc::new(AtomicU64::new(0));
    let begun = Arc::clone(&requests);
    let service = service_fn(move |request: Request<Incoming>| {
        begun.fetch_add(1, Ordering::Relaxed);
        let (router, peer) = (router.clone(), peer.clone());
        async move {
            let (parts, body) = request.into_parts();
            // A stream of HTTP/2 ends by itself, and takes no other with it.
            let (body, rest) = match http2 {
                true => (Body::new(body), None),
                false => {
                    let (lent, rest) = rest::lend(&parts.headers, body);
                    (Body::new(lent), Some(rest))
                }
            };
            let mut request = Request::from_parts(parts, body);
            request.extensions_mut().insert(peer);
            let answered = router.oneshot(request).await;
            if let Some(rest) = rest {
                rest.discard().await;
            }
            answered
        }
    });
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADERS)
        .max_buf_size(HEADER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(HEADERS)
        .keep_alive_timeout(HEADERS)
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(HEADER_BYTES as u32);
    let builder = match http2 {
        true => builder.http2_only(),
        false => builder.http1_only(),
    };
    let serving = builder.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(serving);
    let outcome = tokio::select! {
        outcome = &mut serving => outcome,
        () = silent(&requests) => {
            tracing::debug!("HTTP connection without a request ended");
            return;
        }
        () = idle(&requests) => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
        () = shutdown.requested() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = outcome {
        tracing::debug!(error = &*error, "HTTP connection ended");
    }
}

/// Returns when the connection has had its time for a first request and there was none.
async fn silent(requests: &AtomicU64) {
    sleep(HEADERS).await;
    if requests.load(Ordering::Relaxed) > 0 {
        std::future::pending().await
    }
}

/// Returns when no request has begun for [`IDLE`].
async fn idle(requests: &AtomicU64) {
    let mut seen = requests.load(Ordering::Relaxed);
    loop {
        sleep(IDLE).await;
        let now = requests.load(Ordering::Relaxed);
        if now == seen {
            return;
        }
        seen = now;
    }
}
