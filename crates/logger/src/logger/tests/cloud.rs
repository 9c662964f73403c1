//! A small cloud on loopback with real TLS: it enrols, renews, takes batches and acknowledges them.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use fieldkeep_protocol::{
    DeviceId, Epoch, ProjectId, Spans, Timestamp,
    batch::Batch,
    message::{Ledger, State, Time},
    topic::{self, Down, Topic, Up},
};
use mqtt_protocol_core::mqtt::{
    Connection, Version,
    common::Cursor,
    connection::{Event, role},
    packet::{
        Packet, Qos,
        v5_0::{Connack, Puback, Publish, Suback},
    },
    prelude::*,
    result_code::{ConnectReasonCode, PubackReasonCode, SubackReasonCode},
};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, CertifiedIssuer,
    DistinguishedName, DnType, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
};
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::TlsAcceptor;

use crate::tls;

type Authority = CertifiedIssuer<'static, KeyPair>;

/// What the cloud holds and how it behaves.
#[derive(Default)]
pub(super) struct Held {
    pub(super) batches: BTreeMap<(u64, u64), Vec<u8>>,
    pub(super) tables: Vec<Vec<u8>>,
    pub(super) seals: Vec<Vec<u8>>,
    pub(super) logs: usize,
    pub(super) sessions: usize,
    pub(super) renewals: usize,
    /// Batches with these first numbers are answered so, once.
    pub(super) answers: BTreeMap<u64, PubackReasonCode>,
    /// The time it tells; none is told where there is none.
    pub(super) time_us: Option<i64>,
    /// Certificates it issues began so many seconds before `now_s` and last so many.
    pub(super) validity: (i64, i64),
}

/// A cloud.
#[derive(Clone)]
pub(super) struct Cloud {
    pub(super) held: Arc<Mutex<Held>>,
    pub(super) root_pem: String,
    pub(super) root_print: [u8; 32],
    pub(super) https_port: u16,
    pub(super) mqtt_port: u16,
    server: Arc<Authority>,
    devices: Arc<Authority>,
    now_s: i64,
}

fn authority(name: &str) -> Authority {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, name);
    CertifiedIssuer::self_signed(params, key()).unwrap()
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap()
}

pub(super) fn device() -> DeviceId {
    DeviceId::from_parts(1_700_000_000_000, [7; 10])
}

impl Cloud {
    /// Starts one; `now_s` is what it takes for the time.
    pub(super) async fn start(now_s: i64) -> Cloud {
        let (https, mqtt) = (bind().await, bind().await);
        let server = authority("server root");
        let cloud = Cloud {
            held: Arc::new(Mutex::new(Held {
                validity: (3_600, 90 * 86_400),
                ..Held::default()
            })),
            root_pem: server.pem(),
            root_print: tls::fingerprint(server.der()),
            https_port: https.local_addr().unwrap().port(),
            mqtt_port: mqtt.local_addr().unwrap().port(),
            server: Arc::new(server),
            devices: Arc::new(authority("device root")),
            now_s,
        };
        cloud.serve(https, mqtt);
        cloud
    }

    fn serve(&self, https: TcpListener, mqtt: TcpListener) {
        let (https_tls, mqtt_tls) = (self.acceptor(false), self.acceptor(true));
        let this = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = https.accept().await {
                let (this, tls) = (this.clone(), https_tls.clone());
                tokio::spawn(async move { this.https(tls, stream).await });
            }
        });
        let this = self.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = mqtt.accept().await {
                let (this, tls) = (this.clone(), mqtt_tls.clone());
                tokio::spawn(async move { this.mqtt(tls, stream).await });
            }
        });
    }

    fn acceptor(&self, needs_client: bool) -> TlsAcceptor {
        let leaf_key = key();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2090, 1, 1);
        let leaf = params.signed_by(&leaf_key, &self.server).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(self.devices.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
        let verifier = if needs_client {
            verifier
        } else {
            verifier.allow_unauthenticated()
        };
        let chain: Vec<CertificateDer<'static>> =
            vec![leaf.der().clone(), self.server.der().clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(leaf_key.serialize_der()));
        let config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    fn issue(&self, csr: &str) -> String {
        let (began, lasts) = self.held.lock().unwrap().validity;
        let mut csr = CertificateSigningRequestParams::from_pem(csr).unwrap();
        csr.params.distinguished_name = DistinguishedName::new();
        csr.params
            .distinguished_name
            .push(DnType::CommonName, device().to_string());
        let at = |s: i64| {
            rcgen::date_time_ymd(1970, 1, 1)
                + std::time::Duration::from_secs(s.max(0).unsigned_abs())
        };
        csr.params.not_before = at(self.now_s - began);
        csr.params.not_after = at(self.now_s - began + lasts);
        csr.signed_by(&self.devices).unwrap().pem()
    }

    async fn https(&self, tls: TlsAcceptor, stream: TcpStream) {
        let Ok(mut stream) = tls.accept(stream).await else {
            return;
        };
        let has_client = stream.get_ref().1.peer_certificates().is_some();
        let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
        let body = loop {
            let Ok(count @ 1..) = stream.read(&mut buffer).await else {
                return;
            };
            request.extend_from_slice(&buffer[..count]);
            let text = String::from_utf8_lossy(&request).into_owned();
            let Some((head, body)) = text.split_once("\r\n\r\n") else {
                continue;
            };
            let length = head.to_ascii_lowercase();
            let length: usize = length
                .lines()
                .find_map(|l| l.strip_prefix("content-length: ")?.trim().parse().ok())
                .unwrap_or(0);
            if body.len() >= length {
                break serde_json::from_str::<serde_json::Value>(body).unwrap();
            }
        };
        let csr = body["csr"].as_str().unwrap();
        let path = String::from_utf8_lossy(&request)
            .split(' ')
            .nth(1)
            .unwrap()
            .to_owned();
        let (status, answer) = match (path.as_str(), body["code"].as_str()) {
            ("/device/1/enroll", Some("GOOD")) => (201, self.enrolled(csr)),
            ("/device/1/enroll", _) => (
                409,
                serde_json::json!({"title": "This claim was used already", "detail": "Make a new claim.", "code": "claim_used"}),
            ),
            ("/device/1/renew", _) if has_client => {
                {
                    let mut held = self.held.lock().unwrap();
                    held.renewals += 1;
                    held.validity = (3_600, 90 * 86_400);
                }
                (200, serde_json::json!({"certificate": self.issue(csr)}))
            }
            _ => (404, serde_json::json!({"title": "Not found"})),
        };
        let answer = answer.to_string();
        let head = format!(
            "HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        let _ = stream.write_all(format!("{head}{answer}").as_bytes()).await;
        let _ = stream.shutdown().await;
    }

    fn enrolled(&self, csr: &str) -> serde_json::Value {
        serde_json::json!({
            "device": device().to_string(),
            "project": ProjectId::from_parts(1_700_000_000_000, [8; 10]).to_string(),
            "certificate": self.issue(csr),
            "ca": self.root_pem,
            "mqtt": format!("localhost:{}", self.mqtt_port),
            "https": format!("localhost:{}", self.https_port),
        })
    }

    async fn mqtt(&self, tls: TlsAcceptor, stream: TcpStream) {
        let Ok(mut stream) = tls.accept(stream).await else {
            return;
        };
        self.held.lock().unwrap().sessions += 1;
        let mut connection = Connection::<role::Server>::new(Version::V5_0);
        let mut buffer = vec![0; 128 * 1024];
        loop {
            let Ok(count @ 1..) = stream.read(&mut buffer).await else {
                return;
            };
            let mut cursor = Cursor::new(&buffer[..count]);
            let mut output = Vec::new();
            while (cursor.position() as usize) < count {
                for event in connection.recv(&mut cursor) {
                    let Event::NotifyPacketReceived(packet) = event else {
                        continue;
                    };
                    for answer in self.answer(packet) {
                        for event in connection.send(answer) {
                            if let Event::RequestSendPacket { packet, .. } = event {
                                output.extend(packet.to_continuous_buffer());
                            }
                        }
                    }
                }
            }
            if stream.write_all(&output).await.is_err() || stream.flush().await.is_err() {
                return;
            }
        }
    }

    fn answer(&self, packet: Packet) -> Vec<Packet> {
        match packet {
            Packet::V5_0Connect(_) => {
                let connack = Connack::builder()
                    .session_present(false)
                    .reason_code(ConnectReasonCode::Success);
                vec![connack.build().unwrap().into()]
            }
            Packet::V5_0Subscribe(subscribe) => {
                let codes = vec![SubackReasonCode::GrantedQos1; subscribe.entries().len()];
                let suback = Suback::builder()
                    .packet_id(subscribe.packet_id())
                    .reason_codes(codes);
                let mut answers = vec![suback.build().unwrap().into()];
                if let Some(time_us) = self.held.lock().unwrap().time_us {
                    let mut bytes = [0; 16];
                    let length = Time {
                        now: Timestamp::from_micros(time_us),
                    }
                    .encode(&mut bytes)
                    .unwrap();
                    answers.push(tell(Down::Time, &bytes[..length]));
                }
                answers
            }
            Packet::V5_0Publish(publish) => self.take(&publish),
            _ => Vec::new(),
        }
    }

    fn take(&self, publish: &Publish) -> Vec<Packet> {
        let (sender, kind) = topic::parse(publish.topic_name()).unwrap();
        assert_eq!(sender, device());
        let bytes = publish.payload().as_slice().to_vec();
        let mut held = self.held.lock().unwrap();
        let mut code = PubackReasonCode::Success;
        let mut more = Vec::new();
        match kind {
            Up::Batch => {
                let header = *Batch::decode(&bytes).unwrap().header();
                match held.answers.remove(&header.first) {
                    Some(other) => code = other,
                    None => {
                        let old = held
                            .batches
                            .insert((header.epoch.0, header.first), bytes.clone());
                        assert!(
                            old.is_none_or(|old| old == bytes),
                            "redelivery is byte-identical"
                        );
                    }
                }
            }
            Up::Channels => held.tables.push(bytes),
            Up::Seal => held.seals.push(bytes),
            Up::Log => held.logs += 1,
            Up::State => {
                let state = State::decode(&bytes).unwrap();
                let next = held
                    .batches
                    .range((state.epoch.0, 0)..=(state.epoch.0, u64::MAX))
                    .next_back()
                    .map_or(0, |((_, first), b)| {
                        first + u64::from(Batch::decode(b).unwrap().header().count)
                    });
                more.push(tell_ledger(state.epoch, next));
            }
        }
        let puback = Puback::builder()
            .packet_id(publish.packet_id().unwrap())
            .reason_code(code);
        let mut answers: Vec<Packet> = vec![puback.build().unwrap().into()];
        answers.append(&mut more);
        answers
    }
}

fn tell_ledger(epoch: Epoch, next: u64) -> Packet {
    let mut bytes = vec![0; 64];
    let length = Ledger {
        epoch,
        next,
        holes: Spans::EMPTY,
    }
    .encode(&mut bytes)
    .unwrap();
    tell(Down::Ledger, &bytes[..length])
}

fn tell(kind: Down, payload: &[u8]) -> Packet {
    let topic = Topic::down(device(), kind);
    let packet = Publish::builder()
        .topic_name(topic.as_str())
        .unwrap()
        .qos(Qos::AtMostOnce)
        .payload(payload);
    packet.build().unwrap().into()
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}
