//! Members: changing and removing them, what hangs on them, emergencies, and who could do what before.

use fieldkeep_protocol::LocationId;

use super::*;
use crate::access::leaving::Fate;

struct Team {
    bench: Bench,
    project: ProjectId,
    boss: PersonId,
    cookie: String,
}

impl Team {
    /// A project with one administrator.
    async fn new() -> Self {
        let bench = Bench::new().await;
        let project = bench.project().await;
        // The first link makes the operator; nobody here is to be it by chance.
        bench.by_link("operator@example.org").await;
        let (boss, cookie) = bench.person("boss@example.org").await;
        let team = Self {
            bench,
            project,
            boss,
            cookie,
        };
        team.add(boss, Role::Administrator).await;
        team
    }

    async fn add(&self, person: PersonId, role: Role) {
        let add = self
            .bench
            .access
            .add_member(person, self.project, role, Locations::All, None);
        add.await.unwrap();
    }

    async fn member(&self, email: &str, role: Role) -> (PersonId, String) {
        let (person, cookie) = self.bench.person(email).await;
        self.add(person, role).await;
        (person, cookie)
    }

    async fn admin(&self, cookie: &str) -> Result<Session<Admin>, Denied> {
        let who = self.bench.who(cookie).await?;
        self.bench.access.session::<Admin>(who, self.project).await
    }

    async fn key(&self, cookie: &str) -> (ApiKey, String) {
        let session = self.admin(cookie).await.unwrap();
        let new = NewApiKey {
            name: "Dashboard".to_owned(),
            role: Role::Viewer,
            locations: Locations::All,
            expires: None,
        };
        let grant = session.grant();
        let made = self.bench.access.create_api_key(&grant, new);
        made.await.unwrap()
    }

    async fn change(
        &self,
        cookie: &str,
        person: PersonId,
        change: MemberChange,
    ) -> Result<(), AccessError> {
        let session = self.admin(cookie).await.unwrap();
        self.bench
            .access
            .change_member(&session.grant(), person, change, None)
            .await
    }

    async fn remove(&self, person: PersonId, fate: Option<Fate>) -> Result<usize, AccessError> {
        let session = self.admin(&self.cookie).await.unwrap();
        self.bench
            .access
            .remove_member(&session.grant(), person, fate, false, Some("left"))
            .await
    }

    async fn opens(&self, secret: &str) -> bool {
        let credential = Credential::Bearer(secret.to_owned());
        let here = Origin::here();
        let holder = self.bench.access.actor(&credential, &here);
        holder.await.is_ok()
    }
}

fn role(role: Role) -> MemberChange {
    MemberChange {
        role: Some(role),
        ..MemberChange::default()
    }
}

#[tokio::test]
async fn a_change_counts_at_once_and_on_open_streams() {
    let team = Team::new().await;
    let (person, cookie) = team.member("anna@example.org", Role::Editor).await;
    let access = &team.bench.access;
    let who = team.bench.who(&cookie).await.unwrap();
    let stream = access.session::<Write>(who, team.project).await.unwrap();
    access.still_valid(&stream).await.unwrap();
    team.change(&team.cookie, person, role(Role::Viewer))
        .await
        .unwrap();
    assert!(matches!(
        access.still_valid(&stream).await,
        Err(Denied::Forbidden)
    ));
    let until = Timestamp::from_micros(team.bench.clock.now().as_micros() + 1_000_000);
    let ending = MemberChange {
        until: Some(Some(until)),
        ..MemberChange::default()
    };
    team.change(&team.cookie, person, ending).await.unwrap();
    let who = team.bench.who(&cookie).await.unwrap();
    let reading = access.session::<Read>(who, team.project).await.unwrap();
    access.still_valid(&reading).await.unwrap();
    team.bench.hands.advance(Duration::from_secs(1));
    assert!(matches!(
        access.still_valid(&reading).await,
        Err(Denied::NotFound)
    ));
}

#[tokio::test]
async fn nobody_gives_more_than_they_have_or_touches_who_reaches_further() {
    let team = Team::new().await;
    let [here, there] = [1, 2].map(|byte| LocationId::from_bytes([byte; 16]));
    let (limited, cookie) = team.bench.person("limited@example.org").await;
    let (other, _) = team.bench.person("other@example.org").await;
    let access = &team.bench.access;
    for (person, role, locations) in [
        (limited, Role::Administrator, Locations::only([here])),
        (other, Role::Viewer, Locations::only([here])),
    ] {
        let add = access.add_member(person, team.project, role, locations, None);
        add.await.unwrap();
    }
    team.change(&cookie, other, role(Role::Editor))
        .await
        .unwrap();
    let further = MemberChange {
        locations: Some(Locations::only([here, there])),
        ..MemberChange::default()
    };
    let error = team.change(&cookie, other, further).await.unwrap_err();
    assert!(matches!(error, AccessError::LocationsBeyond));
    let error = team
        .change(&cookie, team.boss, role(Role::Viewer))
        .await
        .unwrap_err();
    assert!(matches!(error, AccessError::MemberUnknown));
}

#[tokio::test]
async fn the_last_administrator_stays() {
    let team = Team::new().await;
    let until = Timestamp::from_micros(team.bench.clock.now().as_micros() + 1_000_000);
    for change in [
        role(Role::Editor),
        MemberChange {
            until: Some(Some(until)),
            ..MemberChange::default()
        },
        MemberChange {
            locations: Some(Locations::only([LocationId::from_bytes([1; 16])])),
            ..MemberChange::default()
        },
    ] {
        let error = team
            .change(&team.cookie, team.boss, change)
            .await
            .unwrap_err();
        assert!(matches!(error, AccessError::Last(_)), "{error}");
    }
    let error = team.remove(team.boss, None).await.unwrap_err();
    assert!(matches!(error, AccessError::Last(_)));
    let (second, _) = team.member("second@example.org", Role::Administrator).await;
    team.remove(second, None).await.unwrap();
    let (_, second) = team.member("third@example.org", Role::Administrator).await;
    team.change(&team.cookie, team.boss, role(Role::Viewer))
        .await
        .unwrap();
    assert!(team.admin(&second).await.is_ok());
}

#[tokio::test]
async fn what_hangs_on_who_leaves_is_revoked_or_handed_over_in_the_same_act() {
    let team = Team::new().await;
    let (anna, cookie) = team.member("anna@example.org", Role::Administrator).await;
    let (viewer, _) = team.member("viewer@example.org", Role::Viewer).await;
    let (first, secret) = team.key(&cookie).await;
    let session = team.admin(&team.cookie).await.unwrap();
    let hanging = team
        .bench
        .access
        .hanging_on(&session.grant(), anna)
        .await
        .unwrap();
    assert_eq!(hanging.keys.len(), 1);
    assert_eq!(hanging.keys[0].id, first.id);
    for (fate, fits) in [
        (None, "hanging"),
        (Some(Fate::HandOver(viewer)), "taker"),
        (Some(Fate::HandOver(anna)), "taker"),
    ] {
        let error = team.remove(anna, fate).await.unwrap_err();
        match fits {
            "hanging" => assert!(matches!(error, AccessError::Hanging)),
            _ => assert!(matches!(error, AccessError::CannotTakeOver)),
        }
        assert!(team.admin(&cookie).await.is_ok(), "nothing was done");
    }
    team.remove(anna, Some(Fate::HandOver(team.boss)))
        .await
        .unwrap();
    assert!(matches!(team.admin(&cookie).await, Err(Denied::NotFound)));
    assert!(team.opens(&secret).await, "handed over, it goes on");
    team.add(anna, Role::Administrator).await;
    let (_, second) = team.key(&cookie).await;
    team.remove(anna, Some(Fate::Revoke)).await.unwrap();
    assert!(!team.opens(&second).await);
    assert!(team.opens(&secret).await, "no longer hers");
}

#[tokio::test]
async fn leaving_everywhere_means_where_the_remover_administers() {
    let team = Team::new().await;
    let access = &team.bench.access;
    let (anna, cookie) = team.member("anna@example.org", Role::Viewer).await;
    let [shared, foreign] = [team.bench.project().await, team.bench.project().await];
    for project in [shared, foreign] {
        let add = access.add_member(anna, project, Role::Viewer, Locations::All, None);
        add.await.unwrap();
    }
    let add = access.add_member(team.boss, shared, Role::Administrator, Locations::All, None);
    add.await.unwrap();
    let session = team.admin(&team.cookie).await.unwrap();
    let grant = session.grant();
    assert_eq!(
        access
            .hanging_on(&grant, anna)
            .await
            .unwrap()
            .other_projects,
        1
    );
    let removed = access.remove_member(&grant, anna, None, true, None).await;
    assert_eq!(removed.unwrap(), 2);
    let who = team.bench.who(&cookie).await.unwrap();
    let left = access.memberships(&who).await.unwrap();
    assert_eq!((left.len(), left[0].project), (1, foreign));
}

#[tokio::test]
async fn an_emergency_is_short_visible_and_does_not_prolong_itself() {
    let team = Team::new().await;
    let access = &team.bench.access;
    let cookie = team.bench.by_link("operator@example.org").await;
    let operator = access
        .operator(team.bench.who(&cookie).await.unwrap())
        .unwrap();
    assert!(matches!(team.admin(&cookie).await, Err(Denied::NotFound)));
    for (hours, reason) in [(0, "flood"), (25, "flood"), (1, " "), (1, "a\nb")] {
        let by = operator.grant();
        let tried = access.break_glass(&by, team.project, hours, reason);
        assert!(tried.await.is_err(), "{hours} {reason}");
    }
    access
        .break_glass(&operator.grant(), team.project, 2, "flood")
        .await
        .unwrap();
    let session = team.admin(&cookie).await.unwrap();
    let grant = session.grant();
    let members = access.members(&grant.lower()).await.unwrap();
    let emergencies: Vec<_> = members.iter().filter(|member| member.emergency).collect();
    assert_eq!(emergencies.len(), 1);
    let me = emergencies[0].person.id;
    let stay = MemberChange {
        until: Some(None),
        ..MemberChange::default()
    };
    let error = access
        .change_member(&grant, me, stay.clone(), None)
        .await
        .unwrap_err();
    assert!(matches!(error, AccessError::Emergency));
    let auditor = grant.lower();
    let all = crate::trail::Filter::default();
    let page = access.trail_of_project(&auditor, all, None, 1);
    let record = page.await.unwrap().records.remove(0);
    assert_eq!(record.act, "member.break-glass");
    assert_eq!(record.reason.as_deref(), Some("flood"));
    let all = crate::trail::Filter::default();
    let page = access
        .trail_of_instance(&operator.grant(), &all, None, 1)
        .await;
    assert_eq!(page.unwrap().records[0].act, "member.break-glass");
    team.bench.hands.advance(2 * HOUR);
    assert!(matches!(team.admin(&cookie).await, Err(Denied::NotFound)));
    // Who is a member anyway needs none.
    team.add(me, Role::Viewer).await;
    let again = access
        .break_glass(&operator.grant(), team.project, 1, "flood")
        .await;
    assert!(matches!(again, Err(AccessError::AlreadyMember)));
}

#[tokio::test]
async fn the_last_operator_stays_and_who_is_kept_out_is_out_at_once() {
    let team = Team::new().await;
    let access = &team.bench.access;
    let cookie = team.bench.by_link("operator@example.org").await;
    let operator = access
        .operator(team.bench.who(&cookie).await.unwrap())
        .unwrap();
    let by = operator.grant();
    let me = by.actor().person().unwrap();
    let error = access.set_enabled(&by, me, false, None).await.unwrap_err();
    assert!(matches!(error, AccessError::Last(_)));
    assert!(team.bench.who(&cookie).await.is_ok());
    access
        .set_enabled(&by, team.boss, false, Some("lost"))
        .await
        .unwrap();
    assert!(team.bench.who(&team.cookie).await.is_err());
    access
        .set_enabled(&by, team.boss, true, None)
        .await
        .unwrap();
    assert!(
        team.bench.who(&team.cookie).await.is_err(),
        "the session is gone"
    );
    assert_eq!(access.people(&by).await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_past_is_told_as_it_was() {
    let team = Team::new().await;
    let access = &team.bench.access;
    let clock = &team.bench.clock;
    let step = || {
        let at = clock.now();
        team.bench.hands.advance(HOUR);
        at
    };
    let before = step();
    let (anna, cookie) = team.member("anna@example.org", Role::Viewer).await;
    let viewer = step();
    team.change(&team.cookie, anna, role(Role::Administrator))
        .await
        .unwrap();
    let (key, _) = team.key(&cookie).await;
    let administrator = step();
    let operator = team.bench.by_link("operator@example.org").await;
    let operator = access
        .operator(team.bench.who(&operator).await.unwrap())
        .unwrap();
    access
        .set_enabled(&operator.grant(), anna, false, None)
        .await
        .unwrap();
    let disabled = step();
    access
        .set_enabled(&operator.grant(), anna, true, None)
        .await
        .unwrap();
    team.remove(anna, Some(Fate::Revoke)).await.unwrap();
    let removed = step();
    let task = system(Task::AdminCommand).project(team.project);
    let grant = task.grant::<Audit>();
    let mut told = Vec::new();
    for at in [before, viewer, administrator, disabled, removed] {
        let found = access.access_at(&grant, at).await.unwrap();
        let annas = found
            .iter()
            .find(|had| matches!(&had.who, Had::Person { id, .. } if *id == anna));
        let keys = found
            .iter()
            .filter(|had| matches!(&had.who, Had::Key { id, .. } if *id == key.id));
        assert!(
            found
                .iter()
                .any(|had| matches!(&had.who, Had::Person { id, .. } if *id == team.boss))
        );
        told.push((annas.map(|had| (had.role, had.by)), keys.count()));
    }
    let by = Some(team.boss);
    assert_eq!(
        told,
        [
            (None, 0),
            (Some((Role::Viewer, None)), 0),
            (Some((Role::Administrator, by)), 1),
            (None, 1),
            (None, 0),
        ]
    );
}
