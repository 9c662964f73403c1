//! API keys of a project.

use fieldkeep_protocol::{KeyId, Timestamp};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use utoipa::ToSchema;

use super::auth::RoleWord;
use super::service_accounts::{ScopeWord, scopes, words};
use crate::access::{Admin, ApiKey, Fresh, Locations, NewApiKey, Scopes, Session};
use crate::api::App;
use crate::api::door::{At, Body, Created, Empty, Json, Query};
use crate::api::fault::access;
use crate::api::id::{Id, KeyRef, LocationRef, PersonRef, Time};
use crate::api::page::{Page, Wanted};
use crate::api::problem::Problem;

/// An API key, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = ApiKey)]
pub(super) struct KeyView {
    id: KeyRef,
    name: String,
    /// The first characters of the secret, to recognise it by.
    prefix: String,
    role: RoleWord,
    /// To which actions of its role it is limited.
    scopes: Vec<ScopeWord>,
    /// The locations that it reaches; null for the whole project.
    locations: Option<Vec<LocationRef>>,
    created: Time,
    created_by: Option<PersonRef>,
    /// Null for never.
    expires: Option<Time>,
    /// The day on which it was last used, in UTC.
    last_used: Option<Time>,
    revoked: Option<Time>,
}

/// A new API key, with its secret for this once.
#[derive(Serialize, ToSchema)]
#[schema(as = NewApiKey)]
pub(super) struct MadeKey {
    key: KeyView,
    /// Shown once: `fk_…`.
    secret: String,
}

/// What a new key shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyOrder {
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    role: RoleWord,
    /// When it ends: a time within a year, or the word `never`.
    expires: Expiry,
    /// To which actions of its role it is limited; all of them where they are left out.
    #[schema(min_items = 1)]
    scopes: Option<Vec<ScopeWord>>,
    /// The locations that it reaches; all that you reach where they are left out.
    locations: Option<Vec<LocationRef>>,
}

/// When a key ends: somebody must have thought of it.
#[derive(ToSchema)]
#[schema(as = KeyExpiry, value_type = String, example = "2027-01-31T00:00:00Z")]
pub(super) struct Expiry(Option<Timestamp>);

impl<'de> Deserialize<'de> for Expiry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "never" {
            return Ok(Self(None));
        }
        text.parse()
            .map(|Time(time)| Self(Some(time)))
            .map_err(|_| {
                D::Error::custom("is neither a time such as 2027-01-31T00:00:00Z nor \"never\"")
            })
    }
}

pub(super) fn show(key: ApiKey) -> KeyView {
    KeyView {
        id: Id(key.id),
        name: key.name,
        prefix: key.prefix,
        role: key.role.into(),
        scopes: words(key.scopes),
        locations: places(&key.locations),
        created: key.created.into(),
        created_by: key.created_by.map(Id),
        expires: key.expires.map(Time),
        last_used: key.used.map(Time),
        revoked: key.revoked.map(Time),
    }
}

pub(super) fn places(locations: &Locations) -> Option<Vec<LocationRef>> {
    match locations {
        Locations::All => None,
        Locations::Only(set) => Some(set.iter().copied().map(Id).collect()),
    }
}

/// The project's API keys.
pub(super) async fn keys(
    session: Session<Admin>,
    app: App,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<KeyView>>, Problem> {
    let keys = app
        .access
        .api_keys(&session.grant())
        .await
        .map_err(access)?;
    Ok(Json(wanted.cut(keys, |key| *key.id.as_bytes(), show)))
}

/// Makes an API key.
pub(super) async fn create_key(
    session: Fresh<Session<Admin>>,
    app: App,
    Body(order): Body<KeyOrder>,
) -> Result<Created<MadeKey>, Problem> {
    let grant = session.grant();
    let locations = match order.locations {
        None => grant.locations().clone(),
        Some(named) => Locations::Only(named.into_iter().map(|Id(id)| id).collect()),
    };
    let role = order.role.into();
    let limit = match order.scopes {
        None => Scopes::of_role(role),
        Some(words) => scopes(words)?,
    };
    let new = NewApiKey {
        name: order.name,
        role,
        locations,
        expires: order.expires.0,
    };
    let (key, secret) = app
        .access
        .create_scoped_api_key(&grant, new, limit)
        .await
        .map_err(access)?;
    Ok(Created(MadeKey {
        key: show(key),
        secret,
    }))
}

/// Revokes an API key, at once.
pub(super) async fn revoke_key(
    session: Fresh<Session<Admin>>,
    app: App,
    At(key): At<KeyId>,
) -> Result<Empty, Problem> {
    app.access
        .revoke_api_key(&session.grant(), key)
        .await
        .map_err(access)?;
    Ok(Empty)
}
