//! Access as a whole, over a real catalogue: people and sessions here, roles and keys in their own files.

mod api_keys;
mod factors;
mod invitations;
mod members;
mod roles;
mod timing;

use std::time::Duration;

use fieldkeep_protocol::{PersonId, ProjectId, Timestamp};
use tempfile::TempDir;

use super::*;
use crate::clock::Hands;
use crate::keys::{MasterKey, new_id};
use crate::trail::Origin;

const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3_600);
const PASSWORD: &str = "a river in spring";

struct Bench {
    folder: TempDir,
    hands: Hands,
    clock: Clock,
    access: Access,
}

impl Bench {
    async fn new() -> Self {
        Self::with(&config::Sessions::default()).await
    }

    async fn with(rules: &config::Sessions) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (clock, hands) = Clock::manual(Timestamp::from_micros(1_772_366_400_000_000));
        let master = MasterKey::create(&folder.path().join("key")).unwrap();
        let data = folder.path().join("data");
        let opened = Keys::open(&data, &master, &clock).await.unwrap();
        let db = Db::open(&data, &opened.catalogue).await.unwrap();
        let access = Access::open(db, opened.keys, clock.clone(), rules)
            .await
            .unwrap();
        Self {
            folder,
            hands,
            clock,
            access,
        }
    }

    /// A bare project: what it holds is another room's.
    async fn project(&self) -> ProjectId {
        let id = new_id(&self.clock, ProjectId::from_parts);
        let inner = &self.access.0;
        inner.keys.create_project(id, &self.clock).await.unwrap();
        inner
            .db
            .execute(
                "INSERT INTO project (id, name_sealed, zone, created_us) VALUES ($1, $2, 'UTC', 0)",
                &[id.as_bytes().into(), id.as_bytes().into()],
            )
            .await
            .unwrap();
        id
    }

    /// A person with [`PASSWORD`], and their session's cookie.
    async fn person(&self, email: &str) -> (PersonId, String) {
        let person = self.access.add_person(email, "Anna", false).await.unwrap();
        let cookie = self.by_link(email).await;
        let who = self.who(&cookie).await.unwrap();
        self.access
            .set_password(&Arrived(who), None, PASSWORD, &[])
            .await
            .unwrap();
        (person, cookie)
    }

    async fn by_link(&self, email: &str) -> String {
        self.access.full_session(email).await.unwrap()
    }

    async fn who(&self, cookie: &str) -> Result<SignedIn, Denied> {
        let credential = Credential::Cookie(cookie.to_owned());
        self.access.actor(&credential, &Origin::here()).await
    }

    async fn sign_in(&self, email: &str, password: &str) -> Result<Started, AccessError> {
        self.access
            .sign_in(email, password, "192.0.2.1", &Origin::here())
            .await
    }
}

#[tokio::test]
async fn the_first_link_makes_the_operator_and_later_ones_make_nobody() {
    let bench = Bench::new().await;
    let link = bench
        .access
        .sign_in_link(" Anna@Example.org ")
        .await
        .unwrap();
    let here = Origin::here();
    let started = bench.access.redeem_link(&link, &here).await.unwrap();
    assert_eq!(started.who.step(), Step::SetUpFactor);
    assert!(started.who.0.is_operator() && started.who.must_set_password());
    let me = bench.access.me_arriving(&started.who).await;
    let me = me.unwrap().unwrap();
    assert_eq!(
        (me.email.as_str(), me.name.as_str()),
        ("anna@example.org", "anna")
    );
    assert!(bench.access.operator(started.who.0).is_ok());

    let error = bench
        .access
        .sign_in_link("bo@example.org")
        .await
        .unwrap_err();
    assert!(matches!(error, AccessError::PersonUnknown));
    let again = bench.access.sign_in_link("anna@example.org").await.unwrap();
    assert!(
        bench
            .access
            .redeem_link(&again, &Origin::here())
            .await
            .is_ok()
    );
    for email in ["", "anna", "@example.org", "a@b@c", "a b@example.org"] {
        let error = bench.access.sign_in_link(email).await.unwrap_err();
        assert!(matches!(error, AccessError::InvalidEmail), "{email}");
    }
}

#[tokio::test]
async fn a_link_works_once_and_for_fifteen_minutes() {
    let bench = Bench::new().await;
    let link = bench.access.sign_in_link("anna@example.org").await.unwrap();
    let here = Origin::here();
    let (one, two) = tokio::join!(
        bench.access.redeem_link(&link, &here),
        bench.access.redeem_link(&link, &here)
    );
    assert!(one.is_ok() != two.is_ok());
    let late = bench.access.sign_in_link("anna@example.org").await.unwrap();
    bench.hands.advance(15 * MINUTE);
    for secret in [late.as_str(), link.as_str(), "", "AAAA"] {
        let error = bench
            .access
            .redeem_link(secret, &Origin::here())
            .await
            .unwrap_err();
        assert!(matches!(error, AccessError::LinkRefused));
    }
}

#[tokio::test]
async fn signing_in_needs_the_right_pair_and_tells_nothing_else() {
    let bench = Bench::new().await;
    bench.person("anna@example.org").await;
    bench
        .access
        .add_person("bo@example.org", "Bo", false)
        .await
        .unwrap();
    let started = bench.sign_in("ANNA@example.org", PASSWORD).await.unwrap();
    assert!(!started.who.must_set_password() && !started.who.0.is_operator());
    assert_eq!(started.max_age_s, 14 * 24 * 3_600);
    assert!(bench.access.operator(started.who.0).is_err());
    for (email, password) in [
        ("anna@example.org", "a river in springs"),
        ("anna@example.org", ""),
        ("bo@example.org", PASSWORD),
        ("nobody@example.org", PASSWORD),
        ("no address", PASSWORD),
    ] {
        let error = bench.sign_in(email, password).await.unwrap_err();
        assert!(matches!(error, AccessError::WrongCredentials), "{email}");
    }
}

/// A coarse guard: without the decoy hash an unknown e-mail would answer in a thousandth of the time.
#[tokio::test]
async fn an_unknown_e_mail_takes_as_long_as_a_wrong_password() {
    let bench = Bench::new().await;
    bench.person("anna@example.org").await;
    let stopwatch = Clock::system();
    let mut fastest = [Duration::MAX; 2];
    for _ in 0..4 {
        for (slot, email) in ["anna@example.org", "nobody@example.org"]
            .iter()
            .enumerate()
        {
            let begun = stopwatch.elapsed();
            bench.sign_in(email, "not the password").await.unwrap_err();
            fastest[slot] = fastest[slot].min(stopwatch.elapsed() - begun);
        }
    }
    let [known, unknown] = fastest;
    assert!(
        unknown * 3 > known && known * 3 > unknown,
        "{known:?} {unknown:?}"
    );
}

#[tokio::test]
async fn attempts_are_limited_alike_and_a_link_still_opens() {
    let bench = Bench::with(&config::Sessions {
        attempts_per_account: 3,
        ..config::Sessions::default()
    })
    .await;
    bench.person("anna@example.org").await;
    for email in ["anna@example.org", "nobody@example.org"] {
        for _ in 0..3 {
            let error = bench.sign_in(email, "wrong").await.unwrap_err();
            assert!(matches!(error, AccessError::WrongCredentials));
        }
        let error = bench.sign_in(email, PASSWORD).await.unwrap_err();
        assert!(matches!(
            error,
            AccessError::Throttled { retry_after_s: 30 }
        ));
    }
    bench.by_link("anna@example.org").await;
    bench.hands.advance(Duration::from_secs(30));
    assert!(bench.sign_in("anna@example.org", PASSWORD).await.is_ok());
    // A right password clears the account's count.
    for _ in 0..3 {
        let error = bench
            .sign_in("anna@example.org", "wrong")
            .await
            .unwrap_err();
        assert!(matches!(error, AccessError::WrongCredentials));
    }
}

#[tokio::test]
async fn one_source_cannot_try_many_accounts() {
    let bench = Bench::with(&config::Sessions {
        attempts_per_source: 3,
        ..config::Sessions::default()
    })
    .await;
    for number in 0..3 {
        let email = format!("p{number}@example.org");
        let error = bench.sign_in(&email, "wrong").await.unwrap_err();
        assert!(matches!(error, AccessError::WrongCredentials));
    }
    let error = bench.sign_in("p9@example.org", "wrong").await.unwrap_err();
    assert!(matches!(error, AccessError::Throttled { .. }));
    let here = Origin::here();
    let elsewhere = bench
        .access
        .sign_in("p9@example.org", "wrong", "192.0.2.2", &here);
    assert!(matches!(
        elsewhere.await,
        Err(AccessError::WrongCredentials)
    ));
}

#[tokio::test]
async fn a_password_changes_with_the_current_one_and_ends_other_sessions() {
    let bench = Bench::new().await;
    let (_, first) = bench.person("anna@example.org").await;
    let other = bench.sign_in("anna@example.org", PASSWORD).await.unwrap();
    bench.hands.advance(20 * MINUTE);
    let new = "a lake in the autumn";
    let change = async |cookie: &str, current| {
        let who = bench.who(cookie).await.unwrap();
        bench
            .access
            .set_password(&Arrived(who), current, new, &[])
            .await
    };
    for current in [None, Some("wrong")] {
        let error = change(&other.cookie, current).await.unwrap_err();
        assert!(matches!(
            error,
            AccessError::Password(PasswordFault::CurrentWrong)
        ));
    }
    // The link that opened the first session is too long ago.
    assert!(change(&first, None).await.is_err());
    change(&other.cookie, Some(PASSWORD)).await.unwrap();
    assert!(bench.who(&other.cookie).await.is_ok());
    assert!(matches!(
        bench.who(&first).await,
        Err(Denied::Unauthenticated)
    ));
    assert!(bench.sign_in("anna@example.org", PASSWORD).await.is_err());
    assert!(bench.sign_in("anna@example.org", new).await.is_ok());
    // Forgotten: a fresh link needs no current password, and the rules still hold.
    let by_link = bench.by_link("anna@example.org").await;
    let who = bench.who(&by_link).await.unwrap();
    let error = bench
        .access
        .set_password(&Arrived(who.clone()), None, "short", &[])
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        AccessError::Password(PasswordFault::TooShort)
    ));
    bench
        .access
        .set_password(&Arrived(who), None, PASSWORD, &[])
        .await
        .unwrap();
}

#[tokio::test]
async fn sessions_end_when_idle_when_old_and_when_signed_out() {
    let bench = Bench::new().await;
    let (_, cookie) = bench.person("anna@example.org").await;
    bench.hands.advance(11 * HOUR);
    assert!(bench.who(&cookie).await.is_ok());
    bench.hands.advance(11 * HOUR);
    assert!(bench.who(&cookie).await.is_ok(), "use keeps it alive");
    bench.hands.advance(12 * HOUR);
    assert!(bench.who(&cookie).await.is_err(), "idle");

    let used = bench.by_link("anna@example.org").await;
    for _ in 0..(14 * 24 / 8 - 1) {
        bench.hands.advance(8 * HOUR);
        assert!(bench.who(&used).await.is_ok());
    }
    bench.hands.advance(8 * HOUR);
    assert!(bench.who(&used).await.is_err(), "14 days");

    let [one, two] = [
        bench.by_link("anna@example.org").await,
        bench.by_link("anna@example.org").await,
    ];
    assert_ne!(one, two);
    let who = bench.who(&one).await.unwrap();
    bench.access.sign_out(&Arriving(who)).await.unwrap();
    assert!(bench.who(&one).await.is_err());
    assert!(bench.who(&two).await.is_ok());
}

#[tokio::test]
async fn a_disabled_person_is_out_at_once() {
    let bench = Bench::new().await;
    let (person, cookie) = bench.person("anna@example.org").await;
    let link = bench.access.sign_in_link("anna@example.org").await.unwrap();
    let disable = "UPDATE person SET enabled = $2 WHERE id = $1";
    let values = [person.as_bytes().into(), false.into()];
    bench.access.0.db.execute(disable, &values).await.unwrap();
    assert!(bench.who(&cookie).await.is_err());
    assert!(bench.sign_in("anna@example.org", PASSWORD).await.is_err());
    assert!(
        bench
            .access
            .redeem_link(&link, &Origin::here())
            .await
            .is_err()
    );
}

#[tokio::test]
async fn secrets_are_neither_stored_nor_printed() {
    let bench = Bench::new().await;
    let (_, cookie) = bench.person("anna@example.org").await;
    let credential = Credential::Cookie(cookie.clone());
    assert!(!format!("{credential:?}").contains(&cookie));
    let rows = bench.access.0.db.fetch_all("SELECT hash FROM session", &[]);
    for row in rows.await.unwrap() {
        assert_ne!(row.bytes(0).unwrap(), cookie.as_bytes());
    }
    assert!(bench.access.cookie_name().starts_with("__Host-fk-"));
    assert!(matches!(
        Credential::bearer("bearer fk_1"),
        Some(Credential::Bearer(secret)) if secret == "fk_1"
    ));
    assert!(Credential::bearer("Basic abc").is_none());
}

/// `fieldkeep admin` beside a running server: what one process does counts in the other at once.
#[tokio::test]
async fn two_processes_on_one_folder_agree() {
    let bench = Bench::new().await;
    let data = bench.folder.path().join("data");
    let master = MasterKey::load(&bench.folder.path().join("key")).unwrap();
    let opened = Keys::open(&data, &master.unwrap(), &bench.clock)
        .await
        .unwrap();
    let db = Db::open(&data, &opened.catalogue).await.unwrap();
    let beside = Access::open_default(db, opened.keys, bench.clock.clone());
    let beside = beside.await.unwrap();
    let link = beside.sign_in_link("anna@example.org").await.unwrap();
    let started = bench
        .access
        .redeem_link(&link, &Origin::here())
        .await
        .unwrap();
    assert!(beside.redeem_link(&link, &Origin::here()).await.is_err());
    let credential = Credential::Cookie(started.cookie.clone());
    let who = beside.arriving(&credential, &Origin::here()).await.unwrap();
    beside.sign_out(&who).await.unwrap();
    assert!(bench.who(&started.cookie).await.is_err());
    assert_eq!(beside.cookie_name(), bench.access.cookie_name());
}
