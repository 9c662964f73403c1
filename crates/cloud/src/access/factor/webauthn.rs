//! Passkeys: checks what an authenticator answered (Web Authentication, level 3, sections 7.1 and 7.2).
//!
//! Pure: bytes in, a credential or a fault out. Owns the reading of client data, authenticator data and COSE keys, and
//! which of them count: our own origin and host, a person who was present and verified, ES256, EdDSA or RS256. Where an
//! authenticator comes from (attestation) is neither asked for nor judged. Signatures are checked by aws-lc-rs.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use minicbor::Decoder;
use minicbor::data::Type;
use serde::Deserialize;

/// Longest client data and attestation read.
const LONGEST: usize = 16_384;
/// The standard's limit of a credential's id.
const ID_LONGEST: usize = 1_023;
const PRESENT: u8 = 1;
const VERIFIED: u8 = 1 << 2;
const ATTESTED: u8 = 1 << 6;

/// Why an authenticator's answer is refused. For the log; a client learns only that it was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum PasskeyFault {
    #[error("it cannot be read")]
    Unreadable,
    #[error("it is for another ceremony")]
    Ceremony,
    #[error("it comes from another origin")]
    Origin,
    #[error("it is for another host")]
    Host,
    #[error("nobody was verified")]
    Unverified,
    #[error("its key is of an unknown kind")]
    Key,
    #[error("its signature is wrong")]
    Signature,
    #[error("its counter went back: the passkey may have been copied")]
    Counter,
}

/// Where passkeys of this instance belong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Site {
    /// The relying party's id: our host name.
    pub(super) host: String,
    /// What browsers call our pages.
    pub(super) origins: Vec<String>,
}

/// A passkey that has just been made.
#[derive(Debug)]
pub(super) struct Made {
    pub(super) credential: Vec<u8>,
    /// The COSE key, as it came.
    pub(super) public_key: Vec<u8>,
    pub(super) counter: u32,
}

#[derive(Deserialize)]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: String,
    origin: String,
    #[serde(default, rename = "crossOrigin")]
    cross_origin: bool,
}

struct AuthenticatorData<'b> {
    host_hash: &'b [u8],
    flags: u8,
    counter: u32,
    rest: &'b [u8],
}

/// The challenge that a client's data name, before anything about them is believed.
pub(super) fn challenge(client_data: &[u8]) -> Option<Vec<u8>> {
    let data = read_client(client_data).ok()?;
    URL_SAFE_NO_PAD.decode(data.challenge).ok()
}

/// Checks the answer to a registration whose challenge the caller has taken back.
pub(super) fn made(
    site: &Site,
    client_data: &[u8],
    attestation: &[u8],
) -> Result<Made, PasskeyFault> {
    client(site, client_data, "webauthn.create")?;
    if attestation.len() > LONGEST {
        return Err(PasskeyFault::Unreadable);
    }
    let data = authenticator_data_of(attestation).ok_or(PasskeyFault::Unreadable)?;
    let data = authenticator(site, data)?;
    if data.flags & ATTESTED == 0 {
        return Err(PasskeyFault::Unreadable);
    }
    let (credential, public_key) = credential(data.rest).ok_or(PasskeyFault::Unreadable)?;
    PublicKey::read(public_key).ok_or(PasskeyFault::Key)?;
    Ok(Made {
        credential: credential.to_vec(),
        public_key: public_key.to_vec(),
        counter: data.counter,
    })
}

/// Checks that a passkey answered a challenge that the caller has taken back; answers its counter.
pub(super) fn shown(
    site: &Site,
    (public_key, counter): (&[u8], u32),
    client_data: &[u8],
    authenticator_data: &[u8],
    signature: &[u8],
) -> Result<u32, PasskeyFault> {
    client(site, client_data, "webauthn.get")?;
    let data = authenticator(site, authenticator_data)?;
    let key = PublicKey::read(public_key).ok_or(PasskeyFault::Key)?;
    let mut signed = authenticator_data.to_vec();
    signed.extend_from_slice(digest(&SHA256, client_data).as_ref());
    key.verify(&signed, signature)?;
    // Passkeys that are synchronised do not count: both stay 0.
    if (data.counter != 0 || counter != 0) && data.counter <= counter {
        return Err(PasskeyFault::Counter);
    }
    Ok(data.counter)
}

fn read_client(bytes: &[u8]) -> Result<ClientData, PasskeyFault> {
    if bytes.len() > LONGEST {
        return Err(PasskeyFault::Unreadable);
    }
    serde_json::from_slice(bytes).map_err(|_| PasskeyFault::Unreadable)
}

fn client(site: &Site, bytes: &[u8], kind: &str) -> Result<(), PasskeyFault> {
    let data = read_client(bytes)?;
    if data.kind != kind {
        return Err(PasskeyFault::Ceremony);
    }
    if data.cross_origin || !site.origins.contains(&data.origin) {
        return Err(PasskeyFault::Origin);
    }
    Ok(())
}

fn authenticator<'b>(site: &Site, bytes: &'b [u8]) -> Result<AuthenticatorData<'b>, PasskeyFault> {
    let split = || {
        let (host_hash, rest) = bytes.split_at_checked(32)?;
        let (&flags, rest) = rest.split_first()?;
        let (counter, rest) = rest.split_first_chunk::<4>()?;
        Some(AuthenticatorData {
            host_hash,
            flags,
            counter: u32::from_be_bytes(*counter),
            rest,
        })
    };
    let data = split().ok_or(PasskeyFault::Unreadable)?;
    if bytes.len() > LONGEST {
        return Err(PasskeyFault::Unreadable);
    }
    if data.host_hash != digest(&SHA256, site.host.as_bytes()).as_ref() {
        return Err(PasskeyFault::Host);
    }
    if data.flags & PRESENT == 0 || data.flags & VERIFIED == 0 {
        return Err(PasskeyFault::Unverified);
    }
    Ok(data)
}

/// `authData` of an attestation object; format and statement are left alone.
fn authenticator_data_of(attestation: &[u8]) -> Option<&[u8]> {
    let mut decoder = Decoder::new(attestation);
    let pairs = decoder.map().ok()??;
    let mut found = None;
    for _ in 0..pairs {
        if decoder.str().ok()? == "authData" {
            found = Some(decoder.bytes().ok()?);
        } else {
            decoder.skip().ok()?;
        }
    }
    found
}

/// Id and COSE key of the attested credential.
fn credential(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (_model, rest) = bytes.split_at_checked(16)?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let length = usize::from(u16::from_be_bytes(*length));
    if length == 0 || length > ID_LONGEST {
        return None;
    }
    let (id, rest) = rest.split_at_checked(length)?;
    let mut decoder = Decoder::new(rest);
    decoder.skip().ok()?;
    Some((id, rest.get(..decoder.position())?))
}

/// A key of one of the three kinds that we ask for.
enum PublicKey {
    /// The uncompressed point.
    P256([u8; 65]),
    Ed25519([u8; 32]),
    Rsa {
        n: Vec<u8>,
        e: Vec<u8>,
    },
}

impl PublicKey {
    fn read(cose: &[u8]) -> Option<Self> {
        let mut decoder = Decoder::new(cose);
        let pairs = decoder.map().ok()??;
        let (mut kind, mut algorithm, mut curve) = (None, None, None);
        let (mut first, mut second, mut third) = (None, None, None);
        for _ in 0..pairs {
            match decoder.i64().ok()? {
                1 => kind = Some(decoder.i64().ok()?),
                3 => algorithm = Some(decoder.i64().ok()?),
                // A number for curves, bytes for RSA.
                -1 => match decoder.datatype().ok()? {
                    Type::Bytes => first = Some(decoder.bytes().ok()?),
                    _ => curve = Some(decoder.i64().ok()?),
                },
                -2 => second = Some(decoder.bytes().ok()?),
                -3 => third = Some(decoder.bytes().ok()?),
                _ => decoder.skip().ok()?,
            }
        }
        match (kind?, algorithm?, curve) {
            (2, -7, Some(1)) => {
                let mut point = [4; 65];
                let (x, y) = point[1..].split_at_mut(32);
                x.copy_from_slice(second.filter(|x| x.len() == 32)?);
                y.copy_from_slice(third.filter(|y| y.len() == 32)?);
                Some(Self::P256(point))
            }
            (1, -8, Some(6)) => second?.try_into().ok().map(Self::Ed25519),
            (3, -257, None) => Some(Self::Rsa {
                n: first?.to_vec(),
                e: second?.to_vec(),
            }),
            _ => None,
        }
    }

    fn verify(&self, signed: &[u8], signature: &[u8]) -> Result<(), PasskeyFault> {
        let verified = match self {
            Self::P256(point) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(signed, signature)
            }
            Self::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key).verify(signed, signature),
            Self::Rsa { n, e } => RsaPublicKeyComponents { n, e }.verify(
                &RSA_PKCS1_2048_8192_SHA256,
                signed,
                signature,
            ),
        };
        verified.map_err(|_| PasskeyFault::Signature)
    }
}

#[cfg(test)]
mod tests {
    use super::super::soft::{Soft, client_data};
    use super::*;

    const ORIGIN: &str = "https://localhost:8443";

    fn site() -> Site {
        Site {
            host: "localhost".to_owned(),
            origins: vec![ORIGIN.to_owned()],
        }
    }

    #[test]
    fn what_an_authenticator_makes_and_signs_is_accepted() {
        let mut soft = Soft::new("localhost");
        let client = client_data("webauthn.create", b"challenge", ORIGIN);
        assert_eq!(challenge(&client).as_deref(), Some(&b"challenge"[..]));
        let made = made(&site(), &client, &soft.attestation()).unwrap();
        assert_eq!(made.credential, soft.id);
        let client = client_data("webauthn.get", b"other", ORIGIN);
        let (data, signature) = soft.sign(&client);
        let key = (made.public_key.as_slice(), made.counter);
        assert_eq!(shown(&site(), key, &client, &data, &signature), Ok(1));
        let again = (made.public_key.as_slice(), 1);
        let fault = shown(&site(), again, &client, &data, &signature);
        assert_eq!(fault, Err(PasskeyFault::Counter));
    }

    #[test]
    fn everything_else_is_refused() {
        let mut soft = Soft::new("localhost");
        let public_key = soft.cose();
        let key = (public_key.as_slice(), 0);
        let good = client_data("webauthn.get", b"c", ORIGIN);
        let (data, signature) = soft.sign(&good);
        let check = |client: &[u8], data: &[u8], signature: &[u8]| {
            shown(&site(), key, client, data, signature).unwrap_err()
        };
        for (client, fault) in [
            (
                client_data("webauthn.create", b"c", ORIGIN),
                PasskeyFault::Ceremony,
            ),
            (
                client_data("webauthn.get", b"c", "https://localhost:9443"),
                PasskeyFault::Origin,
            ),
            (
                client_data("webauthn.get", b"c", "http://localhost:8443"),
                PasskeyFault::Origin,
            ),
            (
                client_data("webauthn.get", b"d", ORIGIN),
                PasskeyFault::Signature,
            ),
            (b"{}".to_vec(), PasskeyFault::Unreadable),
            (vec![b' '; LONGEST + 1], PasskeyFault::Unreadable),
        ] {
            assert_eq!(check(&client, &data, &signature), fault);
        }
        let framed = String::from_utf8(good.clone())
            .unwrap()
            .replace("false", "true");
        assert_eq!(
            check(framed.as_bytes(), &data, &signature),
            PasskeyFault::Origin
        );
        let flagged = |flags| {
            let mut other = data.clone();
            other[32] = flags;
            other
        };
        for flags in [0, PRESENT, VERIFIED] {
            let fault = check(&good, &flagged(flags), &signature);
            assert_eq!(fault, PasskeyFault::Unverified);
        }
        let fault = check(&good, &flagged(0x1d), &signature);
        assert_eq!(fault, PasskeyFault::Signature);
        for cut in 0..37 {
            let fault = check(&good, &data[..cut], &signature);
            assert_eq!(fault, PasskeyFault::Unreadable);
        }
        assert_eq!(
            check(&good, &data, &signature[1..]),
            PasskeyFault::Signature
        );
        let (data, signature) = Soft::new("example.org").sign(&good);
        assert_eq!(check(&good, &data, &signature), PasskeyFault::Host);
        let (data, signature) = Soft::new("localhost").sign(&good);
        assert_eq!(check(&good, &data, &signature), PasskeyFault::Signature);
    }

    #[test]
    fn cut_and_changed_attestations_are_faults_and_never_panics() {
        let soft = Soft::new("localhost");
        let client = client_data("webauthn.create", b"c", ORIGIN);
        let whole = soft.attestation();
        for cut in 0..whole.len() {
            assert!(made(&site(), &client, &whole[..cut]).is_err(), "{cut}");
        }
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut other = whole.clone();
                other[place] ^= 1 << bit;
                let _ = made(&site(), &client, &other);
            }
        }
    }
}
