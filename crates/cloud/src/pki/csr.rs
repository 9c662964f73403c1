//! Certificate requests from devices: parsed, proof of possession checked, reduced to a public key.
//!
//! Promises that a [`CsrKey`] is a P-256 key whose private half signed the request. Names and extensions that
//! a request asks for are ignored: the profile alone says what a certificate holds.

use aws_lc_rs::digest;
use rcgen::{PKCS_ECDSA_P256_SHA256, PublicKeyData, SignatureAlgorithm};
use rustls_pki_types::CertificateSigningRequestDer;
use rustls_pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::oid_registry::{OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY};
use x509_parser::prelude::FromDer;
use x509_parser::x509::SubjectPublicKeyInfo;

/// Longest request read: a P-256 request has about 400 bytes.
const LONGEST: usize = 8_192;

/// Why a certificate request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CsrFault {
    /// Not one PEM block `CERTIFICATE REQUEST` with a PKCS#10 request inside.
    #[error("it is not a PEM certificate request")]
    Encoding,
    /// The key is of another kind or on another curve.
    #[error("its key is not on the curve P-256")]
    Key,
    /// The request is not signed by the key that it names.
    #[error("its signature is not by the key that it names")]
    Signature,
}

/// The public key of a request that proved to hold the private one.
#[derive(Clone, Debug)]
pub(super) struct CsrKey {
    point: Vec<u8>,
    spki_hash: [u8; 32],
}

impl CsrKey {
    pub(super) fn from_pem(pem: &str) -> Result<Self, CsrFault> {
        if pem.len() > LONGEST {
            return Err(CsrFault::Encoding);
        }
        let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .map_err(|_| CsrFault::Encoding)?;
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| CsrFault::Encoding)?;
        if !rest.is_empty() {
            return Err(CsrFault::Encoding);
        }
        let key = &request.certification_request_info.subject_pki;
        if !is_p256(key) {
            return Err(CsrFault::Key);
        }
        request
            .verify_signature()
            .map_err(|_| CsrFault::Signature)?;
        Ok(Self {
            point: key.subject_public_key.data.to_vec(),
            spki_hash: sha256(key.raw),
        })
    }

    /// SHA-256 of the SubjectPublicKeyInfo: what "the same key" means.
    pub(super) fn spki_hash(&self) -> &[u8; 32] {
        &self.spki_hash
    }
}

impl PublicKeyData for CsrKey {
    fn der_bytes(&self) -> &[u8] {
        &self.point
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_ECDSA_P256_SHA256
    }
}

/// An uncompressed point on P-256.
pub(super) fn is_p256(key: &SubjectPublicKeyInfo<'_>) -> bool {
    let curve = key
        .algorithm
        .parameters
        .as_ref()
        .and_then(|parameters| parameters.as_oid().ok());
    key.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY
        && curve == Some(OID_EC_P256)
        && key.subject_public_key.data.len() == 65
        && key.subject_public_key.data.first() == Some(&4)
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(digest::digest(&digest::SHA256, bytes).as_ref());
    hash
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};

    use super::*;

    fn request(key: &KeyPair) -> String {
        CertificateParams::new(vec!["admin.example".into()])
            .unwrap()
            .serialize_request(key)
            .unwrap()
            .pem()
            .unwrap()
    }

    #[test]
    fn a_request_becomes_its_key() {
        let key = KeyPair::generate().unwrap();
        let read = CsrKey::from_pem(&request(&key)).unwrap();
        assert_eq!(read.der_bytes(), key.public_key_raw());
        assert_eq!(read.spki_hash(), &sha256(&key.subject_public_key_info()));
    }

    #[test]
    fn other_keys_are_refused() {
        for algorithm in [&PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
            let key = KeyPair::generate_for(algorithm).unwrap();
            assert_eq!(CsrKey::from_pem(&request(&key)).unwrap_err(), CsrFault::Key);
        }
    }

    #[test]
    fn a_request_signed_by_another_key_is_refused() {
        let key = KeyPair::generate().unwrap();
        let other = KeyPair::generate().unwrap();
        let pem = request(&key);
        let mut der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes())
            .unwrap()
            .to_vec();
        let at = der
            .windows(65)
            .position(|window| window == key.public_key_raw())
            .unwrap();
        der[at..at + 65].copy_from_slice(other.public_key_raw());
        use base64::Engine as _;
        let body = base64::engine::general_purpose::STANDARD.encode(der);
        let pem = format!(
            "-----BEGIN CERTIFICATE REQUEST-----\n{body}\n-----END CERTIFICATE REQUEST-----\n"
        );
        assert_eq!(CsrKey::from_pem(&pem).unwrap_err(), CsrFault::Signature);
    }

    #[test]
    fn anything_else_is_no_request() {
        for text in [
            "",
            "hello",
            "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n",
        ] {
            assert_eq!(CsrKey::from_pem(text).unwrap_err(), CsrFault::Encoding);
        }
        assert_eq!(
            CsrKey::from_pem(&"x".repeat(LONGEST + 1)).unwrap_err(),
            CsrFault::Encoding
        );
    }
}
