//! Service accounts of a project and what they prove themselves with.

use fieldkeep_protocol::{CredentialId, LocationId, ServiceId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::people::places;
use crate::access::{
    Action, Admin, Fresh, Grant, Jwk, Locations, NewCredential, NewServiceAccount, PublicKey,
    Scopes, ServiceAccount, ServiceAccountChange, ServiceCredential, Session,
};
use crate::api::App;
use crate::api::door::{At, Body, Created, Empty, Json, Query, nullable, present};
use crate::api::fault::access;
use crate::api::id::{CredentialRef, Id, LocationRef, PersonRef, ServiceRef, Time};
use crate::api::page::{Page, Wanted};
use crate::api::problem::Problem;

/// An action that a key, an account or a token may be limited to. `write` and `audit` include `read`, `administer`
/// includes all.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = Scope)]
pub(super) enum ScopeWord {
    /// See measurements, devices, elements and their state.
    Read,
    /// See who has access and what was done.
    Audit,
    /// Change devices, claims, elements, locations.
    Write,
    /// Change the project itself and who may do what in it.
    Administer,
}

impl From<Action> for ScopeWord {
    fn from(action: Action) -> Self {
        match action {
            Action::Read => Self::Read,
            Action::Audit => Self::Audit,
            Action::Write => Self::Write,
            Action::Administer => Self::Administer,
        }
    }
}

impl From<ScopeWord> for Action {
    fn from(word: ScopeWord) -> Self {
        match word {
            ScopeWord::Read => Self::Read,
            ScopeWord::Audit => Self::Audit,
            ScopeWord::Write => Self::Write,
            ScopeWord::Administer => Self::Administer,
        }
    }
}

/// The scopes that a body names.
pub(super) fn scopes(words: Vec<ScopeWord>) -> Result<Scopes, Problem> {
    Scopes::of(words.into_iter().map(Action::from))
        .ok_or_else(|| Problem::field("scopes", "must name at least one action"))
}

pub(super) fn words(scopes: Scopes) -> Vec<ScopeWord> {
    scopes.actions().map(ScopeWord::from).collect()
}

/// A caller of one project that is no person.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceAccount)]
pub(super) struct AccountView {
    /// Also its client id at `/oauth/token`.
    id: ServiceRef,
    name: String,
    /// What it signs in with at the compatibility routes, with a secret as password.
    login: String,
    scopes: Vec<ScopeWord>,
    /// The locations that it reaches; null for the whole project.
    locations: Option<Vec<LocationRef>>,
    enabled: bool,
    created: Time,
    created_by: Option<PersonRef>,
    /// The day on which it last got a token, in UTC.
    last_used: Option<Time>,
    /// What it proves itself with, ended ones too.
    credentials: Vec<CredentialView>,
}

/// A credential, without its secret.
#[derive(Serialize, ToSchema)]
#[schema(as = ServiceCredential)]
pub(super) struct CredentialView {
    id: CredentialRef,
    /// `secret`, or a public key's algorithm: `ES256`, `EdDSA`.
    kind: String,
    /// To recognise it by: a secret's first characters, or the beginning of a public key's SHA-256.
    hint: String,
    created: Time,
    expires: Time,
    /// The day on which it was last used, in UTC.
    last_used: Option<Time>,
    revoked: Option<Time>,
}

/// What a new service account shall be.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewServiceAccount)]
pub(super) struct AccountOrder {
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    #[schema(min_items = 1)]
    scopes: Vec<ScopeWord>,
    /// The locations that it reaches; all that you reach where they are left out.
    locations: Option<Vec<LocationRef>>,
}

/// What to change; what is absent stays.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ServiceAccountChange)]
pub(super) struct AccountPatch {
    #[serde(default, deserialize_with = "present")]
    #[schema(
        min_length = 1,
        max_length = 128,
        nullable = false,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: Option<String>,
    #[serde(default, deserialize_with = "present")]
    #[schema(min_items = 1, nullable = false)]
    scopes: Option<Vec<ScopeWord>>,
    /// Null for the whole project.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<LocationRef>>)]
    locations: Option<Option<Vec<LocationRef>>>,
    /// Whether it may come in. What it did before stays.
    #[serde(default, deserialize_with = "present")]
    #[schema(nullable = false)]
    enabled: Option<bool>,
}

/// What a new credential shall be: a secret, unless `public_key` is given.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewServiceCredential)]
pub(super) struct CredentialOrder {
    /// When it ends: in a year at most, and where it is left out.
    expires: Option<Time>,
    /// When the account's other secrets end, to exchange one without a gap; where it is left out, they go on.
    others_end: Option<Time>,
    /// A JWK of kty EC with crv P-256, or OKP with crv Ed25519.
    public_key: Option<JwkOrder>,
}

/// A public key as a JWK (RFC 7517).
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PublicKey)]
pub(super) struct JwkOrder {
    #[schema(pattern = "^(EC|OKP)$")]
    kty: String,
    #[schema(pattern = "^(P-256|Ed25519)$")]
    crv: String,
    #[schema(pattern = "^[A-Za-z0-9_-]*$")]
    x: String,
    #[schema(pattern = "^[A-Za-z0-9_-]*$")]
    y: Option<String>,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
}

/// A new credential, with its secret for this once.
#[derive(Serialize, ToSchema)]
#[schema(as = MadeServiceCredential)]
pub(super) struct MadeCredential {
    credential: CredentialView,
    /// Shown once: `fks_…`. Null for a public key.
    secret: Option<String>,
}

pub(super) fn show(account: ServiceAccount) -> AccountView {
    AccountView {
        login: account.login(),
        id: Id(account.id),
        name: account.name,
        scopes: words(account.scopes),
        locations: places(&account.locations),
        enabled: account.enabled,
        created: account.created.into(),
        created_by: account.created_by.map(Id),
        last_used: account.used.map(Time),
        credentials: account
            .credentials
            .into_iter()
            .map(show_credential)
            .collect(),
    }
}

fn show_credential(credential: ServiceCredential) -> CredentialView {
    CredentialView {
        id: Id(credential.id),
        kind: credential.kind.name().to_owned(),
        hint: credential.hint,
        created: credential.created.into(),
        expires: credential.expires.into(),
        last_used: credential.used.map(Time),
        revoked: credential.revoked.map(Time),
    }
}

/// The locations that a body names, each of which must be there.
async fn reach(
    app: &App,
    grant: &Grant<'_, Admin>,
    named: Option<Vec<LocationRef>>,
) -> Result<Locations, Problem> {
    let Some(named) = named else {
        return Ok(Locations::All);
    };
    let named: Vec<LocationId> = named.into_iter().map(|Id(id)| id).collect();
    for location in &named {
        super::location_is_known(app, &grant.read(), Some(*location))
            .await
            .map_err(|_| Problem::field("locations", "do not all exist in this project"))?;
    }
    Ok(Locations::Only(named.into_iter().collect()))
}

/// The project's service accounts.
pub(super) async fn list(
    session: Session<Admin>,
    app: App,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page<AccountView>>, Problem> {
    let accounts = app.access.service_accounts(&session.grant()).await;
    let accounts = accounts.map_err(access)?;
    Ok(Json(wanted.cut(
        accounts,
        |account| *account.id.as_bytes(),
        show,
    )))
}

/// Makes a service account.
pub(super) async fn create(
    session: Fresh<Session<Admin>>,
    app: App,
    Body(order): Body<AccountOrder>,
) -> Result<Created<AccountView>, Problem> {
    let grant = session.grant();
    let locations = match order.locations {
        None => grant.locations().clone(),
        named => reach(&app, &grant, named).await?,
    };
    let new = NewServiceAccount {
        name: order.name,
        scopes: scopes(order.scopes)?,
        locations,
    };
    let made = app.access.create_service_account(&grant, new).await;
    made.map(show).map(Created).map_err(access)
}

/// One service account.
pub(super) async fn one(
    session: Session<Admin>,
    app: App,
    At(account): At<ServiceId>,
) -> Result<Json<AccountView>, Problem> {
    let found = app.access.service_account(&session.grant(), account).await;
    found.map(show).map(Json).map_err(access)
}

/// Changes a service account, or disables it, at once.
pub(super) async fn change(
    session: Fresh<Session<Admin>>,
    app: App,
    At(account): At<ServiceId>,
    Body(patch): Body<AccountPatch>,
) -> Result<Json<AccountView>, Problem> {
    let grant = session.grant();
    let locations = match patch.locations {
        None => None,
        Some(named) => Some(reach(&app, &grant, named).await?),
    };
    let change = ServiceAccountChange {
        name: patch.name,
        scopes: patch.scopes.map(scopes).transpose()?,
        locations,
        enabled: patch.enabled,
    };
    let changed = app
        .access
        .change_service_account(&grant, account, change)
        .await;
    changed.map(show).map(Json).map_err(access)
}

/// Gives a service account a credential.
pub(super) async fn add_credential(
    session: Fresh<Session<Admin>>,
    app: App,
    At(account): At<ServiceId>,
    Body(order): Body<CredentialOrder>,
) -> Result<Created<MadeCredential>, Problem> {
    let new = match order.public_key {
        None => NewCredential::Secret {
            others_end: order.others_end.map(|Time(time)| time),
        },
        Some(jwk) => {
            if order.others_end.is_some() {
                return Err(Problem::field("others_end", "is for secrets alone"));
            }
            let jwk = Jwk {
                kty: jwk.kty,
                crv: jwk.crv,
                x: jwk.x,
                y: jwk.y,
                kid: jwk.kid,
                alg: jwk.alg,
                usage: jwk.r#use,
            };
            let key = PublicKey::from_jwk(&jwk);
            NewCredential::Key(key.map_err(|reason| Problem::field("public_key", reason))?)
        }
    };
    let expires = order.expires.map(|Time(time)| time);
    let made = app
        .access
        .add_credential(&session.grant(), account, new, expires)
        .await;
    let (credential, secret) = made.map_err(access)?;
    Ok(Created(MadeCredential {
        credential: show_credential(credential),
        secret,
    }))
}

/// Revokes a credential and its tokens, at once.
pub(super) async fn revoke_credential(
    session: Fresh<Session<Admin>>,
    app: App,
    At(account): At<ServiceId>,
    At(credential): At<CredentialId>,
) -> Result<Empty, Problem> {
    app.access
        .revoke_credential(&session.grant(), account, credential)
        .await
        .map_err(access)?;
    Ok(Empty)
}
