//! Command lines that a person lets in by a code, through the whole door.

use std::time::Duration;

use serde_json::json;

use super::services::{bearer, form, ours};
use super::world::{Who, World};
use crate::access::{Role, Scopes};
use crate::trail::Origin;

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_command_line_is_let_in_by_a_code() {
    let world = World::new().await;
    let fields = "client_id=fieldkeep-cli&device_name=fieldkeep+on+bench&unknown=1";
    let (status, asked) = form(&world, "/oauth/device_authorization", fields, None).await;
    assert_eq!(status, 200, "{asked}");
    assert_eq!(
        asked["verification_uri"],
        "https://localhost:8443/app/device"
    );
    let [device, user] = ["device_code", "user_code"].map(|name| asked[name].as_str().unwrap());
    assert!(
        asked["verification_uri_complete"]
            .as_str()
            .unwrap()
            .ends_with(user)
    );
    let fields = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:device_code&client_id=fieldkeep-cli&device_code={device}"
    );
    let poll = async || {
        let (status, answer) = form(&world, "/oauth/token", &fields, None).await;
        (
            status,
            answer["error"].as_str().unwrap_or_default().to_owned(),
            answer,
        )
    };
    assert_eq!(poll().await.1, "authorization_pending");
    assert_eq!(poll().await.1, "slow_down");
    world.hands.advance(Duration::from_secs(6));
    assert_eq!(poll().await.1, "slow_down", "5 seconds longer from then on");
    world.hands.advance(Duration::from_secs(15));
    assert_eq!(poll().await.1, "authorization_pending");

    let editor = Who::Person(Role::Editor);
    let typed = Some(json!({ "user_code": user.to_lowercase() }));
    let (status, shown) = world
        .ask(editor, "POST", "/api/v1/auth/device", typed.clone())
        .await;
    assert_eq!(
        (status, &shown["name"]),
        (200, &json!("fieldkeep on bench"))
    );
    assert_eq!(shown["from"], "unknown");
    for who in [Who::Key(Role::Administrator), Who::Service(Scopes::ALL)] {
        assert_eq!(
            world
                .ask(who, "POST", "/api/v1/auth/device", typed.clone())
                .await
                .0,
            403
        );
    }
    let yes = Some(json!({ "user_code": user, "approve": true }));
    assert_eq!(
        world
            .ask(editor, "POST", "/api/v1/auth/device/answer", yes.clone())
            .await
            .0,
        204
    );
    assert_eq!(
        world
            .ask(editor, "POST", "/api/v1/auth/device/answer", yes.clone())
            .await
            .0,
        422
    );
    world.hands.advance(Duration::from_secs(15));
    let (status, _, answer) = poll().await;
    assert_eq!(status, 200, "{answer}");
    let token = answer["access_token"].as_str().unwrap();
    assert!(token.starts_with("fkp_"));
    assert_eq!(poll().await.1, "expired_token", "once");

    let (_, me) = bearer(&world, token, "GET", "/api/v1/me", None).await;
    assert_eq!(
        (&me["kind"], &me["name"]),
        (&json!("person"), &json!("editor"))
    );
    assert_eq!(
        bearer(&world, token, "GET", &ours(&world, "/keys"), None)
            .await
            .0,
        403
    );
    let code = Some(json!({ "user_code": world.user_code().await }));
    let path = "/api/v1/auth/device";
    assert_eq!(
        bearer(&world, token, "POST", path, code).await.0,
        403,
        "it lets no other in"
    );
    // Thirty days without use, and not twelve hours.
    world.hands.advance(Duration::from_secs(29 * 86_400));
    assert_eq!(
        bearer(&world, token, "GET", "/api/v1/me", None).await.0,
        200
    );
    world.hands.advance(Duration::from_secs(29 * 86_400));
    assert_eq!(
        bearer(&world, token, "GET", "/api/v1/me", None).await.0,
        200
    );
    let revoke = format!("token={token}&client_id=fieldkeep-cli");
    assert_eq!(form(&world, "/oauth/revoke", &revoke, None).await.0, 200);
    assert_eq!(
        bearer(&world, token, "GET", "/api/v1/me", None).await.0,
        401
    );
}

#[tokio::test]
async fn a_code_that_is_refused_or_old_opens_nothing() {
    let world = World::new().await;
    let asked = world
        .access
        .ask_by_device("bench", "192.0.2.7", &Origin::here())
        .await
        .unwrap();
    let fields = format!(
        "grant_type=urn:ietf:params:oauth:grant-type:device_code&device_code={}",
        asked.device_code
    );
    let who = Who::Person(Role::Viewer);
    let no = Some(json!({ "user_code": asked.user_code, "approve": false }));
    assert_eq!(
        world
            .ask(who, "POST", "/api/v1/auth/device/answer", no)
            .await
            .0,
        204
    );
    let (_, refused) = form(&world, "/oauth/token", &fields, None).await;
    assert_eq!(refused["error"], "access_denied");
    let old = world.user_code().await;
    world.hands.advance(11 * MINUTE);
    let typed = Some(json!({ "user_code": old }));
    assert_eq!(
        world.ask(who, "POST", "/api/v1/auth/device", typed).await.0,
        422
    );
    let mut limited = 0;
    for _ in 0..30 {
        let guess = Some(json!({ "user_code": "BCDF-GHJK" }));
        limited += u32::from(world.ask(who, "POST", "/api/v1/auth/device", guess).await.0 == 429);
    }
    assert!(limited >= 10, "{limited}");
}
