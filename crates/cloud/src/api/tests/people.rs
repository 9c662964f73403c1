//! People at the door: on the way in, asked once more, invited, and never told who else there is.

use axum::body::Body;
use http::{Request, header};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

use super::world::{Who, World, request};
use crate::access::Role;

const ADMINISTRATOR: Who = Who::Person(Role::Administrator);
const PASSWORD: &str = "a river in spring";

fn with(world: &World, cookie: &str, mut request: Request<Body>) -> Request<Body> {
    let value = format!("{}={cookie}", world.access.cookie_name());
    let headers = request.headers_mut();
    headers.insert(header::COOKIE, value.parse().unwrap());
    headers.insert("x-fieldkeep", "1".parse().unwrap());
    request
}

async fn answer(world: &World, request: Request<Body>) -> (u16, Value) {
    let response = world.send(request).await;
    let status = response.status().as_u16();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, serde_json::from_slice(&bytes).unwrap_or_default())
}

#[tokio::test]
async fn who_must_set_up_a_factor_is_answered_nothing_else() {
    let world = World::new().await;
    let link = world.link(ADMINISTRATOR).await;
    let cookie = world
        .access
        .redeem_link(&link, &crate::trail::Origin::here())
        .await
        .unwrap()
        .cookie;
    let ask = async |method, path: &str, body| {
        answer(&world, with(&world, &cookie, request(method, path, body))).await
    };
    let project = format!("/api/v1/projects/{}", world.ours.project);
    for path in [project.as_str(), "/api/v1/projects", "/api/v1/nothing"] {
        let (status, problem) = ask("GET", path, None).await;
        assert_eq!(
            (status, &problem["code"]),
            (403, &json!("second_factor_required"))
        );
    }
    let (status, me) = ask("GET", "/api/v1/me", None).await;
    assert_eq!((status, &me["step"]), (200, &json!("set_up_factor")));
    assert_eq!(me["projects"], json!([]));
    let (status, enrolment) = ask("POST", "/api/v1/auth/totp", None).await;
    assert_eq!(status, 201);
    assert!(enrolment["qr_svg"].as_str().unwrap().contains("<svg"));
    let wrong = Some(json!({ "code": "12345" }));
    let (status, problem) = ask("POST", "/api/v1/auth/totp/confirm", wrong).await;
    assert_eq!(
        (status, &problem["errors"][0]["field"]),
        (422, &json!("code"))
    );
}

#[tokio::test]
async fn a_stale_proof_is_asked_for_once_more() {
    let world = World::new().await;
    let cookie = world.session(ADMINISTRATOR).await;
    world
        .access
        .set_password_of(&cookie, PASSWORD)
        .await
        .unwrap();
    world.access.grow_stale(&cookie).await.unwrap();
    let keys = format!("/api/v1/projects/{}/keys", world.ours.project);
    let make = async || {
        let body = json!({ "name": "k", "role": "viewer", "expires": "never" });
        answer(
            &world,
            with(&world, &cookie, request("POST", &keys, Some(body))),
        )
        .await
    };
    let prove = async |body| {
        let request = request("POST", "/api/v1/auth/prove", Some(body));
        answer(&world, with(&world, &cookie, request)).await
    };
    let (status, problem) = make().await;
    assert_eq!(
        (status, &problem["code"]),
        (401, &json!("reauthentication_required"))
    );
    assert!(problem["detail"].as_str().unwrap().contains("/auth/prove"));
    assert_eq!(prove(json!({ "password": "wrong" })).await.0, 422);
    assert_eq!(prove(json!({})).await.0, 422);
    assert_eq!(make().await.0, 401);
    assert_eq!(prove(json!({ "password": PASSWORD })).await.0, 204);
    assert_eq!(make().await.0, 201);
}

#[tokio::test]
async fn a_refused_sign_in_says_the_same_of_everybody() {
    let world = World::new().await;
    let cookie = world.session(ADMINISTRATOR).await;
    world
        .access
        .set_password_of(&cookie, PASSWORD)
        .await
        .unwrap();
    let mut bodies = Vec::new();
    for email in [
        "administrator@example.org",
        "viewer@example.org",
        "nobody@example.org",
    ] {
        let body = json!({ "email": email, "password": "not the password" });
        let response = world
            .send(request("POST", "/api/v1/auth/sign-in", Some(body)))
            .await;
        let status = response.status();
        let id = response.headers()["x-request-id"]
            .to_str()
            .unwrap()
            .to_owned();
        let mut headers: Vec<String> = response.headers().keys().map(ToString::to_string).collect();
        headers.sort();
        let bytes = response.into_body().collect().await.unwrap().to_bytes();
        let text = String::from_utf8(bytes.to_vec()).unwrap().replace(&id, "");
        bodies.push((status, headers, text));
    }
    assert!(bodies.iter().all(|body| body == &bodies[0]), "{bodies:?}");
}

#[tokio::test]
async fn an_invitation_makes_a_member() {
    let world = World::new().await;
    let project = world.ours.project;
    let invitations = format!("/api/v1/projects/{project}/invitations");
    let order = json!({ "email": "guest@example.org", "role": "viewer", "locations": [world.here.to_string()] });
    let (status, made) = world
        .ask(ADMINISTRATOR, "POST", &invitations, Some(order))
        .await;
    assert_eq!(status, 201, "{made}");
    let token = made["link"].as_str().unwrap().split_once('#').unwrap().1;
    let offer = json!({ "token": token });
    let (status, offer) = answer(
        &world,
        request("POST", "/api/v1/auth/invitation", Some(offer)),
    )
    .await;
    assert_eq!((status, &offer["project"]), (200, &json!("ours")));
    let account = json!({ "token": token, "name": "Guest", "password": PASSWORD });
    let accept = request("POST", "/api/v1/auth/invitation/accept", Some(account));
    let (status, me) = answer(&world, accept).await;
    assert_eq!((status, &me["step"]), (200, &json!("done")));
    assert_eq!(me["projects"][0]["id"], project.to_string());
    let (_, listed) = world.ask(ADMINISTRATOR, "GET", &invitations, None).await;
    assert!(listed["items"][0]["accepted"].is_string(), "{listed}");
    let foreign = json!({ "email": "x@example.org", "role": "viewer", "locations": [world.theirs.location.to_string()] });
    let (status, _) = world
        .ask(ADMINISTRATOR, "POST", &invitations, Some(foreign))
        .await;
    assert_eq!(status, 422);
    let above = json!({ "email": "x@example.org", "role": "viewer" });
    let (status, _) = world
        .ask(Who::Person(Role::Editor), "POST", &invitations, Some(above))
        .await;
    assert_eq!(status, 403);
}
