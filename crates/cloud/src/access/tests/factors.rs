//! Second factors as their owners and as thieves meet them.

use super::super::factor::soft::{Soft, client_data};
use super::*;

const HOST: &str = "localhost";
const ORIGIN: &str = "https://localhost:8443";
const SOURCE: &str = "192.0.2.1";

/// What only an authenticator app knows.
struct App(Vec<u8>);

impl App {
    fn code(&self, bench: &Bench) -> String {
        let step = bench.clock.now().as_micros() / 30_000_000;
        super::super::factor::code_at(&self.0, step)
    }
}

impl Bench {
    async fn announced() -> Self {
        let bench = Self::new().await;
        bench.access.announce(HOST, "localhost:8443");
        bench
    }

    async fn arrived(&self, cookie: &str) -> Arrived {
        let credential = Credential::Cookie(cookie.to_owned());
        self.access
            .arrived(&credential, &Origin::here())
            .await
            .unwrap()
    }

    async fn arriving(&self, cookie: &str) -> Arriving {
        let credential = Credential::Cookie(cookie.to_owned());
        self.access
            .arriving(&credential, &Origin::here())
            .await
            .unwrap()
    }

    async fn fresh(&self, cookie: &str) -> Fresh<Arrived> {
        self.access.fresh(self.arrived(cookie).await).unwrap()
    }

    async fn add_app(&self, cookie: &str) -> (App, Vec<String>) {
        let fresh = self.fresh(cookie).await;
        let enrolment = self.access.begin_totp(&fresh).await.unwrap();
        let app = App(from_base32(&enrolment.secret));
        let code = app.code(self);
        let codes = self.access.confirm_totp(&fresh, &code, SOURCE).await;
        (app, codes.unwrap().unwrap())
    }

    async fn add_passkey(
        &self,
        cookie: &str,
        soft: &Soft,
    ) -> Result<Option<Vec<String>>, AccessError> {
        let fresh = self.fresh(cookie).await;
        let challenge = self.access.begin_passkey(&fresh).await.unwrap();
        let client = client(&challenge.challenge, "webauthn.create");
        self.access
            .add_passkey(&fresh, "Phone", &client, &soft.attestation())
            .await
    }
}

fn client(challenge: &str, kind: &str) -> Vec<u8> {
    use base64::Engine as _;
    let challenge = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(challenge);
    client_data(kind, &challenge.unwrap(), ORIGIN)
}

fn answer(soft: &mut Soft, challenge: &str) -> PasskeyAnswer {
    let client_data = client(challenge, "webauthn.get");
    let (authenticator_data, signature) = soft.sign(&client_data);
    PasskeyAnswer {
        id: soft.id.clone(),
        client_data,
        authenticator_data,
        signature,
    }
}

fn from_base32(text: &str) -> Vec<u8> {
    let mut bits = 0_u64;
    let mut held = 0;
    let mut out = Vec::new();
    for letter in text.bytes() {
        let value = match letter {
            b'A'..=b'Z' => letter - b'A',
            _ => letter - b'2' + 26,
        };
        bits = (bits << 5) | u64::from(value);
        held += 5;
        if held >= 8 {
            held -= 8;
            out.push(u8::try_from((bits >> held) & 0xff).unwrap());
        }
    }
    out
}

#[tokio::test]
async fn the_first_operator_is_led_to_a_factor_and_gets_nowhere_else() {
    let bench = Bench::announced().await;
    let link = bench.access.sign_in_link("anna@example.org").await.unwrap();
    let started = bench
        .access
        .redeem_link(&link, &Origin::here())
        .await
        .unwrap();
    assert_eq!(started.who.step(), Step::SetUpFactor);
    assert!(matches!(
        bench.who(&started.cookie).await,
        Err(Denied::SetUpFactor)
    ));
    let (_, codes) = bench.add_app(&started.cookie).await;
    assert_eq!(codes.len(), 10);
    let who = bench.who(&started.cookie).await.unwrap();
    assert!(bench.access.operator(who).is_ok());
    // From now on it is asked for.
    let again = bench.access.sign_in_link("anna@example.org").await.unwrap();
    let started = bench
        .access
        .redeem_link(&again, &Origin::here())
        .await
        .unwrap();
    assert_eq!(started.who.step(), Step::ShowFactor);
    assert!(matches!(
        bench.who(&started.cookie).await,
        Err(Denied::ShowFactor)
    ));
    let credential = Credential::Cookie(started.cookie);
    assert!(matches!(
        bench.access.arrived(&credential, &Origin::here()).await,
        Err(Denied::ShowFactor)
    ));
}

#[tokio::test]
async fn an_administrator_needs_a_factor_and_a_viewer_does_not() {
    let bench = Bench::announced().await;
    let project = bench.project().await;
    bench.access.sign_in_link("op@example.org").await.unwrap();
    let (person, _) = bench.person("anna@example.org").await;
    let be = async |role| {
        let member = bench
            .access
            .add_member(person, project, role, Locations::All, None);
        member.await.unwrap();
    };
    be(Role::Viewer).await;
    let started = bench.sign_in("anna@example.org", PASSWORD).await.unwrap();
    assert_eq!(started.who.step(), Step::Done);
    be(Role::Administrator).await;
    assert!(matches!(
        bench.who(&started.cookie).await,
        Err(Denied::SetUpFactor)
    ));
    bench.add_app(&started.cookie).await;
    assert!(bench.who(&started.cookie).await.is_ok());
    let fresh = bench.fresh(&started.cookie).await;
    let last = bench.access.remove_totp(&fresh).await;
    assert!(matches!(last, Err(AccessError::LastFactor)));
    be(Role::Viewer).await;
    bench.access.remove_totp(&fresh).await.unwrap();
    assert!(bench.who(&started.cookie).await.is_ok());
    assert_eq!(
        bench
            .access
            .factors(&bench.arrived(&started.cookie).await)
            .await
            .unwrap()
            .recovery_codes,
        0
    );
}

#[tokio::test]
async fn a_demo_asks_for_none() {
    let bench = Bench::with(&config::Sessions {
        second_factor_optional: true,
        ..config::Sessions::default()
    })
    .await;
    let link = bench.access.sign_in_link("anna@example.org").await.unwrap();
    let started = bench
        .access
        .redeem_link(&link, &Origin::here())
        .await
        .unwrap();
    assert_eq!(started.who.step(), Step::Done);
    let who = bench.who(&started.cookie).await.unwrap();
    assert!(bench.access.operator(who).is_ok());
}

#[tokio::test]
async fn a_code_signs_in_once_and_a_new_session_begins() {
    let bench = Bench::announced().await;
    let (_, cookie) = bench.person("anna@example.org").await;
    let (app, _) = bench.add_app(&cookie).await;
    let started = bench.sign_in("anna@example.org", PASSWORD).await.unwrap();
    let half = bench.arriving(&started.cookie).await;
    let show = async |code: &str| {
        bench
            .access
            .show_factor(&half, Proof::Code(code), SOURCE)
            .await
    };
    // The code that confirmed the app is spent.
    let spent = app.code(&bench);
    assert!(matches!(show(&spent).await, Err(AccessError::WrongCode)));
    bench.hands.advance(MINUTE);
    let code = app.code(&bench);
    assert!(
        matches!(show(&spent).await, Err(AccessError::WrongCode)),
        "too old"
    );
    assert!(matches!(show("000000").await, Err(AccessError::WrongCode)));
    let password = bench
        .access
        .show_factor(&half, Proof::Password(PASSWORD), SOURCE);
    assert!(
        matches!(password.await, Err(AccessError::WrongCode)),
        "no second factor"
    );
    let whole = show(&code).await.unwrap();
    assert_ne!(whole.cookie, started.cookie);
    assert!(bench.who(&whole.cookie).await.is_ok());
    assert!(matches!(
        bench.who(&started.cookie).await,
        Err(Denied::Unauthenticated)
    ));
    let again = bench.sign_in("anna@example.org", PASSWORD).await.unwrap();
    let half = bench.arriving(&again.cookie).await;
    let replayed = bench
        .access
        .show_factor(&half, Proof::Code(&code), SOURCE)
        .await;
    assert!(matches!(replayed, Err(AccessError::WrongCode)));
    // A session on the way does not wait for long.
    bench.hands.advance(10 * MINUTE);
    assert!(matches!(
        bench.who(&again.cookie).await,
        Err(Denied::Unauthenticated)
    ));
}

#[tokio::test]
async fn a_recovery_code_counts_once_and_new_ones_replace_all() {
    let bench = Bench::announced().await;
    let (_, cookie) = bench.person("anna@example.org").await;
    let (_, codes) = bench.add_app(&cookie).await;
    let show = async |code: &str| {
        let started = bench.sign_in("anna@example.org", PASSWORD).await.unwrap();
        let half = bench.arriving(&started.cookie).await;
        bench
            .access
            .show_factor(&half, Proof::Code(code), SOURCE)
            .await
    };
    let whole = show(&codes[3].to_uppercase()).await.unwrap();
    assert!(matches!(show(&codes[3]).await, Err(AccessError::WrongCode)));
    let arrived = bench.arrived(&whole.cookie).await;
    assert_eq!(
        bench.access.factors(&arrived).await.unwrap().recovery_codes,
        9
    );
    bench.access.codes_are_kept(&arrived).await.unwrap();
    assert!(
        bench
            .access
            .factors(&arrived)
            .await
            .unwrap()
            .codes_kept
            .is_some()
    );
    let fresh = bench.fresh(&whole.cookie).await;
    let new = bench.access.new_recovery_codes(&fresh).await.unwrap();
    assert!(
        bench
            .access
            .factors(&arrived)
            .await
            .unwrap()
            .codes_kept
            .is_none()
    );
    assert!(matches!(show(&codes[4]).await, Err(AccessError::WrongCode)));
    assert!(show(&new[0]).await.is_ok());
    let rows = bench
        .access
        .0
        .db
        .fetch_all("SELECT hash FROM recovery_code", &[]);
    for row in rows.await.unwrap() {
        let plain = new[1].replace('-', "");
        assert_ne!(row.bytes(0).unwrap(), plain.as_bytes());
    }
}

#[tokio::test]
async fn guessing_codes_is_limited_apart_from_passwords() {
    let bench = Bench::with(&config::Sessions {
        attempts_per_account: 3,
        ..config::Sessions::default()
    })
    .await;
    let (_, cookie) = bench.person("anna@example.org").await;
    let (app, _) = bench.add_app(&cookie).await;
    bench.hands.advance(MINUTE);
    let started = bench.sign_in("anna@example.org", PASSWORD).await.unwrap();
    let half = bench.arriving(&started.cookie).await;
    let show = async |code: &str| {
        bench
            .access
            .show_factor(&half, Proof::Code(code), SOURCE)
            .await
    };
    for _ in 0..3 {
        assert!(matches!(show("123456").await, Err(AccessError::WrongCode)));
    }
    let code = app.code(&bench);
    assert!(matches!(
        show(&code).await,
        Err(AccessError::Throttled { .. })
    ));
    assert!(bench.sign_in("anna@example.org", PASSWORD).await.is_ok());
    bench.hands.advance(MINUTE);
    assert!(show(&app.code(&bench)).await.is_ok());
}

#[tokio::test]
async fn a_passkey_is_made_shown_named_and_removed() {
    let bench = Bench::announced().await;
    let (_, cookie) = bench.person("anna@example.org").await;
    let mut soft = Soft::new(HOST);
    assert_eq!(
        bench
            .add_passkey(&cookie, &soft)
            .await
            .unwrap()
            .unwrap()
            .len(),
        10
    );
    let twice = bench.add_passkey(&cookie, &soft).await;
    assert!(matches!(twice, Err(AccessError::PasskeyRefused)));

    let challenge = bench.access.passkey_sign_in().unwrap();
    assert!(challenge.known.is_empty() && challenge.host == HOST);
    let shown = answer(&mut soft, &challenge.challenge);
    let started = bench
        .access
        .sign_in_by_passkey(&shown, &Origin::here())
        .await
        .unwrap();
    assert_eq!(started.who.step(), Step::Done);
    let replayed = bench
        .access
        .sign_in_by_passkey(&shown, &Origin::here())
        .await;
    assert!(matches!(replayed, Err(AccessError::PasskeyRefused)));

    // As the second step, and only for the challenge of that person.
    let half = bench
        .sign_in("anna@example.org", PASSWORD)
        .await
        .unwrap()
        .cookie;
    let half = bench.arriving(&half).await;
    let stray = bench.access.passkey_sign_in().unwrap();
    let shown = answer(&mut soft, &stray.challenge);
    let refused = bench
        .access
        .show_factor(&half, Proof::Passkey(&shown), SOURCE)
        .await;
    assert!(matches!(refused, Err(AccessError::PasskeyRefused)));
    let challenge = bench.access.passkey_challenge(&half).await.unwrap();
    assert_eq!(challenge.known.len(), 1);
    let shown = answer(&mut soft, &challenge.challenge);
    assert!(
        bench
            .access
            .show_factor(&half, Proof::Passkey(&shown), SOURCE)
            .await
            .is_ok()
    );

    // Somebody else's passkey does not show for anna.
    let (_, other) = bench.person("bo@example.org").await;
    let mut theirs = Soft::new(HOST);
    bench.add_passkey(&other, &theirs).await.unwrap();
    let half = bench
        .sign_in("anna@example.org", PASSWORD)
        .await
        .unwrap()
        .cookie;
    let half = bench.arriving(&half).await;
    let challenge = bench.access.passkey_challenge(&half).await.unwrap();
    let shown = answer(&mut theirs, &challenge.challenge);
    let refused = bench
        .access
        .show_factor(&half, Proof::Passkey(&shown), SOURCE)
        .await;
    assert!(matches!(refused, Err(AccessError::PasskeyRefused)));

    let fresh = bench.fresh(&started.cookie).await;
    let id = bench.access.factors(&fresh).await.unwrap().passkeys[0].id;
    bench
        .access
        .rename_passkey(&fresh, id, " Key ring ")
        .await
        .unwrap();
    let passkeys = bench.access.factors(&fresh).await.unwrap().passkeys;
    assert!(passkeys[0].name == "Key ring" && passkeys[0].used.is_some());
    let stranger = bench.fresh(&other).await;
    let theirs = bench.access.remove_passkey(&stranger, id).await;
    assert!(matches!(theirs, Err(AccessError::NotFound)));
    bench.access.remove_passkey(&fresh, id).await.unwrap();
    let challenge = bench.access.passkey_sign_in().unwrap();
    let shown = answer(&mut soft, &challenge.challenge);
    assert!(
        bench
            .access
            .sign_in_by_passkey(&shown, &Origin::here())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn an_address_of_numbers_carries_no_passkeys() {
    for host in ["192.0.2.7", "2001:db8::1"] {
        let bench = Bench::new().await;
        bench.access.announce(host, "x:8443");
        assert_eq!(bench.access.passkey_host(), None, "{host}");
        let refused = bench.access.passkey_sign_in();
        assert!(matches!(refused, Err(AccessError::NoPasskeysHere)));
        let (_, cookie) = bench.person("anna@example.org").await;
        bench.add_app(&cookie).await;
    }
}

#[tokio::test]
async fn a_short_password_goes_with_a_factor_and_not_without() {
    let bench = Bench::announced().await;
    let (_, cookie) = bench.person("anna@example.org").await;
    let short = "kvx7 qp3";
    let set = async |password: &str| {
        let me = bench.arrived(&cookie).await;
        bench
            .access
            .set_password(&me, Some(PASSWORD), password, &[])
            .await
    };
    assert!(matches!(
        set(short).await,
        Err(AccessError::Password(PasswordFault::TooShort))
    ));
    bench.add_app(&cookie).await;
    set(short).await.unwrap();
    let alone = bench.access.remove_totp(&bench.fresh(&cookie).await).await;
    assert!(matches!(alone, Err(AccessError::PasswordTooShortAlone)));
    // Reset from the machine: sessions, factors and the short password go, and the link leads in.
    let link = bench
        .access
        .sign_in_link_without_factor("anna@example.org")
        .await
        .unwrap();
    assert!(bench.who(&cookie).await.is_err());
    assert!(bench.sign_in("anna@example.org", short).await.is_err());
    let started = bench
        .access
        .redeem_link(&link, &Origin::here())
        .await
        .unwrap();
    assert_eq!(started.who.step(), Step::Done);
    assert!(started.who.must_set_password());
}

#[tokio::test]
async fn who_it_is_stays_proved_for_ten_minutes() {
    let bench = Bench::announced().await;
    let (_, cookie) = bench.person("anna@example.org").await;
    let (app, _) = bench.add_app(&cookie).await;
    let is_fresh = async || bench.access.fresh(bench.arrived(&cookie).await).is_ok();
    assert!(is_fresh().await);
    bench.hands.advance(10 * MINUTE);
    assert!(!is_fresh().await);
    let prove = async |proof: Proof<'_>| {
        bench
            .access
            .prove(&bench.arrived(&cookie).await, proof, SOURCE)
            .await
    };
    assert!(matches!(
        prove(Proof::Password("wrong")).await,
        Err(AccessError::WrongCredentials)
    ));
    assert!(matches!(
        prove(Proof::Code("000000")).await,
        Err(AccessError::WrongCode)
    ));
    assert!(!is_fresh().await);
    prove(Proof::Password(PASSWORD)).await.unwrap();
    assert!(is_fresh().await);
    bench.hands.advance(10 * MINUTE);
    assert!(!is_fresh().await);
    prove(Proof::Code(&app.code(&bench))).await.unwrap();
    assert!(is_fresh().await);
}

#[tokio::test]
async fn own_sessions_are_listed_and_ended() {
    let bench = Bench::new().await;
    let (_, first) = bench.person("anna@example.org").await;
    bench.hands.advance(MINUTE);
    let from = Origin::new(Some("192.0.2.1".parse().unwrap()), None);
    let second = bench
        .access
        .sign_in("anna@example.org", PASSWORD, SOURCE, &from)
        .await
        .unwrap()
        .cookie;
    let (_, other) = bench.person("bo@example.org").await;
    let who = bench.who(&first).await.unwrap();
    let listed = bench.access.own_sessions(&who).await.unwrap();
    assert_eq!(listed.len(), 2);
    assert!(!listed[0].current && listed[1].current);
    assert_eq!(
        (listed[0].cause.as_str(), listed[0].origin.as_deref()),
        ("password", Some("192.0.2.1"))
    );
    let stranger = bench.who(&other).await.unwrap();
    let refused = bench.access.end_session(&stranger, listed[0].id).await;
    assert!(matches!(refused, Err(AccessError::NotFound)));
    bench.access.end_session(&who, listed[0].id).await.unwrap();
    assert!(bench.who(&second).await.is_err());
    let third = bench
        .sign_in("anna@example.org", PASSWORD)
        .await
        .unwrap()
        .cookie;
    bench.access.end_other_sessions(&who).await.unwrap();
    assert!(bench.who(&third).await.is_err());
    assert!(bench.who(&first).await.is_ok() && bench.who(&other).await.is_ok());
}

#[tokio::test]
async fn a_password_of_an_older_cost_is_hashed_anew_at_sign_in() {
    let bench = Bench::new().await;
    let (person, _) = bench.person("anna@example.org").await;
    let old = {
        use argon2::password_hash::PasswordHasher as _;
        let params = argon2::Params::new(8_192, 1, 1, None).unwrap();
        let cheap =
            argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, params);
        let hash: argon2::password_hash::phc::PasswordHash = cheap
            .hash_password_with_salt(PASSWORD.as_bytes(), &[7; 16])
            .unwrap();
        hash.to_string()
    };
    let set = "UPDATE person SET password = $2 WHERE id = $1";
    let values = [person.as_bytes().into(), old.as_str().into()];
    bench.access.0.db.execute(set, &values).await.unwrap();
    let stored = async || {
        let read = "SELECT password FROM person WHERE id = $1";
        let values = [person.as_bytes().into()];
        let row = bench
            .access
            .0
            .db
            .fetch_optional(read, &values)
            .await
            .unwrap();
        row.unwrap().text(0).unwrap().to_owned()
    };
    assert!(bench.sign_in("anna@example.org", "wrong").await.is_err());
    assert_eq!(stored().await, old);
    bench.sign_in("anna@example.org", PASSWORD).await.unwrap();
    let new = stored().await;
    assert!(new.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{new}");
    bench.sign_in("anna@example.org", PASSWORD).await.unwrap();
    assert_eq!(stored().await, new);
}
