//! Bounds and the orderly end of a listener, and the operator's own certificate.

use std::net::SocketAddr;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use super::kit::{Server, dial};
use super::refusals::logged;
use crate::ingest::tests::client::{Client, Got};
use crate::serve::tls::{
    Connection, Limits, Listener, OperatorCertificate, OperatorCertificateError, Shutdown,
};

#[tokio::test]
async fn a_stopping_listener_says_goodbye_and_returns() {
    let server = Server::start().await;
    let pki = &server.station.bench.pki;
    let certificate = pki.server_certificate("localhost").await.unwrap();
    let config = pki.device_tls(&certificate, true, &["mqtt"]).unwrap();
    let here: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let limits = Limits::new(1, 1, server.station.bench.clock.clone());
    let listener = Listener::bind("mqtt", here, config, limits).await.unwrap();
    let address = listener.address().unwrap();
    let (stop, shutdown) = Shutdown::new();
    let ingest = server.station.ingest.clone();
    let running = tokio::spawn(listener.run(shutdown, move |connection| {
        let ingest = ingest.clone();
        async move {
            let Connection {
                stream,
                peer,
                mut shutdown,
            } = connection;
            let stop = async move { shutdown.requested().await };
            ingest.mqtt(stream, peer, stop).await;
        }
    }));
    let device = server.station.bench.enrol("a").await;
    let connector = server.device_client(&device);
    let mut client = Client::new(dial(&connector, address).await.unwrap());
    assert_eq!(client.connect("").await, Got::Connack(0));

    // The only place is taken.
    server.log.take();
    assert!(dial(&connector, address).await.is_err());
    logged(&server, "too_many_connections");

    stop.send(true).unwrap();
    assert_eq!(client.next().await, Got::Disconnect(0x8b));
    assert_eq!(client.next().await, Got::End);
    let ended = timeout(Duration::from_secs(5), running).await;
    ended.expect("the listener returns").unwrap();
    assert!(dial(&connector, address).await.is_err());
}

#[test]
fn the_operators_files_must_fit_together() {
    let folder = tempfile::tempdir().unwrap();
    let [chain, key, other] =
        ["chain.pem", "key.pem", "other.pem"].map(|name| folder.path().join(name));
    let pair = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["cloud.example".into()]).unwrap();
    let certificate = params.self_signed(&pair).unwrap();
    std::fs::write(&chain, certificate.pem()).unwrap();
    std::fs::write(&key, pair.serialize_pem()).unwrap();
    std::fs::write(&other, KeyPair::generate().unwrap().serialize_pem()).unwrap();

    let read = OperatorCertificate::read(chain.clone(), key.clone()).unwrap();
    assert_eq!(read.served().chain(), [certificate.der().clone()]);
    let unfit = OperatorCertificate::read(chain.clone(), other).err();
    assert!(matches!(unfit, Some(OperatorCertificateError::Unfit(_))));
    let empty = OperatorCertificate::read(key.clone(), key.clone()).err();
    assert!(matches!(
        empty,
        Some(OperatorCertificateError::Empty { .. })
    ));
    let missing = OperatorCertificate::read(folder.path().join("none"), key).err();
    assert!(matches!(
        missing,
        Some(OperatorCertificateError::Read { .. })
    ));
}

#[tokio::test]
async fn who_asks_nothing_loses_the_connection() {
    let server = Server::start().await;
    let connector = server.client(None);
    let holds = async |bytes: &[u8]| {
        let mut stream = dial(&connector, server.device).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        timeout(Duration::from_secs(40), read).await.is_err()
    };
    let held = tokio::join!(
        holds(b""),
        holds(b"PRI * HTTP/2.0\r\n"),
        holds(b"POST / HTTP/1.1\r\nHost:"),
    );
    assert_eq!(held, (false, false, false));
}

#[tokio::test]
async fn http_2_is_not_spoken_where_it_was_not_agreed_on() {
    let server = Server::start().await;
    let connector = server.client(None);
    let mut stream = dial(&connector, server.device).await.unwrap();
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    stream.write_all(preface).await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the connection ends");
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"));
}

#[tokio::test]
async fn a_refusal_reaches_who_still_sends() {
    let server = Server::start().await;
    let mut stream = dial(&server.client(None), server.device).await.unwrap();
    let body = vec![b'x'; 300_000];
    let head = format!(
        "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    // The second request proves that the first was read to its end.
    for _ in 0..2 {
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(&body).await.unwrap();
        stream.flush().await.unwrap();
        let mut answer = vec![0; 4_096];
        let read = timeout(Duration::from_secs(10), stream.read(&mut answer)).await;
        let length = read.expect("an answer").unwrap();
        let answer = String::from_utf8_lossy(&answer[..length]);
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
}

#[tokio::test]
async fn a_refused_body_is_not_asked_for() {
    let server = Server::start().await;
    let mut stream = dial(&server.client(None), server.device).await.unwrap();
    let head = "POST /nowhere HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9\r\nExpect: 100-continue\r\n\r\n";
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.flush().await.unwrap();
    let mut answer = Vec::new();
    let read = timeout(Duration::from_secs(10), stream.read_to_end(&mut answer)).await;
    let _ = read.expect("the connection ends");
    assert!(answer.starts_with(b"HTTP/1.1 4"));
}
