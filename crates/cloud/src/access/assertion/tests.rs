//! Assertions: what holds, and everything that must not.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
};
use serde_json::{Value, json};

use super::*;

const NOW: i64 = 1_772_366_400;
const US: &str = "https://localhost:8443";

enum Signer {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl Signer {
    fn ec() -> Self {
        Self::Ec(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn ed() -> Self {
        Self::Ed(Ed25519KeyPair::generate().unwrap())
    }

    fn jwk(&self) -> Jwk {
        let text = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Ec(pair) => {
                let point = pair.public_key().as_ref();
                Jwk {
                    kty: "EC".to_owned(),
                    crv: "P-256".to_owned(),
                    x: text(&point[1..33]),
                    y: Some(text(&point[33..])),
                    ..Jwk::default()
                }
            }
            Self::Ed(pair) => Jwk {
                kty: "OKP".to_owned(),
                crv: "Ed25519".to_owned(),
                x: text(pair.public_key().as_ref()),
                ..Jwk::default()
            },
        }
    }

    fn key(&self) -> PublicKey {
        PublicKey::from_jwk(&self.jwk()).unwrap()
    }

    fn alg(&self) -> &'static str {
        self.key().algorithm.name()
    }

    fn sign(&self, header: &Value, claims: &Value) -> String {
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let signed = format!("{}.{}", part(header), part(claims));
        let signature = match self {
            Self::Ec(pair) => {
                let random = SystemRandom::new();
                let signature = pair.sign(&random, signed.as_bytes()).unwrap();
                URL_SAFE_NO_PAD.encode(signature.as_ref())
            }
            Self::Ed(pair) => URL_SAFE_NO_PAD.encode(pair.sign(signed.as_bytes()).as_ref()),
        };
        format!("{signed}.{signature}")
    }
}

fn claims() -> Value {
    json!({
        "iss": "svc_a", "sub": "svc_a", "aud": format!("{US}/oauth/token"),
        "iat": NOW, "exp": NOW + 60, "jti": "one",
    })
}

fn with(field: &str, value: Value) -> Value {
    let mut changed = claims();
    changed[field] = value;
    changed
}

fn holds(text: &str, key: &PublicKey) -> bool {
    let audiences = [format!("{US}/oauth/token"), US.to_owned()];
    Assertion::read(text).is_some_and(|assertion| assertion.holds(key, &audiences, NOW))
}

#[test]
fn a_sound_assertion_of_either_algorithm_holds() {
    for signer in [Signer::ec(), Signer::ed()] {
        for typ in [
            Value::Null,
            json!("JWT"),
            json!("client-authentication+jwt"),
        ] {
            let header = json!({ "alg": signer.alg(), "typ": typ });
            let text = signer.sign(&header, &claims());
            assert!(holds(&text, &signer.key()));
            let read = Assertion::read(&text).unwrap();
            assert_eq!((read.client(), read.jti()), ("svc_a", "one"));
            assert!(read.forget_s() > NOW + 60);
        }
        let header = json!({ "alg": signer.alg() });
        for audience in [
            json!(US),
            json!([US]),
            json!([US, format!("{US}/oauth/token")]),
        ] {
            assert!(holds(
                &signer.sign(&header, &with("aud", audience)),
                &signer.key()
            ));
        }
    }
}

#[test]
fn claims_that_are_not_for_us_or_not_of_now_do_not_hold() {
    let signer = Signer::ec();
    let header = json!({ "alg": "ES256" });
    for (field, value) in [
        ("aud", json!("https://elsewhere.example/oauth/token")),
        ("aud", json!([US, "https://elsewhere.example"])),
        ("aud", json!([])),
        ("aud", json!({ "is": US })),
        ("iss", json!("svc_b")),
        ("exp", json!(NOW - 61)),
        ("exp", json!(NOW + 3_600)),
        ("exp", json!(1e300)),
        ("exp", json!("soon")),
        ("iat", json!(NOW + 120)),
        ("iat", json!(NOW - 3_600)),
        ("nbf", json!(NOW + 120)),
        ("jti", json!("")),
        ("jti", json!("x".repeat(129))),
    ] {
        let text = signer.sign(&header, &with(field, value.clone()));
        assert!(!holds(&text, &signer.key()), "{field} {value}");
    }
    for field in ["aud", "iss", "sub", "exp", "iat", "jti"] {
        let mut less = claims();
        less.as_object_mut().unwrap().remove(field);
        assert!(
            !holds(&signer.sign(&header, &less), &signer.key()),
            "{field}"
        );
    }
}

#[test]
fn the_header_chooses_neither_algorithm_nor_key() {
    let [ec, ed, other] = [Signer::ec(), Signer::ed(), Signer::ec()];
    let jwk = json!({ "kty": "EC", "crv": "P-256", "x": other.jwk().x, "y": other.jwk().y });
    for header in [
        json!({ "alg": "none" }),
        json!({ "alg": "HS256" }),
        json!({ "alg": "RS256" }),
        json!({ "alg": "EdDSA" }),
        json!({ "alg": "es256" }),
        json!({ "alg": "ES256", "crit": ["b64"], "b64": false }),
        json!({ "alg": "ES256", "b64": true }),
        json!({ "alg": "ES256", "typ": "at+jwt" }),
        json!({}),
    ] {
        assert!(!holds(&ec.sign(&header, &claims()), &ec.key()), "{header}");
    }
    // A key in the header is not looked at, neither to accept nor to refuse.
    let header =
        json!({ "alg": "ES256", "jwk": jwk, "jku": "https://elsewhere.example", "kid": "../x" });
    assert!(!holds(&other.sign(&header, &claims()), &ec.key()));
    assert!(holds(&ec.sign(&header, &claims()), &ec.key()));
    let header = json!({ "alg": "EdDSA" });
    assert!(!holds(&ed.sign(&header, &claims()), &ec.key()));
    assert!(!holds(
        &ed.sign(&json!({ "alg": "ES256" }), &claims()),
        &ed.key()
    ));
}

#[test]
fn whatever_is_changed_breaks_the_signature() {
    for signer in [Signer::ec(), Signer::ed()] {
        let text = signer.sign(&json!({ "alg": signer.alg() }), &claims());
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).unwrap();
            assert!(
                changed == text || !holds(&changed, &signer.key()),
                "at {at}"
            );
        }
        let (signed, signature) = text.rsplit_once('.').unwrap();
        for odd in [
            format!("{signed}."),
            format!("{signed}.{signature}="),
            format!("{signed}.{signature}A"),
            format!("{signed}.{}", URL_SAFE_NO_PAD.encode([0; 64])),
            signed.to_owned(),
            format!("{text}.x"),
            String::new(),
            "..".to_owned(),
            "a.b.c".to_owned(),
            format!("{text}{}", "A".repeat(5_000)),
        ] {
            assert!(!holds(&odd, &signer.key()), "{odd}");
        }
    }
}

#[test]
fn only_public_points_of_the_two_curves_are_registered() {
    let good = || Signer::ec().jwk();
    let refuse = |jwk: Jwk| assert!(PublicKey::from_jwk(&jwk).is_err(), "{jwk:?}");
    let text = |bytes: [u8; 32]| URL_SAFE_NO_PAD.encode(bytes);
    refuse(Jwk {
        x: text([1; 32]),
        y: Some(text([1; 32])),
        ..good()
    });
    refuse(Jwk {
        x: String::new(),
        ..good()
    });
    refuse(Jwk { y: None, ..good() });
    refuse(Jwk {
        crv: "P-384".to_owned(),
        ..good()
    });
    refuse(Jwk {
        kty: "RSA".to_owned(),
        ..good()
    });
    refuse(Jwk {
        alg: Some("HS256".to_owned()),
        ..good()
    });
    refuse(Jwk {
        usage: Some("enc".to_owned()),
        ..good()
    });
    refuse(Jwk {
        y: Some(text([0; 32])),
        ..Signer::ed().jwk()
    });
    let private = json!({ "kty": "OKP", "crv": "Ed25519", "x": text([1; 32]), "d": text([1; 32]) });
    assert!(serde_json::from_value::<Jwk>(private).is_err());
    let kept = Jwk {
        alg: Some("ES256".to_owned()),
        usage: Some("sig".to_owned()),
        ..good()
    };
    assert_eq!(PublicKey::from_jwk(&kept).unwrap().hint().len(), 16);
}
