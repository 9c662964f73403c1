//! Bounds and the orderly end of a listener, and the operator's own certificate.

use std::net::SocketAddr;
use std::time::Duration;

use rcgen::{CertificateParams, KeyPair};
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
