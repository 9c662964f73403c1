//! For tests: an authenticator in software, P-256, without attestation.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::keys::random;

pub(crate) struct Soft {
    host: String,
    pub(crate) id: Vec<u8>,
    key: EcdsaKeyPair,
    counter: u32,
}

pub(crate) fn client_data(kind: &str, challenge: &[u8], origin: &str) -> Vec<u8> {
    let challenge = URL_SAFE_NO_PAD.encode(challenge);
    format!(
        r#"{{"type":"{kind}","challenge":"{challenge}","origin":"{origin}","crossOrigin":false}}"#
    )
    .into_bytes()
}

impl Soft {
    pub(crate) fn new(host: &str) -> Self {
        let id: [u8; 16] = random();
        Self {
            host: host.to_owned(),
            id: id.to_vec(),
            key: EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap(),
            counter: 0,
        }
    }

    pub(crate) fn cose(&self) -> Vec<u8> {
        let point = self.key.public_key().as_ref();
        let mut cose = vec![0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32];
        cose.extend_from_slice(&point[1..33]);
        cose.extend_from_slice(&[0x22, 0x58, 32]);
        cose.extend_from_slice(&point[33..]);
        cose
    }

    fn data(&self, flags: u8) -> Vec<u8> {
        let mut data = digest(&SHA256, self.host.as_bytes()).as_ref().to_vec();
        data.push(flags);
        data.extend_from_slice(&self.counter.to_be_bytes());
        data
    }

    pub(crate) fn attestation(&self) -> Vec<u8> {
        let mut data = self.data(0x45);
        data.extend_from_slice(&[0; 16]);
        data.extend_from_slice(&[0, 16]);
        data.extend_from_slice(&self.id);
        data.extend_from_slice(&self.cose());
        let mut out = vec![0xa3, 0x63];
        out.extend_from_slice(b"fmt\x64none\x67attStmt\xa0\x68authData\x58");
        out.push(u8::try_from(data.len()).unwrap());
        out.extend_from_slice(&data);
        out
    }

    pub(crate) fn sign(&mut self, client_data: &[u8]) -> (Vec<u8>, Vec<u8>) {
        self.counter += 1;
        let data = self.data(5);
        let mut signed = data.clone();
        signed.extend_from_slice(digest(&SHA256, client_data).as_ref());
        let signature = self.key.sign(&SystemRandom::new(), &signed).unwrap();
        (data, signature.as_ref().to_vec())
    }
}
