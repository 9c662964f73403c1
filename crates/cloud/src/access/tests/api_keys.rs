//! API keys: what they open, and when they stop.

use fieldkeep_protocol::LocationId;

use super::*;

fn new(role: Role) -> NewApiKey {
    NewApiKey {
        name: "Dashboard".to_owned(),
        role,
        locations: Locations::All,
        expires: None,
    }
}

async fn make(bench: &Bench, project: ProjectId, role: Role) -> (ApiKey, String) {
    let task = system(Task::AdminCommand).project(project);
    let grant = task.grant();
    bench
        .access
        .create_api_key(&grant, new(role))
        .await
        .unwrap()
}

async fn holder(bench: &Bench, secret: &str) -> Result<SignedIn, Denied> {
    let credential = Credential::Bearer(secret.to_owned());
    bench.access.actor(&credential, &Origin::here()).await
}

#[tokio::test]
async fn a_key_opens_its_project_at_its_role() {
    let bench = Bench::new().await;
    let [project, elsewhere] = [bench.project().await, bench.project().await];
    let (key, secret) = make(&bench, project, Role::Editor).await;
    assert!(secret.starts_with(&key.prefix) && secret.starts_with("fk_"));
    assert_eq!(key.prefix.len(), 11);
    let who = || async { holder(&bench, &secret).await.unwrap() };
    assert_eq!(who().await.actor(), Actor::ApiKey(project, key.id));
    assert!(!who().await.is_operator());
    assert!(bench.access.me(&who().await).await.unwrap().is_none());
    let session = bench.access.session::<Write>(who().await, project);
    bench
        .access
        .still_valid(&session.await.unwrap())
        .await
        .unwrap();
    let denied = bench.access.session::<Admin>(who().await, project).await;
    assert!(matches!(denied, Err(Denied::Forbidden)));
    let denied = bench.access.session::<Read>(who().await, elsewhere).await;
    assert!(matches!(denied, Err(Denied::NotFound)));
    let mine = bench.access.memberships(&who().await).await.unwrap();
    assert_eq!((mine.len(), mine[0].project), (1, project));
    let error = bench
        .access
        .set_password(&Arrived(who().await), None, PASSWORD, &[])
        .await;
    assert!(matches!(error, Err(AccessError::NotAPerson)));
}

#[tokio::test]
async fn a_revoked_or_expired_key_opens_nothing_at_once() {
    let bench = Bench::new().await;
    let project = bench.project().await;
    let task = system(Task::AdminCommand).project(project);
    let (key, secret) = make(&bench, project, Role::Viewer).await;
    let who = holder(&bench, &secret).await.unwrap();
    let session = bench.access.session::<Read>(who, project).await.unwrap();
    let grant = task.grant();
    bench.access.revoke_api_key(&grant, key.id).await.unwrap();
    bench.access.revoke_api_key(&grant, key.id).await.unwrap();
    assert!(matches!(
        holder(&bench, &secret).await,
        Err(Denied::Unauthenticated)
    ));
    assert!(bench.access.still_valid(&session).await.is_err());

    let revoked = key.id;
    bench.hands.advance(MINUTE);
    let expires = bench.clock.now().checked_add_micros(60_000_000);
    let until = NewApiKey {
        expires,
        ..new(Role::Viewer)
    };
    let (key, secret) = bench.access.create_api_key(&grant, until).await.unwrap();
    assert!(holder(&bench, &secret).await.is_ok());
    bench.hands.advance(MINUTE);
    assert!(holder(&bench, &secret).await.is_err());
    let past = NewApiKey {
        expires,
        ..new(Role::Viewer)
    };
    let error = bench.access.create_api_key(&grant, past).await.unwrap_err();
    assert!(matches!(error, AccessError::PastDate));

    let listed = bench.access.api_keys(&grant).await.unwrap();
    let states: Vec<_> = listed
        .iter()
        .map(|key| (key.id, key.name.as_str(), key.revoked.is_some()))
        .collect();
    assert_eq!(
        states,
        [(revoked, "Dashboard", true), (key.id, "Dashboard", false)]
    );
    assert!(listed[1].used.is_some_and(|used| used < bench.clock.now()));
}

/// What is remembered of a key must not outlive what any process writes.
#[tokio::test]
async fn what_another_process_does_to_a_key_counts_at_once() {
    let bench = Bench::new().await;
    let project = bench.project().await;
    let (key, secret) = make(&bench, project, Role::Viewer).await;
    let master = MasterKey::load(&bench.folder.path().join("key"));
    let master = master.unwrap().unwrap();
    let data = bench.folder.path().join("data");
    let opened = Keys::open(&data, &master, &bench.clock).await.unwrap();
    let other = Db::open(&data, &opened.catalogue).await.unwrap();
    async fn opens<L: Level>(
        bench: &Bench,
        secret: &str,
        project: ProjectId,
    ) -> Result<Session<L>, Denied> {
        let who = holder(bench, secret).await?;
        bench.access.session(who, project).await
    }
    for _ in 0..3 {
        let session = opens::<Read>(&bench, &secret, project).await.unwrap();
        assert_eq!(session.project(), project);
        let denied = opens::<Admin>(&bench, &secret, project).await;
        assert!(matches!(denied, Err(Denied::Forbidden)));
    }
    let elsewhere = bench.project().await;
    let denied = opens::<Read>(&bench, &secret, elsewhere).await;
    assert!(matches!(denied, Err(Denied::NotFound)));
    let change = async |sql: &'static str| {
        let values = [project.as_bytes().into(), key.id.as_bytes().into()];
        other.execute(sql, &values).await.unwrap();
    };
    change(
        "UPDATE api_key SET role = 'administrator', scopes = NULL WHERE project = $1 AND id = $2",
    )
    .await;
    assert!(opens::<Admin>(&bench, &secret, project).await.is_ok());
    change("UPDATE api_key SET revoked_us = 1 WHERE project = $1 AND id = $2").await;
    assert!(matches!(
        holder(&bench, &secret).await,
        Err(Denied::Unauthenticated)
    ));
}

#[tokio::test]
async fn nobody_hands_out_more_than_they_have() {
    let bench = Bench::new().await;
    let [project, elsewhere] = [bench.project().await, bench.project().await];
    let (anna, cookie) = bench.person("anna@example.org").await;
    let [here, there] = [1, 2].map(|byte| LocationId::from_bytes([byte; 16]));
    let member = bench.access.add_member(
        anna,
        project,
        Role::Administrator,
        Locations::only([here]),
        None,
    );
    member.await.unwrap();
    let who = bench.who(&cookie).await.unwrap();
    let session = bench.access.session::<Admin>(who, project).await.unwrap();
    let grant = session.grant();
    for locations in [Locations::All, Locations::only([here, there])] {
        let beyond = NewApiKey {
            locations,
            ..new(Role::Viewer)
        };
        let error = bench
            .access
            .create_api_key(&grant, beyond)
            .await
            .unwrap_err();
        assert!(matches!(error, AccessError::LocationsBeyond));
    }
    let within = NewApiKey {
        locations: Locations::only([here]),
        ..new(Role::Administrator)
    };
    let (made, secret) = bench.access.create_api_key(&grant, within).await.unwrap();
    assert_eq!(made.created_by, Some(anna));
    let who = holder(&bench, &secret).await.unwrap();
    let limited = bench.access.session::<Read>(who, project).await.unwrap();
    assert_eq!(limited.grant().locations(), &Locations::only([here]));

    // Keys that reach further, or belong elsewhere, are neither seen nor revoked.
    let wide = make(&bench, project, Role::Viewer).await.0;
    let foreign = make(&bench, elsewhere, Role::Viewer).await.0;
    let seen = bench.access.api_keys(&grant).await.unwrap();
    assert_eq!(seen.iter().map(|key| key.id).collect::<Vec<_>>(), [made.id]);
    for id in [wide.id, foreign.id] {
        let error = bench.access.revoke_api_key(&grant, id).await.unwrap_err();
        assert!(matches!(error, AccessError::KeyUnknown));
    }
}

#[tokio::test]
async fn garbage_is_refused_alike() {
    let bench = Bench::new().await;
    let long = "x".repeat(100_000);
    for secret in ["", "fk_", "fk_00", &format!("fk_{}", "0".repeat(64)), &long] {
        assert!(matches!(
            holder(&bench, secret).await,
            Err(Denied::Unauthenticated)
        ));
        assert!(matches!(
            bench.who(secret).await,
            Err(Denied::Unauthenticated)
        ));
    }
}
