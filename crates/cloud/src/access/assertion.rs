//! Signed assertions by which a service account proves who it is (RFC 7523, `private_key_jwt`), and the public keys
//! that it registered.
//!
//! Two algorithms, ES256 and EdDSA with Ed25519; the key and with it the algorithm come from the registration alone:
//! what a header says of keys is ignored, what it says must be understood (`crit`) is refused. Signatures are checked by
//! aws-lc. Decides nothing about replay: whoever asks keeps the `jti`.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

/// Longer than any honest assertion.
const LONGEST: usize = 4_096;
/// How far ahead an assertion may end.
const LIFE_S: i64 = 600;
/// How far two clocks may be apart.
const SKEW_S: i64 = 60;
const JTI_LONGEST: usize = 128;

/// A signature algorithm of a registered key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

impl Algorithm {
    /// As a header and a JWK name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Es256, Self::EdDsa]
            .into_iter()
            .find(|known| known.name() == name)
    }

    fn verification(self) -> &'static dyn VerificationAlgorithm {
        match self {
            Self::Es256 => &ECDSA_P256_SHA256_FIXED,
            Self::EdDsa => &ED25519,
        }
    }
}

/// A public key as it was registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    pub(super) algorithm: Algorithm,
    /// An uncompressed point, or the 32 bytes of Ed25519.
    pub(super) bytes: Vec<u8>,
}

/// A JWK (RFC 7517) with what a public key of these algorithms has.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Jwk {
    /// `EC` or `OKP`.
    pub kty: String,
    /// `P-256` or `Ed25519`.
    pub crv: String,
    /// The coordinate.
    pub x: String,
    /// The other one, of `EC` alone.
    pub y: Option<String>,
    /// Not used: keys are found by their account.
    pub kid: Option<String>,
    /// If given, the algorithm that follows from the curve.
    pub alg: Option<String>,
    /// If given, `sig`.
    #[serde(rename = "use")]
    pub usage: Option<String>,
}

impl PublicKey {
    /// Checks a JWK: a point of its curve, and nothing private.
    ///
    /// # Errors
    /// What is wrong, in a sentence.
    pub fn from_jwk(jwk: &Jwk) -> Result<Self, &'static str> {
        let coordinate = |text: &str| -> Result<Vec<u8>, &'static str> {
            let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
            if bytes.len() == 32 {
                Ok(bytes)
            } else {
                Err("has a coordinate that is not 32 bytes in base64url")
            }
        };
        let key = match (jwk.kty.as_str(), jwk.crv.as_str(), &jwk.y) {
            ("EC", "P-256", Some(y)) => Self {
                algorithm: Algorithm::Es256,
                bytes: [vec![4], coordinate(&jwk.x)?, coordinate(y)?].concat(),
            },
            ("OKP", "Ed25519", None) => Self {
                algorithm: Algorithm::EdDsa,
                bytes: coordinate(&jwk.x)?,
            },
            _ => return Err("must be of kty EC with crv P-256, or OKP with crv Ed25519"),
        };
        if jwk
            .alg
            .as_deref()
            .is_some_and(|alg| alg != key.algorithm.name())
        {
            return Err("has an alg that does not go with its curve");
        }
        if jwk.usage.as_deref().is_some_and(|usage| usage != "sig") {
            return Err("is not for signatures");
        }
        ParsedPublicKey::new(key.algorithm.verification(), &key.bytes)
            .map_err(|_| "is no point of its curve")?;
        Ok(key)
    }

    /// What a person may recognise it by: the beginning of the hash of its bytes.
    pub(super) fn hint(&self) -> String {
        let hash = digest(&SHA256, &self.bytes);
        crate::keys::hex(hash.as_ref()).chars().take(16).collect()
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        ParsedPublicKey::new(self.algorithm.verification(), &self.bytes)
            .is_ok_and(|key| key.verify_sig(message, signature).is_ok())
    }
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    typ: Option<String>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
    #[serde(default)]
    b64: Option<serde_json::Value>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    exp: f64,
    iat: f64,
    #[serde(default)]
    nbf: Option<f64>,
    jti: String,
}

/// An assertion that was read and not yet believed.
pub(super) struct Assertion<'t> {
    algorithm: Algorithm,
    claims: Claims,
    signed: &'t [u8],
    signature: Vec<u8>,
}

impl<'t> Assertion<'t> {
    /// Reads the three parts; None for whatever is not exactly an assertion.
    pub(super) fn read(text: &'t str) -> Option<Self> {
        if text.len() > LONGEST {
            return None;
        }
        let (signed, signature) = text.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let part = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
        let header: Header = serde_json::from_slice(&part(header)?).ok()?;
        let typ = header.typ.as_deref().map(str::to_ascii_lowercase);
        let kind = matches!(
            typ.as_deref(),
            None | Some("jwt" | "client-authentication+jwt")
        );
        if header.crit.is_some() || header.b64.is_some() || !kind {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&part(claims)?).ok()?;
        let named = claims.iss == claims.sub && (1..=JTI_LONGEST).contains(&claims.jti.len());
        named.then_some(())?;
        Some(Self {
            algorithm: Algorithm::from_name(&header.alg)?,
            claims,
            signed: signed.as_bytes(),
            signature: part(signature)?,
        })
    }

    /// Who it says it is.
    pub(super) fn client(&self) -> &str {
        &self.claims.sub
    }

    /// What makes it single use.
    pub(super) fn jti(&self) -> &str {
        &self.claims.jti
    }

    /// When it can be forgotten that it was used.
    pub(super) fn forget_s(&self) -> i64 {
        whole(self.claims.exp).saturating_add(SKEW_S + 1)
    }

    /// Whether it is for us, of now, and signed by this key.
    pub(super) fn holds(&self, key: &PublicKey, audiences: &[String], now_s: i64) -> bool {
        let ours = |given: &String| audiences.contains(given);
        let for_us = match &self.claims.aud {
            Audience::One(given) => ours(given),
            // All of them must be us: whoever else it is for could show it here.
            Audience::Many(given) => !given.is_empty() && given.iter().all(ours),
        };
        let [exp, iat] = [self.claims.exp, self.claims.iat].map(whole);
        let timely = exp > now_s.saturating_sub(SKEW_S)
            && exp <= now_s.saturating_add(LIFE_S + SKEW_S)
            && iat <= now_s.saturating_add(SKEW_S)
            && iat > now_s.saturating_sub(LIFE_S + SKEW_S)
            && self
                .claims
                .nbf
                .is_none_or(|nbf| whole(nbf) <= now_s.saturating_add(SKEW_S));
        // The header's algorithm must be the registered key's: it chooses nothing.
        for_us
            && timely
            && self.algorithm == key.algorithm
            && key.verifies(self.signed, &self.signature)
    }
}

/// A NumericDate in whole seconds. What does not fit is far away in its direction, and no number at all is long past.
#[expect(
    clippy::cast_possible_truncation,
    reason = "a cast of a float saturates"
)]
fn whole(seconds: f64) -> i64 {
    if seconds.is_nan() {
        return i64::MIN;
    }
    seconds.floor() as i64
}

#[cfg(test)]
mod tests;
