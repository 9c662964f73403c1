//! The one HTTP client that asks everybody: one kept connection, plain or TLS 1.3, requests one after another.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::process::now;

/// A kept connection.
pub struct Asker {
    address: SocketAddr,
    /// TLS and an API key, where there are.
    secure: Option<(TlsConnector, String)>,
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Asker {
    /// Plain HTTP, as the peers speak it.
    pub async fn plain(address: SocketAddr) -> Result<Self> {
        Self::open(address, None).await
    }

    /// HTTPS with an API key.
    pub async fn secure(address: SocketAddr, tls: &TlsConnector, key: &str) -> Result<Self> {
        Self::open(address, Some((tls.clone(), key.to_owned()))).await
    }

    async fn open(address: SocketAddr, secure: Option<(TlsConnector, String)>) -> Result<Self> {
        let (sender, driver) = match &secure {
            Some((tls, _)) => speak(super::mqtt::handshake(address, tls).await?).await?,
            None => {
                let tcp = TcpStream::connect(address).await?;
                tcp.set_nodelay(true)?;
                speak(tcp).await?
            }
        };
        Ok(Self {
            address,
            secure,
            sender,
            driver,
        })
    }

    /// A new connection in the place of the old one, which a server may have closed with a refusal.
    pub async fn renew(&mut self) -> Result<()> {
        *self = Self::open(self.address, self.secure.clone()).await?;
        Ok(())
    }

    /// Sends one request; answers status and body.
    pub async fn send(&mut self, method: &str, path: &str, body: Bytes) -> Result<(u16, Bytes)> {
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header("host", "localhost");
        if let Some((_, key)) = &self.secure {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        self.sender.ready().await?;
        let answer = self
            .sender
            .send_request(request.body(Full::new(body))?)
            .await?;
        let status = answer.status().as_u16();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }

    /// GET that must be answered 200.
    pub async fn get(&mut self, path: &str) -> Result<Bytes> {
        let (status, body) = self.send("GET", path, Bytes::new()).await?;
        ensure!(
            status == 200,
            "GET {}: {status} {}",
            shorten(path),
            said(&body)
        );
        Ok(body)
    }

    /// POST that must be answered 2xx.
    pub async fn post(&mut self, path: &str, body: Bytes) -> Result<()> {
        let (status, body) = self.send("POST", path, body).await?;
        ensure!(
            (200..300).contains(&status),
            "POST {}: {status} {}",
            shorten(path),
            said(&body)
        );
        Ok(())
    }

    /// Asks `times` questions, going round `questions`; a question is one or several calls, timed together. Each is
    /// asked once before, untimed.
    pub async fn time(&mut self, questions: &[Vec<String>], times: usize) -> Result<Vec<Duration>> {
        for question in questions.iter().take(times) {
            for path in question {
                self.get(path).await.context("a question has no answer")?;
            }
        }
        let mut took = Vec::with_capacity(times);
        for question in questions.iter().cycle().take(times) {
            let begin = now();
            for path in question {
                self.get(path).await?;
            }
            took.push(begin.elapsed());
        }
        Ok(took)
    }
}

async fn speak<S>(stream: S) -> Result<(SendRequest<Full<Bytes>>, JoinHandle<()>)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // What ends the connection is told to the request that notices.
    let driver = tokio::spawn(async move {
        let _ = connection.await;
    });
    Ok((sender, driver))
}

fn shorten(path: &str) -> String {
    path.chars().take(160).collect()
}

fn said(body: &Bytes) -> String {
    String::from_utf8_lossy(body).chars().take(300).collect()
}

/// A text with everything that a query may not hold escaped.
#[must_use]
pub fn escaped(text: &str) -> String {
    use std::fmt::Write as _;
    let mut out = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_escaped() {
        assert_eq!(escaped("e0{d=\"1\"}[1h]"), "e0%7Bd%3D%221%22%7D%5B1h%5D");
    }
}
