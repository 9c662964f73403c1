//! The negative set: what is refused, on the first read, and the reason that is logged.

use std::time::Duration;

use fieldkeep_protocol::DeviceId;
use fieldkeep_protocol::topic::{Topic, Up};
use rcgen::{ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SanType};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::kit::{Draft, Server, dial, uri};
use crate::ingest::tests::client::{Client, Got};
use crate::pki::tests::{Bench, HERE, chain, csr, peer, private_key};
use crate::pki::{Fault, Refused, State};

/// A ClientHello that offers TLS 1.2 and nothing newer: no supported_versions extension.
fn tls12_hello() -> Vec<u8> {
    let mut extensions = Vec::new();
    // supported_groups: P-256, X25519; ec_point_formats: uncompressed; signature_algorithms: ECDSA and RSA-PSS.
    extensions.extend_from_slice(&[0, 10, 0, 6, 0, 4, 0, 23, 0, 29]);
    extensions.extend_from_slice(&[0, 11, 0, 2, 1, 0]);
    extensions.extend_from_slice(&[0, 13, 0, 6, 0, 4, 4, 3, 8, 4]);
    let mut body = vec![3, 3];
    body.extend_from_slice(&[0x5a; 32]);
    body.push(0);
    // ECDHE with AES-GCM, the suites that every TLS 1.2 server would take.
    body.extend_from_slice(&[0, 4, 0xc0, 0x2b, 0xc0, 0x2f, 1, 0]);
    body.extend_from_slice(&u16::try_from(extensions.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&extensions);
    let mut handshake = vec![1, 0];
    handshake.extend_from_slice(&u16::try_from(body.len()).unwrap().to_be_bytes());
    handshake.extend_from_slice(&body);
    let mut record = vec![22, 3, 1];
    record.extend_from_slice(&u16::try_from(handshake.len()).unwrap().to_be_bytes());
    record.extend_from_slice(&handshake);
    record
}

#[tokio::test]
async fn other_protocols_get_no_answer_on_any_listener() {
    let server = Server::start().await;
    let mqtt = b"\x10\x10\x00\x04MQTT\x05\x02\x00\x3c\x00\x00\x03abc";
    let http = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let hello = tls12_hello();
    for listener in [server.mqtt, server.device] {
        for (bytes, reason) in [
            (&hello[..], "tls_version"),
            (&http[..], "not_tls"),
            (&mqtt[..], "not_tls"),
            (&[0; 64][..], "not_tls"),
        ] {
            server.log.take();
            let answer = server.raw(listener, bytes).await;
            // At most one TLS alert record, which is fatal.
            assert!(
                answer.is_empty() || (answer[0] == 21 && answer.len() == 7),
                "{answer:?}"
            );
            logged(&server, reason);
        }
    }
}

#[tokio::test]
async fn no_certificate_opens_no_session() {
    let server = Server::start().await;
    let nobody = server.client(None);
    assert_eq!(server.first_read(&nobody).await, Got::End);
    logged(&server, "certificate_missing");
    let answer = server.request(&nobody, "/device/1/renew").await;
    assert_eq!(answer, "HTTP/1.1 401 Unauthorized");
    logged(&server, "certificate_missing");
}

/// Chains that must not pass the handshake of either listener, with the reason.
async fn bad_chains(
    bench: &Bench,
) -> Vec<(
    &'static str,
    (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>),
)> {
    let known = bench.enrol("known").await;
    let device = known.device;
    let now_s = bench.clock.now().as_micros() / 1_000_000;
    let draft = || Draft::new(device, now_s);
    let issuer = bench.issuer();
    let above = [bench.issuing()];
    let elsewhere = Bench::new().await;
    let foreign = elsewhere.enrol("elsewhere").await;
    let (server_issuer, server_issuing) = bench.server_issuing();
    let own = draft().with(|params| params.is_ca = IsCa::NoCa);
    let self_signed = own.params.self_signed(&own.key).unwrap().der().clone();
    let authority = draft().authority(0);
    let leaf_as_authority = draft();
    let known_above = [known.chain[0].clone(), bench.issuing()];
    let leaf_issuer =
        rcgen::Issuer::from_ca_cert_der(&known.chain[0], known_key(&known.key)).unwrap();
    let sub = authority.signed(&issuer, &above);
    let sub_issuer = rcgen::Issuer::from_ca_cert_der(&sub.0[0], known_key(&authority.key)).unwrap();
    let mut as_server = draft().signed(&server_issuer, &[server_issuing]);
    as_server.0.truncate(2);
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384).unwrap();
    let years = Duration::from_secs(2 * 86_400);
    vec![
        (
            "certificate_foreign",
            (foreign.chain.clone(), foreign.private_key()),
        ),
        (
            "certificate_foreign",
            (vec![self_signed], private_key(&own.key)),
        ),
        ("certificate_extended_key_usage", as_server),
        (
            "certificate_not_yet_valid",
            draft()
                .with(|params| {
                    params.not_before += years;
                    params.not_after += years;
                })
                .signed(&issuer, &above),
        ),
        (
            "certificate_extended_key_usage",
            draft()
                .with(|params| params.extended_key_usages.clear())
                .signed(&issuer, &above),
        ),
        (
            "certificate_extended_key_usage",
            draft()
                .with(|params| {
                    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]
                })
                .signed(&issuer, &above),
        ),
        (
            "certificate_extended_key_usage",
            draft()
                .with(|params| {
                    params
                        .extended_key_usages
                        .push(ExtendedKeyUsagePurpose::ServerAuth)
                })
                .signed(&issuer, &above),
        ),
        (
            "certificate_key_usage",
            draft()
                .with(|params| params.key_usages.clear())
                .signed(&issuer, &above),
        ),
        (
            "certificate_key_usage",
            draft()
                .with(|params| params.key_usages = vec![KeyUsagePurpose::KeyAgreement])
                .signed(&issuer, &above),
        ),
        (
            "certificate_authority",
            draft()
                .with(|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign))
                .signed(&issuer, &above),
        ),
        (
            "certificate_authority",
            draft().authority(0).signed(&issuer, &above),
        ),
        (
            "certificate_authority",
            (vec![bench.issuing()], private_key(&bench.issuing_key())),
        ),
        (
            "certificate_chain",
            leaf_as_authority.signed(&leaf_issuer, &known_above),
        ),
        ("certificate_chain", draft().signed(&sub_issuer, &sub.0)),
        (
            "certificate_name",
            draft()
                .with(|params| params.subject_alt_names.clear())
                .signed(&issuer, &above),
        ),
        (
            "certificate_name",
            draft()
                .with(|params| {
                    params
                        .subject_alt_names
                        .push(uri(DeviceId::from_bytes([1; 16])))
                })
                .signed(&issuer, &above),
        ),
        (
            "certificate_name",
            draft()
                .with(|params| {
                    params
                        .subject_alt_names
                        .push(SanType::DnsName("a.example".try_into().unwrap()))
                })
                .signed(&issuer, &above),
        ),
        (
            "certificate_name",
            draft()
                .with(|params| params.subject_alt_names = vec![uri(DeviceId::from_bytes([1; 16]))])
                .signed(&issuer, &above),
        ),
        (
            "certificate_key",
            draft().keyed(p384).signed(&issuer, &above),
        ),
        (
            "certificate_extension",
            draft().critical().signed(&issuer, &above),
        ),
    ]
}

fn known_key(key: &KeyPair) -> KeyPair {
    KeyPair::try_from(&private_key(key)).unwrap()
}

#[tokio::test]
async fn bad_certificates_do_not_pass_the_handshake() {
    let server = Server::start().await;
    refuses_bad_chains(&server).await;
    // Once more, now that the issuing authority and a leaf are proved and need no path to the root.
    let good = server.station.bench.enrol("good").await;
    let connector = server.device_client(&good);
    assert_eq!(server.first_read(&connector).await, Got::Connack(0));
    refuses_bad_chains(&server).await;
    assert_eq!(server.first_read(&connector).await, Got::Connack(0));
    // Keys that TLS itself cannot use here count as none.
    let device = server.station.bench.enrol("ed").await.device;
    let now_s = server.station.bench.clock.now().as_micros() / 1_000_000;
    let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let draft = Draft::new(device, now_s).keyed(key);
    let identity = draft.signed(
        &server.station.bench.issuer(),
        &[server.station.bench.issuing()],
    );
    assert_eq!(
        server.first_read(&server.client(Some(identity))).await,
        Got::End
    );
    logged(&server, "certificate_missing");
}

async fn refuses_bad_chains(server: &Server) {
    for (reason, identity) in bad_chains(&server.station.bench).await {
        let connector = server.client(Some(identity));
        // Refusals are logged at a bounded rate.
        server.station.bench.hands.advance(Duration::from_secs(1));
        server.log.take();
        assert_eq!(
            server.first_read(&connector).await,
            Got::End,
            "{reason} on mqtt"
        );
        logged(server, reason);
        // Optional is not lenient: a certificate that is sent must be good.
        assert_eq!(
            server.request(&connector, "/device/1/renew").await,
            "",
            "{reason} on device"
        );
        logged(server, reason);
    }
}

#[tokio::test]
async fn nothing_that_was_proved_outlives_its_authority() {
    let bench = Bench::new().await;
    let device = bench.enrol("a").await.device;
    let now_s = bench.clock.now().as_micros() / 1_000_000;
    let years = Duration::from_secs(5 * 365 * 86_400);
    let draft = || Draft::new(device, now_s).with(|params| params.not_after += years);
    let signed = |draft: Draft| peer(draft.signed(&bench.issuer(), &[bench.issuing()]).0);
    let (known, other) = (signed(draft()), signed(draft()));
    for _ in 0..2 {
        let refused = bench.pki.authenticate(&known).await.unwrap_err();
        assert!(matches!(refused, Refused::Unknown { .. }), "{refused:?}");
    }
    bench.hands.advance(Duration::from_secs(731 * 86_400));
    // The leaf that was seen before, and one that only its authority was seen of.
    for peer in [known, other] {
        let refused = bench.pki.authenticate(&peer).await.unwrap_err();
        assert!(
            matches!(refused, Refused::Certificate(Fault::Chain(_))),
            "{refused:?}"
        );
    }
}

#[tokio::test]
async fn a_new_authority_of_another_process_is_believed_by_its_path_to_the_root() {
    let bench = Bench::new().await;
    let older = bench.enrol("older").await;
    assert!(bench.pki.authenticate(&older.peer()).await.is_ok());
    bench.hands.advance(Duration::from_secs(600 * 86_400));
    let beside = bench.beside().await;
    let code = bench.claim("newer").await;
    let key = KeyPair::generate().unwrap();
    let enrolled = beside.enrol(HERE, &code, &csr(&key)).await.unwrap();
    let newer = chain(&enrolled.certificate);
    assert_ne!(newer[1], older.chain[1]);
    for _ in 0..2 {
        let session = bench.pki.authenticate(&peer(newer.clone())).await.unwrap();
        assert_eq!(session.device(), enrolled.device);
    }
    // Alone it leads nowhere here: this process has not read of its authority.
    let alone = peer(newer[..1].to_vec());
    let refused = bench.pki.authenticate(&alone).await;
    assert!(matches!(refused, Err(Refused::Certificate(_))));
}

#[tokio::test]
async fn good_certificates_without_standing_are_refused_on_the_first_read() {
    let server = Server::start().await;
    let bench = &server.station.bench;
    let device = bench.enrol("a").await;
    let connector = server.device_client(&device);
    assert_eq!(server.first_read(&connector).await, Got::Connack(0));

    // Correctly signed for a known device, but never issued: no row.
    let now_s = bench.clock.now().as_micros() / 1_000_000;
    let unissued = Draft::new(device.device, now_s).signed(&bench.issuer(), &[bench.issuing()]);
    let unissued = server.client(Some(unissued));
    assert_eq!(server.first_read(&unissued).await, Got::Connack(0x87));
    logged(&server, "certificate_unknown");
    assert_eq!(
        server.request(&unissued, "/device/1/renew").await,
        "HTTP/1.1 400 Bad Request"
    );
    assert_eq!(
        server.request(&unissued, "/device/1/other").await,
        "HTTP/1.1 401 Unauthorized"
    );
    logged(&server, "certificate_unknown");

    bench.set_state(device.device, State::Disabled).await;
    let connector = server.device_client(&device);
    assert_eq!(server.first_read(&connector).await, Got::Connack(0x8a));
    logged(&server, "device_inactive");
    bench.set_state(device.device, State::Active).await;

    bench.hands.advance(Duration::from_secs(91 * 86_400));
    let connector = server.device_client(&device);
    assert_eq!(server.first_read(&connector).await, Got::Connack(0x87));
    logged(&server, "certificate_expired");
    // Renewal alone is open: it complains of the body, not of the certificate.
    assert_eq!(
        server.request(&connector, "/device/1/renew").await,
        "HTTP/1.1 400 Bad Request"
    );
    assert_eq!(
        server.request(&connector, "/device/1/other").await,
        "HTTP/1.1 401 Unauthorized"
    );
    logged(&server, "certificate_expired");
}

#[tokio::test]
async fn one_devices_certificate_does_not_reach_anothers_topic() {
    let server = Server::start().await;
    let [one, other] = [
        server.station.bench.enrol("one").await,
        server.station.bench.enrol("other").await,
    ];
    let connector = server.device_client(&one);
    let mut client = Client::new(dial(&connector, server.mqtt).await.unwrap());
    assert_eq!(
        client.connect(&one.device.to_string()).await,
        Got::Connack(0)
    );
    let topic = Topic::up(other.device, Up::Batch);
    assert_eq!(client.deliver(&topic, b"x").await, 0x87);
    logged(&server, "topic_refused");
    let mut client = Client::new(dial(&connector, server.mqtt).await.unwrap());
    assert_eq!(
        client.connect(&other.device.to_string()).await,
        Got::Connack(0x85)
    );
    logged(&server, "client_id");
}

pub(super) fn logged(server: &Server, reason: &str) {
    let log = server.log.take();
    assert!(
        log.contains(&format!("reason=\"{reason}\"")),
        "no {reason} in:\n{log}"
    );
}
