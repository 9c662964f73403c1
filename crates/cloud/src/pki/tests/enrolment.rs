//! Claims make one device each; keys are certified once; renewal is open when nothing else is.

use std::time::Duration;

use fieldkeep_protocol::Timestamp;
use rcgen::{KeyPair, PublicKeyData as _};
use x509_parser::prelude::FromDer as _;

use super::Bench;
use super::bench::{HERE, chain, csr, peer};
use crate::access::{Read, Task, Write, system};
use crate::pki::{EnrolError, Fault, Peer, Refused, State};

const DAY: Duration = Duration::from_secs(86_400);

#[tokio::test]
async fn a_claim_makes_one_device() {
    let bench = Bench::new().await;
    let code = bench.claim("River station").await;
    let first = bench
        .enrol_with(&code.to_lowercase(), KeyPair::generate().unwrap())
        .await
        .unwrap();
    let second = bench.enrol_with(&code, KeyPair::generate().unwrap()).await;
    assert!(matches!(second, Err(EnrolError::ClaimUsed)));

    let task = system(Task::AdminCommand).project(bench.project);
    let devices = bench.pki.devices(&task.grant::<Read>()).await.unwrap();
    let [device] = devices.as_slice() else {
        panic!("{devices:?}")
    };
    assert_eq!(
        (device.id, device.name.as_str()),
        (first.device, "River station")
    );
    assert_eq!(device.state, State::Active);
    let claims = bench.pki.claims(&task.grant::<Read>()).await.unwrap();
    assert!(claims[0].used.is_some());

    let session = bench.pki.authenticate(&first.peer()).await.unwrap();
    assert_eq!(
        (session.device(), session.project()),
        (first.device, bench.project)
    );
}

#[tokio::test]
async fn an_answer_lost_on_the_way_can_be_asked_for_again() {
    let bench = Bench::new().await;
    let code = bench.claim("a").await;
    let key = KeyPair::generate().unwrap();
    let first = bench.pki.enrol(HERE, &code, &csr(&key)).await.unwrap();
    let again = bench.pki.enrol(HERE, &code, &csr(&key)).await.unwrap();
    assert_eq!(
        (first.device, first.certificate),
        (again.device, again.certificate)
    );
}

#[tokio::test]
async fn claims_expire_and_can_be_withdrawn() {
    let bench = Bench::new().await;
    let [late, withdrawn] = [bench.claim("late").await, bench.claim("withdrawn").await];
    let task = system(Task::AdminCommand).project(bench.project);
    let claims = bench.pki.claims(&task.grant::<Read>()).await.unwrap();
    let claim = claims
        .iter()
        .find(|claim| claim.name == "withdrawn")
        .unwrap();
    bench
        .pki
        .delete_claim(&task.grant::<Write>(), claim.id)
        .await
        .unwrap();
    let refused = bench
        .enrol_with(&withdrawn, KeyPair::generate().unwrap())
        .await;
    assert!(matches!(refused, Err(EnrolError::ClaimUnknown)));
    bench.hands.advance(DAY);
    let refused = bench.enrol_with(&late, KeyPair::generate().unwrap()).await;
    assert!(matches!(refused, Err(EnrolError::ClaimExpired)));
}

#[tokio::test]
async fn a_key_is_certified_once() {
    let bench = Bench::new().await;
    let first = bench.enrol("first").await;
    let code = bench.claim("second").await;
    let reused = bench.pki.enrol(HERE, &code, &csr(&first.key)).await;
    assert!(matches!(reused, Err(EnrolError::KeyReused)));
    let reused = bench.pki.renew(&first.peer(), &csr(&first.key)).await;
    assert!(matches!(reused, Err(EnrolError::KeyReused)));
    // Neither cost the claim.
    bench
        .enrol_with(&code, KeyPair::generate().unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn guessing_is_limited_by_source() {
    let bench = Bench::new().await;
    let code = bench.claim("a").await;
    let key = KeyPair::generate().unwrap();
    for _ in 0..10 {
        let guess = bench.pki.enrol(HERE, &"0".repeat(20), &csr(&key)).await;
        assert!(matches!(guess, Err(EnrolError::ClaimUnknown)));
    }
    let limited = bench.pki.enrol(HERE, &code, &csr(&key)).await;
    assert!(matches!(limited, Err(EnrolError::RateLimited { .. })));
    let elsewhere = "192.0.2.7".parse().unwrap();
    bench.pki.enrol(elsewhere, &code, &csr(&key)).await.unwrap();
}

#[tokio::test]
async fn a_certificate_says_what_its_profile_says_and_nothing_of_the_request() {
    let bench = Bench::new().await;
    let identity = bench.enrol("a").await;
    let (_, leaf) =
        x509_parser::certificate::X509Certificate::from_der(&identity.chain[0]).unwrap();
    assert!(!leaf.is_ca());
    assert_eq!(
        leaf.subject().to_string(),
        format!("CN={}", identity.device)
    );
    let names = &leaf
        .subject_alternative_name()
        .unwrap()
        .unwrap()
        .value
        .general_names;
    assert_eq!(names.len(), 1);
    assert!(format!("{names:?}").contains(&identity.device.urn().to_string()));
    assert!(leaf.key_usage().unwrap().unwrap().value.digital_signature());
    assert_eq!(
        leaf.public_key().subject_public_key.data,
        identity.key.der_bytes()
    );
    let now_s = bench.clock.now().as_micros() / 1_000_000;
    assert_eq!(leaf.validity().not_before.timestamp(), now_s - 3_600);
    assert_eq!(leaf.validity().not_after.timestamp(), now_s + 90 * 86_400);
    let (_, issuing) =
        x509_parser::certificate::X509Certificate::from_der(&identity.chain[1]).unwrap();
    let constraints = issuing.basic_constraints().unwrap().unwrap().value;
    assert_eq!(
        (constraints.ca, constraints.path_len_constraint),
        (true, Some(0))
    );
    assert!(
        issuing
            .extended_key_usage()
            .unwrap()
            .unwrap()
            .value
            .client_auth
    );
}

#[tokio::test]
async fn an_expired_certificate_opens_renewal_alone_and_not_for_ever() {
    let bench = Bench::new().await;
    let identity = bench.enrol("a").await;
    bench.hands.advance(DAY * 91);
    let refused = bench.pki.authenticate(&identity.peer()).await.unwrap_err();
    assert!(
        matches!(refused, Refused::Expired { days: 1, .. }),
        "{refused}"
    );
    assert_eq!(refused.to_string(), "expired 1 day ago");

    let key = KeyPair::generate().unwrap();
    let renewed = bench.pki.renew(&identity.peer(), &csr(&key)).await.unwrap();
    let session = bench
        .pki
        .authenticate(&peer(chain(&renewed)))
        .await
        .unwrap();
    assert_eq!(session.device(), identity.device);

    bench.hands.advance(DAY * 400);
    let key = KeyPair::generate().unwrap();
    let too_old = bench.pki.renew(&identity.peer(), &csr(&key)).await;
    assert!(matches!(too_old, Err(EnrolError::TooOld)));
    bench
        .pki
        .renew(&peer(chain(&renewed)), &csr(&key))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_disabled_device_is_refused_everything_until_it_is_enabled() {
    let bench = Bench::new().await;
    let identity = bench.enrol("a").await;
    let session = bench.pki.authenticate(&identity.peer()).await.unwrap();
    bench.set_state(identity.device, State::Disabled).await;
    assert!(!bench.pki.still_valid(&session).await.unwrap());
    let refused = bench.pki.authenticate(&identity.peer()).await.unwrap_err();
    assert_eq!(refused.code(), "device_inactive");
    let key = KeyPair::generate().unwrap();
    let renewal = bench.pki.renew(&identity.peer(), &csr(&key)).await;
    assert!(matches!(
        renewal,
        Err(EnrolError::Refused(Refused::Inactive { .. }))
    ));
    bench.set_state(identity.device, State::Active).await;
    assert!(bench.pki.still_valid(&session).await.unwrap());
    bench.pki.authenticate(&identity.peer()).await.unwrap();
}

#[tokio::test]
async fn nobody_and_strangers_are_refused() {
    let bench = Bench::new().await;
    let nobody = Peer {
        chain: [].into(),
        ..peer(Vec::new())
    };
    let refused = bench.pki.authenticate(&nobody).await.unwrap_err();
    assert!(matches!(refused, Refused::NoCertificate));
    let elsewhere = Bench::new().await;
    let stranger = elsewhere.enrol("a").await;
    let refused = bench.pki.authenticate(&stranger.peer()).await.unwrap_err();
    let Refused::Certificate(Fault::Chain(_)) = refused else {
        panic!("{refused}")
    };
    assert_eq!(refused.code(), "certificate_foreign");
}

#[tokio::test]
async fn a_leaf_alone_is_enough() {
    let bench = Bench::new().await;
    let mut identity = bench.enrol("a").await;
    identity.chain.truncate(1);
    bench.pki.authenticate(&identity.peer()).await.unwrap();
}

#[tokio::test]
async fn only_certificates_of_the_device_itself_verify_its_seals() {
    let bench = Bench::new().await;
    let [one, other] = [bench.enrol("one").await, bench.enrol("other").await];
    let session = bench.pki.authenticate(&one.peer()).await.unwrap();
    let fingerprint = crate::pki::sha256(&one.chain[0]);
    let key = bench
        .pki
        .certificate_key(&session, &fingerprint)
        .await
        .unwrap();
    assert_eq!(key.as_deref(), Some(one.key.der_bytes()));
    let fingerprint = crate::pki::sha256(&other.chain[0]);
    assert_eq!(
        bench
            .pki
            .certificate_key(&session, &fingerprint)
            .await
            .unwrap(),
        None
    );
}

#[tokio::test]
async fn an_expired_chain_is_judged_on_its_last_day() {
    let bench = Bench::new().await;
    let identity = bench.enrol("a").await;
    let start = bench.clock.now();
    bench.hands.advance(DAY * 480);
    let known = bench.pki.identify(&identity.peer()).await.unwrap();
    let end = start.as_micros() / 1_000_000 + 90 * 86_400;
    assert_eq!(
        known.verified.not_after,
        Timestamp::from_micros(end * 1_000_000)
    );
}

#[tokio::test]
async fn guessing_does_not_wait_for_the_catalogues_write_lock() {
    let bench = Bench::new().await;
    let writing = bench.db.begin().await.unwrap();
    let key = KeyPair::generate().unwrap();
    let request = csr(&key);
    let guess = bench.pki.enrol(HERE, "00000000000000000000", &request);
    let guess = tokio::time::timeout(Duration::from_secs(2), guess).await;
    assert!(matches!(guess, Ok(Err(EnrolError::ClaimUnknown))));
    drop(writing);
}

#[tokio::test]
async fn a_device_cannot_fill_the_catalogue_with_certificates() {
    let bench = Bench::new().await;
    let device = bench.enrol("eager").await;
    let renew = || async {
        let key = KeyPair::generate().unwrap();
        bench.pki.renew(&device.peer(), &csr(&key)).await
    };
    for _ in 0..24 {
        renew().await.unwrap();
    }
    assert!(matches!(renew().await, Err(EnrolError::RateLimited { .. })));
    bench.hands.advance(DAY);
    renew().await.unwrap();
}

#[tokio::test]
async fn the_debug_form_of_a_claim_line_hides_the_code() {
    let bench = Bench::new().await;
    let task = system(Task::AdminCommand).project(bench.project);
    let new = crate::pki::NewClaim {
        name: "a".to_owned(),
        simulated: false,
        location: None,
    };
    let made = bench.pki.create_claim(&task.grant(), new).await.unwrap();
    let code = made.line.split(':').nth(3).unwrap().to_owned();
    assert!(!format!("{made:?}").contains(&code));
}
