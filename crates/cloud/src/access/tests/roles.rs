//! Who gets which key to which project.

use fieldkeep_protocol::LocationId;

use super::*;

async fn asks<L: Level>(bench: &Bench, cookie: &str, project: ProjectId) -> &'static str {
    let who = bench.who(cookie).await.unwrap();
    match bench.access.session::<L>(who, project).await {
        Ok(session) => {
            assert_eq!(session.grant().project(), project);
            "yes"
        }
        Err(Denied::Unauthenticated) => "401",
        Err(Denied::Forbidden) => "403",
        Err(Denied::NotFound) => "404",
        Err(other) => panic!("{other}"),
    }
}

#[tokio::test]
async fn doors_open_as_the_role_table_says() {
    let bench = Bench::new().await;
    let project = bench.project().await;
    let elsewhere = bench.project().await;
    let operator = bench.by_link("operator@example.org").await;
    let (person, cookie) = bench.person("anna@example.org").await;
    for cookie in [&operator, &cookie] {
        assert_eq!(asks::<Read>(&bench, cookie, project).await, "404");
        assert_eq!(asks::<Admin>(&bench, cookie, project).await, "404");
    }
    for role in Role::ALL {
        let member = bench
            .access
            .add_member(person, project, role, Locations::All, None);
        member.await.unwrap();
        let expected = |action| if role.allows(action) { "yes" } else { "403" };
        assert_eq!(
            asks::<Read>(&bench, &cookie, project).await,
            expected(Action::Read)
        );
        assert_eq!(
            asks::<Audit>(&bench, &cookie, project).await,
            expected(Action::Audit)
        );
        assert_eq!(
            asks::<Write>(&bench, &cookie, project).await,
            expected(Action::Write)
        );
        assert_eq!(
            asks::<Admin>(&bench, &cookie, project).await,
            expected(Action::Administer)
        );
        assert_eq!(asks::<Read>(&bench, &cookie, elsewhere).await, "404");
    }
}

#[tokio::test]
async fn a_membership_ends_on_its_date_and_when_removed() {
    let bench = Bench::new().await;
    let project = bench.project().await;
    let (person, cookie) = bench.person("anna@example.org").await;
    let until = bench.clock.now().checked_add_micros(3_600_000_000);
    let member = bench
        .access
        .add_member(person, project, Role::Editor, Locations::All, until);
    member.await.unwrap();
    let who = bench.who(&cookie).await.unwrap();
    let session = bench.access.session::<Write>(who, project).await.unwrap();
    bench.hands.advance(HOUR - MINUTE);
    bench.access.still_valid(&session).await.unwrap();
    bench.hands.advance(MINUTE);
    assert_eq!(asks::<Read>(&bench, &cookie, project).await, "404");
    let denied = bench.access.still_valid(&session).await;
    assert!(matches!(denied, Err(Denied::NotFound)));
    let who = bench.who(&cookie).await.unwrap();
    assert!(bench.access.memberships(&who).await.unwrap().is_empty());

    let member = bench
        .access
        .add_member(person, project, Role::Editor, Locations::All, None);
    member.await.unwrap();
    bench.access.still_valid(&session).await.unwrap();
    bench.access.drop_member(person, project).await.unwrap();
    assert!(bench.access.still_valid(&session).await.is_err());
}

#[tokio::test]
async fn an_open_session_ends_with_its_role_its_reach_and_its_cookie() {
    let bench = Bench::new().await;
    let project = bench.project().await;
    let (person, cookie) = bench.person("anna@example.org").await;
    let be = async |role, locations| {
        let member = bench
            .access
            .add_member(person, project, role, locations, None);
        member.await.unwrap();
    };
    be(Role::Editor, Locations::All).await;
    let who = bench.who(&cookie).await.unwrap();
    let session = bench.access.session::<Write>(who, project).await.unwrap();
    be(Role::Administrator, Locations::All).await;
    bench.access.still_valid(&session).await.unwrap();
    be(Role::Viewer, Locations::All).await;
    let denied = bench.access.still_valid(&session).await;
    assert!(matches!(denied, Err(Denied::Forbidden)));
    let here = LocationId::from_bytes([1; 16]);
    be(Role::Editor, Locations::only([here])).await;
    let denied = bench.access.still_valid(&session).await;
    assert!(matches!(denied, Err(Denied::Forbidden)));
    be(Role::Editor, Locations::All).await;
    bench.access.still_valid(&session).await.unwrap();
    let who = bench.who(&cookie).await.unwrap();
    bench.access.sign_out(&Arriving(who)).await.unwrap();
    let denied = bench.access.still_valid(&session).await;
    assert!(matches!(denied, Err(Denied::Unauthenticated)));
}

#[tokio::test]
async fn members_and_memberships_tell_role_reach_and_end() {
    let bench = Bench::new().await;
    let project = bench.project().await;
    let (anna, cookie) = bench.person("anna@example.org").await;
    let here = LocationId::from_bytes([1; 16]);
    let until = bench.clock.now().checked_add_micros(1_000_000);
    let member =
        bench
            .access
            .add_member(anna, project, Role::Viewer, Locations::only([here]), until);
    member.await.unwrap();
    let who = bench.who(&cookie).await.unwrap();
    let mine = bench.access.memberships(&who).await.unwrap();
    assert_eq!(mine.len(), 1);
    assert_eq!(mine[0].project, project);
    assert_eq!(mine[0].locations, Locations::only([here]));
    let session = bench.access.session::<Read>(who, project).await.unwrap();
    assert_eq!(session.grant().locations(), &Locations::only([here]));

    let task = system(Task::AdminCommand).project(project);
    let members = bench.access.members(&task.grant()).await.unwrap();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].person.email, "anna@example.org");
    assert_eq!(members[0].membership.role, Role::Viewer);
    assert_eq!(members[0].membership.until, until);
}

#[tokio::test]
async fn a_limited_auditor_sees_whom_they_share_a_location_with() {
    let bench = Bench::new().await;
    let project = bench.project().await;
    let [here, there] = [1, 2].map(|byte| LocationId::from_bytes([byte; 16]));
    let mut cookie = String::new();
    for (email, locations) in [
        ("auditor@example.org", Locations::only([here])),
        ("everywhere@example.org", Locations::All),
        ("both@example.org", Locations::only([here, there])),
        ("there@example.org", Locations::only([there])),
    ] {
        let (person, own) = bench.person(email).await;
        if cookie.is_empty() {
            cookie = own;
        }
        let member = bench
            .access
            .add_member(person, project, Role::Auditor, locations, None);
        member.await.unwrap();
    }
    let who = bench.who(&cookie).await.unwrap();
    let session = bench.access.session::<Audit>(who, project).await.unwrap();
    let members = bench.access.members(&session.grant()).await.unwrap();
    let mut seen: Vec<_> = members
        .into_iter()
        .map(|member| (member.person.email, member.membership.locations))
        .collect();
    seen.sort_by(|one, other| one.0.cmp(&other.0));
    let only = || Locations::only([here]);
    let expected = [
        ("auditor@example.org", only()),
        ("both@example.org", only()),
        ("everywhere@example.org", Locations::All),
    ];
    assert_eq!(
        seen,
        expected.map(|(email, reach)| (email.to_owned(), reach))
    );
}
