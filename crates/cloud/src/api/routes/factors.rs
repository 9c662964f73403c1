//! My second factors: an authenticator app, passkeys, recovery codes; showing one, and proving once more who I am.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use fieldkeep_protocol::PasskeyId;
use qrcode::render::svg;
use qrcode::{EcLevel, QrCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::auth::{Me, begun};
use crate::access::{
    AccessError, Arrived, Arriving, Fresh, Nobody, Passkey, PasskeyAnswer, PasskeyChallenge, Proof,
};
use crate::api::App;
use crate::api::door::{At, Body, Created, Empty, Json, SetCookie, Source};
use crate::api::fault::access;
use crate::api::id::{Id, PasskeyRef, Time};
use crate::api::problem::Problem;

/// My second factors.
#[derive(Serialize, ToSchema)]
#[schema(as = Factors)]
pub(super) struct FactorsView {
    /// Since when I have an authenticator app.
    totp: Option<Time>,
    passkeys: Vec<PasskeyView>,
    /// How many recovery codes are left.
    recovery_codes: u64,
    /// When I said that they are printed.
    codes_kept: Option<Time>,
    /// The host name that passkeys are for; null where this address cannot carry them.
    passkey_host: Option<String>,
    /// Does my role need a second factor?
    required: bool,
    /// Would it, were this not a demo?
    waived: bool,
    /// Am I the only operator of this instance?
    only_operator: bool,
}

/// A passkey of mine.
#[derive(Serialize, ToSchema)]
#[schema(as = Passkey)]
pub(super) struct PasskeyView {
    id: PasskeyRef,
    name: String,
    made: Time,
    last_used: Option<Time>,
}

/// What an authenticator app is told, once.
#[derive(Serialize, ToSchema)]
pub(super) struct TotpEnrolment {
    /// The secret in base32, to be typed.
    secret: String,
    /// The address behind the QR code.
    otpauth: String,
    /// The QR code as an SVG picture.
    qr_svg: String,
}

/// A code of the authenticator app.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TotpCode {
    /// Six digits.
    code: String,
}

/// What a new factor brings.
#[derive(Serialize, ToSchema)]
pub(super) struct FactorAdded {
    /// With the first one: ten recovery codes, shown this once.
    recovery_codes: Option<Vec<String>>,
}

/// Ten recovery codes, shown this once.
#[derive(Serialize, ToSchema)]
pub(super) struct RecoveryCodes {
    recovery_codes: Vec<String>,
}

/// What a browser is asked to do with a passkey; binary values are base64url.
#[derive(Serialize, ToSchema)]
#[schema(as = PasskeyChallenge)]
pub(super) struct ChallengeView {
    challenge: String,
    /// The relying party.
    host: String,
    /// Passkeys that exist already: to choose from, or to leave out.
    known: Vec<String>,
    /// The handle for a new passkey.
    handle: Option<String>,
}

/// What a browser answers when a passkey was made; binary values are base64url.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct MadePasskey {
    /// What to call it.
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
    #[schema(pattern = "^[A-Za-z0-9_-]*$")]
    client_data: String,
    #[schema(pattern = "^[A-Za-z0-9_-]*$")]
    attestation: String,
}

/// What a browser answers when a passkey was shown; binary values are base64url.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ShownPasskey {
    #[schema(pattern = "^[A-Za-z0-9_-]*$")]
    id: String,
    #[schema(pattern = "^[A-Za-z0-9_-]*$")]
    client_data: String,
    #[schema(pattern = "^[A-Za-z0-9_-]*$")]
    authenticator_data: String,
    #[schema(pattern = "^[A-Za-z0-9_-]*$")]
    signature: String,
}

/// Another name.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PasskeyName {
    #[schema(
        min_length = 1,
        max_length = 128,
        pattern = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"
    )]
    name: String,
}

/// A second factor: one of the two.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecondFactor {
    /// A code of the authenticator app, or a recovery code.
    code: Option<String>,
    /// A passkey's answer.
    passkey: Option<ShownPasskey>,
}

/// What proves who I am: one of the three.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ProofBody {
    #[schema(format = Password)]
    password: Option<String>,
    /// A code of the authenticator app, or a recovery code.
    code: Option<String>,
    /// A passkey's answer.
    passkey: Option<ShownPasskey>,
}

fn bytes(field: &'static str, text: &str) -> Result<Vec<u8>, Problem> {
    URL_SAFE_NO_PAD
        .decode(text)
        .map_err(|_| Problem::field(field, "is not base64url"))
}

fn answer(shown: &ShownPasskey) -> Result<PasskeyAnswer, Problem> {
    Ok(PasskeyAnswer {
        id: bytes("id", &shown.id)?,
        client_data: bytes("client_data", &shown.client_data)?,
        authenticator_data: bytes("authenticator_data", &shown.authenticator_data)?,
        signature: bytes("signature", &shown.signature)?,
    })
}

fn show(challenge: PasskeyChallenge) -> ChallengeView {
    ChallengeView {
        challenge: challenge.challenge,
        host: challenge.host,
        known: challenge.known,
        handle: challenge.handle,
    }
}

/// A challenge for signing in with a passkey.
pub(super) async fn sign_in_challenge(_: Nobody, app: App) -> Result<Json<ChallengeView>, Problem> {
    let challenge = app.access.passkey_sign_in().map_err(access)?;
    Ok(Json(show(challenge)))
}

/// Signs in with a passkey: it stands for both factors.
pub(super) async fn sign_in(
    anybody: Nobody,
    app: App,
    Body(shown): Body<ShownPasskey>,
) -> Result<SetCookie<Json<Me>>, Problem> {
    let answer = answer(&shown)?;
    let started = app
        .access
        .sign_in_by_passkey(&answer, anybody.origin())
        .await;
    begun(&app, started.map_err(access)?).await
}

/// A challenge for showing a passkey of mine.
pub(super) async fn challenge(me: Arriving, app: App) -> Result<Json<ChallengeView>, Problem> {
    let challenge = app.access.passkey_challenge(&me).await.map_err(access)?;
    Ok(Json(show(challenge)))
}

/// Shows my second factor.
pub(super) async fn second_factor(
    me: Arriving,
    app: App,
    Source(source): Source,
    Body(body): Body<SecondFactor>,
) -> Result<SetCookie<Json<Me>>, Problem> {
    let passkey = body.passkey.as_ref().map(answer).transpose()?;
    let proof = match (&body.code, &passkey) {
        (Some(code), None) => Proof::Code(code),
        (None, Some(passkey)) => Proof::Passkey(passkey),
        _ => return Err(Problem::field("code", "give either a code or a passkey")),
    };
    let started = app.access.show_factor(&me, proof, &source).await;
    begun(&app, started.map_err(access)?).await
}

/// Proves once more who I am, for ten minutes.
pub(super) async fn prove(
    me: Arrived,
    app: App,
    Source(source): Source,
    Body(body): Body<ProofBody>,
) -> Result<Empty, Problem> {
    let passkey = body.passkey.as_ref().map(answer).transpose()?;
    let proof = match (&body.password, &body.code, &passkey) {
        (Some(password), None, None) => Proof::Password(password),
        (None, Some(code), None) => Proof::Code(code),
        (None, None, Some(passkey)) => Proof::Passkey(passkey),
        _ => {
            return Err(Problem::field(
                "password",
                "give one of password, code and passkey",
            ));
        }
    };
    match app.access.prove(&me, proof, &source).await {
        Ok(()) => Ok(Empty),
        // Signed in already: it is a field that is wrong.
        Err(AccessError::WrongCredentials) => {
            Err(Problem::field("password", "is not your password"))
        }
        Err(AccessError::PasskeyRefused) => Err(Problem::field("passkey", "is not accepted")),
        Err(other) => Err(access(other)),
    }
}

/// My second factors.
pub(super) async fn list(me: Arrived, app: App) -> Result<Json<FactorsView>, Problem> {
    let factors = app.access.factors(&me).await.map_err(access)?;
    let passkey = |passkey: Passkey| PasskeyView {
        id: Id(passkey.id),
        name: passkey.name,
        made: passkey.made.into(),
        last_used: passkey.used.map(Time),
    };
    Ok(Json(FactorsView {
        totp: factors.totp.map(Time),
        passkeys: factors.passkeys.into_iter().map(passkey).collect(),
        recovery_codes: factors.recovery_codes,
        codes_kept: factors.codes_kept.map(Time),
        passkey_host: factors.passkey_host,
        required: factors.required,
        waived: factors.waived,
        only_operator: factors.only_operator,
    }))
}

/// Begins an authenticator app.
pub(super) async fn begin_totp(
    me: Fresh<Arrived>,
    app: App,
) -> Result<Created<TotpEnrolment>, Problem> {
    let enrolment = app.access.begin_totp(&me).await.map_err(access)?;
    let code = QrCode::with_error_correction_level(enrolment.address.as_bytes(), EcLevel::M)
        .map_err(|error| Problem::internal("a QR code could not be drawn", &error))?;
    let qr_svg = code
        .render::<svg::Color<'_>>()
        .min_dimensions(200, 200)
        .build();
    Ok(Created(TotpEnrolment {
        secret: enrolment.secret.to_string(),
        otpauth: enrolment.address.to_string(),
        qr_svg,
    }))
}

/// Confirms an authenticator app by a code of it.
pub(super) async fn confirm_totp(
    me: Fresh<Arrived>,
    app: App,
    Source(source): Source,
    Body(body): Body<TotpCode>,
) -> Result<Json<FactorAdded>, Problem> {
    let recovery_codes = app
        .access
        .confirm_totp(&me, &body.code, &source)
        .await
        .map_err(access)?;
    Ok(Json(FactorAdded { recovery_codes }))
}

/// Removes my authenticator app.
pub(super) async fn remove_totp(me: Fresh<Arrived>, app: App) -> Result<Empty, Problem> {
    app.access.remove_totp(&me).await.map_err(access)?;
    Ok(Empty)
}

/// A challenge for making a passkey.
pub(super) async fn begin_passkey(
    me: Fresh<Arrived>,
    app: App,
) -> Result<Json<ChallengeView>, Problem> {
    let challenge = app.access.begin_passkey(&me).await.map_err(access)?;
    Ok(Json(show(challenge)))
}

/// Keeps a passkey that was made.
pub(super) async fn add_passkey(
    me: Fresh<Arrived>,
    app: App,
    Body(made): Body<MadePasskey>,
) -> Result<Created<FactorAdded>, Problem> {
    let client_data = bytes("client_data", &made.client_data)?;
    let attestation = bytes("attestation", &made.attestation)?;
    let added = app
        .access
        .add_passkey(&me, &made.name, &client_data, &attestation)
        .await;
    match added {
        Ok(recovery_codes) => Ok(Created(FactorAdded { recovery_codes })),
        Err(AccessError::PasskeyRefused) => Err(Problem::field("attestation", "is not accepted")),
        Err(other) => Err(access(other)),
    }
}

/// Gives a passkey of mine another name.
pub(super) async fn rename_passkey(
    me: Fresh<Arrived>,
    app: App,
    At(passkey): At<PasskeyId>,
    Body(body): Body<PasskeyName>,
) -> Result<Empty, Problem> {
    let renamed = app.access.rename_passkey(&me, passkey, &body.name).await;
    renamed.map_err(access)?;
    Ok(Empty)
}

/// Removes a passkey of mine.
pub(super) async fn remove_passkey(
    me: Fresh<Arrived>,
    app: App,
    At(passkey): At<PasskeyId>,
) -> Result<Empty, Problem> {
    app.access
        .remove_passkey(&me, passkey)
        .await
        .map_err(access)?;
    Ok(Empty)
}

/// Makes ten recovery codes in the place of all that were.
pub(super) async fn recovery_codes(
    me: Fresh<Arrived>,
    app: App,
) -> Result<Created<RecoveryCodes>, Problem> {
    let recovery_codes = app.access.new_recovery_codes(&me).await.map_err(access)?;
    Ok(Created(RecoveryCodes { recovery_codes }))
}

/// Notes that I have printed my recovery codes.
pub(super) async fn codes_kept(me: Arrived, app: App) -> Result<Empty, Problem> {
    app.access.codes_are_kept(&me).await.map_err(access)?;
    Ok(Empty)
}
