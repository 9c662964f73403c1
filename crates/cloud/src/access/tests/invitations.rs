//! Invitations: nobody gets more than their inviter has, and each counts once.

use fieldkeep_protocol::LocationId;

use super::*;

async fn inviter(bench: &Bench, project: ProjectId) -> (PersonId, Session<Admin>) {
    bench.access.announce("localhost", "localhost:8443");
    let (person, cookie) = bench.person("anna@example.org").await;
    let member =
        bench
            .access
            .add_member(person, project, Role::Administrator, Locations::All, None);
    member.await.unwrap();
    let who = bench.who(&cookie).await.unwrap();
    (person, bench.access.session(who, project).await.unwrap())
}

fn order(email: &str, role: Role) -> NewInvitation {
    NewInvitation {
        email: email.to_owned(),
        role,
        locations: Locations::All,
        until: None,
    }
}

fn token(link: Option<String>) -> String {
    link.unwrap().split_once('#').unwrap().1.to_owned()
}

#[tokio::test]
async fn somebody_new_gets_an_account_once() {
    let bench = Bench::new().await;
    let project = bench.project().await;
    let (_, session) = inviter(&bench, project).await;
    let grant = session.grant();
    let (made, link) = bench
        .access
        .invite(&grant, "Tide gauges", order("Bo@example.org", Role::Editor))
        .await
        .unwrap();
    let link = link.unwrap();
    assert!(
        link.starts_with("https://localhost:8443/app/invitation#"),
        "{link}"
    );
    let token = token(Some(link));
    let offer = bench.access.offer(&token).await.unwrap();
    assert_eq!(
        (offer.email.as_str(), offer.project.as_str()),
        ("bo@example.org", "Tide gauges")
    );
    assert!(offer.role == Role::Editor && !offer.has_account);
    let accept = async |password: &str| {
        bench
            .access
            .accept_as_new(&token, "Bo", password, &Origin::here())
            .await
    };
    let weak = accept("tide gauges bo@example.org").await;
    assert!(matches!(
        weak,
        Err(AccessError::Password(PasswordFault::Surroundings))
    ));
    let started = accept(PASSWORD).await.unwrap();
    let who = bench.who(&started.cookie).await.unwrap();
    assert!(bench.access.session::<Write>(who, project).await.is_ok());
    assert!(matches!(
        accept(PASSWORD).await,
        Err(AccessError::LinkRefused)
    ));
    assert!(bench.sign_in("bo@example.org", PASSWORD).await.is_ok());
    let listed = bench.access.invitations(&grant).await.unwrap();
    assert_eq!(listed[0].id, made.id);
    assert!(listed[0].accepted.is_some());
}

#[tokio::test]
async fn somebody_with_an_account_accepts_signed_in_and_for_their_own_address_alone() {
    let bench = Bench::new().await;
    let project = bench.project().await;
    let (_, session) = inviter(&bench, project).await;
    let (_, bo) = bench.person("bo@example.org").await;
    let (_, eve) = bench.person("eve@example.org").await;
    let (_, link) = bench
        .access
        .invite(&session.grant(), "P", order("bo@example.org", Role::Viewer))
        .await
        .unwrap();
    let token = token(link);
    let new = bench
        .access
        .accept_as_new(&token, "Bo", PASSWORD, &Origin::here())
        .await;
    assert!(matches!(new, Err(AccessError::HasAccount)));
    let who = bench.who(&eve).await.unwrap();
    let other = bench.access.accept_as_me(&token, &who).await;
    assert!(matches!(other, Err(AccessError::OtherPerson)));
    let who = bench.who(&bo).await.unwrap();
    assert_eq!(
        bench.access.accept_as_me(&token, &who).await.unwrap(),
        project
    );
    assert!(bench.access.session::<Read>(who, project).await.is_ok());
}

#[tokio::test]
async fn nobody_hands_out_more_than_they_have_then_and_when_it_is_accepted() {
    let bench = Bench::new().await;
    let project = bench.project().await;
    let (person, session) = inviter(&bench, project).await;
    let here = LocationId::from_bytes([1; 16]);
    let limited = bench.access.add_member(
        person,
        project,
        Role::Administrator,
        Locations::only([here]),
        None,
    );
    let (_, early) = bench
        .access
        .invite(&session.grant(), "P", order("bo@example.org", Role::Viewer))
        .await
        .unwrap();
    limited.await.unwrap();
    let who = session.signed_in().clone();
    let session = bench.access.session::<Admin>(who, project).await.unwrap();
    let beyond = bench
        .access
        .invite(
            &session.grant(),
            "P",
            order("eve@example.org", Role::Viewer),
        )
        .await;
    assert!(matches!(beyond, Err(AccessError::LocationsBeyond)));
    let past = NewInvitation {
        until: Some(bench.clock.now()),
        locations: Locations::only([here]),
        ..order("eve@example.org", Role::Viewer)
    };
    let past = bench.access.invite(&session.grant(), "P", past).await;
    assert!(matches!(past, Err(AccessError::PastDate)));
    // What was given before reaches further than its giver does now.
    let late = bench
        .access
        .accept_as_new(&token(early), "Bo", PASSWORD, &Origin::here())
        .await;
    assert!(matches!(late, Err(AccessError::LinkRefused)));
    assert!(
        bench.sign_in("bo@example.org", PASSWORD).await.is_err(),
        "no account came of it"
    );
    assert!(
        bench
            .access
            .invitations(&session.grant())
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn an_invitation_ends_by_time_by_being_revoked_and_by_being_sent_again() {
    let bench = Bench::new().await;
    let project = bench.project().await;
    let (_, session) = inviter(&bench, project).await;
    let grant = session.grant();
    let invite = async |email| {
        let made = bench
            .access
            .invite(&grant, "P", order(email, Role::Viewer))
            .await;
        let (invitation, link) = made.unwrap();
        (invitation.id, token(link))
    };
    let (old, first) = invite("bo@example.org").await;
    let (_, again) = bench
        .access
        .resend_invitation(&grant, "P", old)
        .await
        .unwrap();
    let again = token(again);
    assert!(matches!(
        bench.access.offer(&first).await,
        Err(AccessError::LinkRefused)
    ));
    assert!(bench.access.offer(&again).await.is_ok());
    bench.access.revoke_invitation(&grant, old).await.unwrap();
    assert!(matches!(
        bench.access.offer(&again).await,
        Err(AccessError::LinkRefused)
    ));
    let twice = bench.access.revoke_invitation(&grant, old).await;
    assert!(matches!(twice, Err(AccessError::NotFound)));
    let (_, late) = invite("cy@example.org").await;
    bench.hands.advance(7 * 24 * HOUR);
    assert!(matches!(
        bench.access.offer(&late).await,
        Err(AccessError::LinkRefused)
    ));
    for garbage in ["", "x", &"y".repeat(5_000)] {
        assert!(matches!(
            bench.access.offer(garbage).await,
            Err(AccessError::LinkRefused)
        ));
    }
}
