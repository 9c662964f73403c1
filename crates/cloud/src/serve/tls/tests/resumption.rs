//! A resumed connection skips the verifier in the handshake, and is judged all the same.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, HandshakeKind};
use tokio_rustls::TlsConnector;

use super::kit::{Server, dial};
use super::refusals::logged;
use crate::ingest::tests::client::{Client, Got};
use crate::pki::State;

/// A first session that leaves the client with tickets.
async fn warm(server: &Server, connector: &TlsConnector) {
    let mut client = Client::new(dial(connector, server.mqtt).await.unwrap());
    // Tickets arrive with the first bytes that are read.
    assert_eq!(client.connect("").await, Got::Connack(0));
}

async fn resumed(server: &Server, connector: &TlsConnector) -> Got {
    let stream = dial(connector, server.mqtt).await.unwrap();
    assert_eq!(
        stream.get_ref().1.handshake_kind(),
        Some(HandshakeKind::Resumed)
    );
    Client::new(stream).connect("").await
}

#[tokio::test]
async fn a_device_resumes_as_itself() {
    let server = Server::start().await;
    let device = server.station.bench.enrol("a").await;
    let connector = server.device_client(&device);
    warm(&server, &connector).await;
    let stream = dial(&connector, server.mqtt).await.unwrap();
    assert_eq!(
        stream.get_ref().1.handshake_kind(),
        Some(HandshakeKind::Resumed)
    );
    let mut client = Client::new(stream);
    assert_eq!(
        client.connect(&device.device.to_string()).await,
        Got::Connack(0)
    );
}

#[tokio::test]
async fn a_disabled_device_does_not_come_back_by_a_ticket() {
    let server = Server::start().await;
    let device = server.station.bench.enrol("a").await;
    let connector = server.device_client(&device);
    warm(&server, &connector).await;
    server
        .station
        .bench
        .set_state(device.device, State::Disabled)
        .await;
    server.log.take();
    assert_eq!(resumed(&server, &connector).await, Got::Connack(0x8a));
    logged(&server, "device_inactive");
}

#[tokio::test]
async fn an_expired_certificate_does_not_come_back_by_a_ticket() {
    let server = Server::start().await;
    let device = server.station.bench.enrol("a").await;
    let connector = server.device_client(&device);
    warm(&server, &connector).await;
    server
        .station
        .bench
        .hands
        .advance(Duration::from_secs(91 * 86_400));
    server.log.take();
    assert_eq!(resumed(&server, &connector).await, Got::Connack(0x87));
    logged(&server, "certificate_expired");
}

#[tokio::test]
async fn a_ticket_of_one_listener_opens_no_other() {
    let server = Server::start().await;
    let device = server.station.bench.enrol("a").await;
    let connector = server.device_client(&device);
    warm(&server, &connector).await;
    let stream = dial(&connector, server.device).await.unwrap();
    assert_eq!(
        stream.get_ref().1.handshake_kind(),
        Some(HandshakeKind::Full)
    );
}

#[tokio::test]
async fn tickets_allow_no_early_data() {
    let server = Server::start().await;
    let device = server.station.bench.enrol("a").await;
    let connector = server.device_client(&device);
    warm(&server, &connector).await;
    let mut eager = ClientConfig::clone(connector.config());
    eager.enable_early_data = true;
    let name = ServerName::try_from("localhost").unwrap();
    let mut connection = ClientConnection::new(Arc::new(eager), name).unwrap();
    assert!(connection.early_data().is_none());
}
